"""What workers are handed of an expansion: its datasets, in memory files that last as long as the work."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from augment.dataset import Dataset
from augment.expansion.spec import ExpansionSpec
from augment.pipelines.spec import PipelineSpec
from augment.render import ReferenceSource, RenderSource
from augment.workers.files import MemoryFile


def source(
    spec: ExpansionSpec,
    pipeline: PipelineSpec,
    dataset: Dataset,
    references: Mapping[str, Dataset],
    stack: contextlib.ExitStack,
) -> RenderSource:
    """What an expansion is rendered from, until the stack is closed."""
    return RenderSource(
        manifest=_shared(dataset, stack),
        dataset_digest=spec.dataset,
        split=spec.split,
        spec=pipeline,
        seed=spec.seed,
        references=tuple(ReferenceSource(name, _shared(each, stack), each.digest) for name, each in references.items()),
    )


def _shared(dataset: Dataset, stack: contextlib.ExitStack) -> Path:
    file = stack.enter_context(MemoryFile("dataset"))
    file.write(dataset.to_buffer())
    return Path(file.path)
