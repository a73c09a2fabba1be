"""The registered datasets that transforms of a pipeline take pictures of, by the names that it has for them."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from augment.errors import PipelineError, Problem
from augment.pipelines.spec import PipelineSpec
from augment.transforms.compile import check_references, references_of
from service.datasets import Datasets
from service.registration import Entry

_REMEDY = "register it under this name (POST /v1/datasets)"


def check(datasets: Datasets, pipeline: PipelineSpec, place: tuple[str | int, ...] = ()) -> None:
    """Raise PipelineError where no dataset has a name of the pipeline's; ``place`` is the pipeline's in the request."""
    try:
        check_references(pipeline, datasets.names(), remedy=_REMEDY)
    except PipelineError as error:
        raise PipelineError([Problem((*place, *one.loc), one.msg, one.line) for one in error.problems]) from error


def entries(datasets: Datasets, pipelines: Iterable[PipelineSpec]) -> dict[str, Entry]:
    """What is registered under the names of these pipelines. NotFoundError, or ConflictError where it is not ready."""
    names: set[str] = set().union(*map(references_of, pipelines))
    return {name: datasets.entry(name) for name in sorted(names)}


@asynccontextmanager
async def reading(datasets: Datasets, held: Iterable[Entry]) -> AsyncIterator[None]:
    """Keep the files of several entries while the block runs, as ``Datasets.reading`` does of one."""
    async with AsyncExitStack() as stack:
        for entry in held:
            await stack.enter_async_context(datasets.reading(entry))
        yield
