"""Routes of streams, which are declared once and have the same id on every replica."""

from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, Field

from augment.errors import PipelineError, Problem
from service import schemas
from service.asgi.requests import Route
from service.schemas import problem
from service.state import Joined
from service.streams.streams import StreamRequest

router = APIRouter(route_class=Route, prefix="/v1/streams", tags=["streams"])

StreamId = Annotated[str, Path(description="The stream's id.", examples=["5d3f0c8be1d94a7bb8a2c1f6e07d9a43"])]


class ViewDocument(BaseModel):
    """A view of a declared stream."""

    pipeline: dict[str, Any] = Field(description="The canonical document, every default filled in.")
    pipeline_name: str
    pipeline_digest: str
    count: int
    image_shape: list[int] | None = Field(description="`[H, W, 3]` of every image; null if they differ in size.")


class StreamDocument(BaseModel):
    """A declared stream."""

    id: str = Field(description="Digest of everything that its batches depend on; equal on every replica.")
    engine: str = Field(description="The engine that renders it (`GET /version`).")
    dataset: str
    dataset_digest: str
    split: str | None = Field(description="The split; null if it is all records.")
    pipeline: dict[str, Any] = Field(
        description="The canonical document, every default filled in; in a stream with views that of the first."
    )
    pipeline_name: str
    pipeline_digest: str
    views: list[ViewDocument] | None = Field(description="The views of each record; null in a stream without views.")
    references: dict[str, str] = Field(description="Datasets whose images transforms use, with their digests.")
    repeats: int = Field(description="Rows of each record in a batch.")
    mix: dict[str, Any] | None = Field(
        description="The step that mixes rows, every default filled in; null if rows are not mixed.",
        examples=[{"MixUp": {"alpha": 0.8, "per": "batch", "p": 1.0}}],
    )
    normalize: dict[str, Any] | list[dict[str, Any] | None] | None = Field(
        description="Normalisation of pixels to floats, every default and the dataset's numbers filled in; in a stream "
        "with views a list with one section for each. The service applies it if `dtype` is a float type; otherwise the "
        "client may."
    )
    dtype: str = Field(description="`uint8`, `float32` or `float16`.")
    layout: str = Field(description="`NHWC`, or `NCHW`: channels first.")
    batch_size: int
    seed: int
    shuffle: bool
    drop_last: bool
    num_records: int = Field(description="Records of the chosen split.")
    num_batches: int = Field(description="Batches of an epoch.")
    image_shape: list[int] | None = Field(
        description="`[H, W, 3]` of every image of every batch, in any layout; null if they differ in size."
    )
    classes: list[str] = Field(description="Class names, indexed by labels; empty if the dataset has none.")
    targets: list[str] = Field(description="Targets that move with the pixels: mask, boxes, keypoints.")
    notices: list[str] = Field(
        description="Notices: parts of the pipeline that were dropped or moved, the dataset's notices, images that are "
        "too small for the pipeline, rows that each epoch drops."
    )


StreamPage = schemas.page("StreamPage", "streams", StreamDocument, "In the order of their ids.")


UNKNOWN: schemas.Responses = {404: problem("This service does not know the stream: declare it again.")}


@router.post(
    "",
    summary="Declare a stream",
    status_code=201,
    response_model=StreamDocument,
    responses={
        200: {"model": StreamDocument, "description": "It was declared before."},
        404: problem("The dataset or the pipeline does not exist."),
        409: problem("The dataset is being scanned."),
        422: problem("The pipeline does not fit the dataset."),
        503: problem("The dataset's mean and deviation are being measured; `Retry-After` says when to retry."),
    },
)
async def declare_stream(state: Joined, wanted: StreamRequest, response: Response) -> dict[str, Any]:
    """Declare everything that a stream's batches depend on, and get its id.

    Nothing is rendered. The same declaration gives the same id on any replica that has the same dataset. The first
    request with `statistics: dataset` decodes all images of the split once. If that takes longer than
    AUGMENT_SCAN_WAIT_S (10 s), the answer is 503 until it is done.
    """
    await to_thread.run_sync(state.streams.check_options, wanted)
    try:
        numbers = None
        if await to_thread.run_sync(state.streams.needs_numbers, wanted):
            with state.admission.place():
                _, numbers = await state.measuring.measured(wanted.dataset, wanted.options.split)
        document, is_new = await to_thread.run_sync(state.streams.declare, wanted, numbers)
    except PipelineError as error:
        raise PipelineError([_placed(one) for one in error.problems]) from error
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"/v1/streams/{document['id']}"
    return document


def _placed(one: Problem) -> Problem:
    """Return a problem with its place in the request: below ``pipeline`` unless it names a member itself."""
    if one.loc[:1] in {("pipeline",), ("views",), ("mix",)}:
        return one
    return Problem(("pipeline", *one.loc), one.msg, one.line)


@router.get("", summary="All streams", response_model=StreamPage)
async def list_streams(state: Joined, query: schemas.PageQuery) -> dict[str, Any]:
    """List the streams that were declared at this service, page by page."""
    names, following = query.of(state.streams.ids())
    return {"streams": [state.streams.document(name) for name in names], "next": following}


@router.get("/{stream_id}", summary="One stream", response_model=StreamDocument, responses=UNKNOWN)
async def read_stream(state: Joined, stream_id: StreamId) -> dict[str, Any]:
    """Return a declared stream."""
    return state.streams.document(stream_id)


@router.delete("/{stream_id}", summary="Delete a stream", status_code=204, response_class=Response, responses=UNKNOWN)
async def delete_stream(state: Joined, stream_id: StreamId) -> None:
    """Delete a stream. Declaring it again gives the same id and the same batches."""
    await to_thread.run_sync(state.streams.delete, stream_id)
