"""Streams: declared once, known by the same id on every replica."""

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

StreamId = Annotated[
    str, Path(description="The id that the declaration gave.", examples=["5d3f0c8be1d94a7bb8a2c1f6e07d9a43"])
]


class ViewDocument(BaseModel):
    """A view of a declared stream."""

    pipeline: dict[str, Any] = Field(description="The canonical document, every default filled in.")
    pipeline_name: str
    pipeline_digest: str
    count: int
    image_shape: list[int] | None = Field(description="`[H, W, 3]` of every image; null where they differ in size.")


class StreamDocument(BaseModel):
    """A declared stream."""

    id: str = Field(description="The digest of everything its batches depend on; equal on every replica.")
    engine: str = Field(description="The engine that renders it (`GET /version`).")
    dataset: str
    dataset_digest: str
    split: str | None = Field(description="The split that was chosen; null where it is all records.")
    pipeline: dict[str, Any] = Field(description="The canonical document, every default filled in; of the first view.")
    pipeline_name: str
    pipeline_digest: str
    views: list[ViewDocument] | None = Field(description="What each record is shown as; null where it is one image.")
    references: dict[str, str] = Field(description="The datasets that transforms take images of, with their digests.")
    repeats: int = Field(description="Rows of each record in a batch.")
    mix: dict[str, Any] | None = Field(
        description="How rows are mixed, every default filled in; null where they are not.",
        examples=[{"MixUp": {"alpha": 0.8, "per": "batch", "p": 1.0}}],
    )
    normalize: dict[str, Any] | list[dict[str, Any] | None] | None = Field(
        description="How pixels become floats, every default and the dataset's numbers filled in; of a stream with "
        "views a list with one for each. Batches are floats of it where `dtype` is one, else the client's business."
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
        description="`[H, W, 3]` of every image of every batch, whatever the layout; null where they differ in size."
    )
    classes: list[str] = Field(description="The names that labels index; empty where the dataset has none.")
    targets: list[str] = Field(description="What moves with the pixels: mask, boxes, keypoints.")
    notices: list[str] = Field(
        description="What was dropped or moved while the pipeline was read; the dataset's notices; images that are too "
        "small for the pipeline; how many rows each epoch drops."
    )


StreamPage = schemas.page("StreamPage", "streams", StreamDocument, "In the order of their ids.")


UNKNOWN: schemas.Responses = {404: problem("There is no such stream here: declare it again.")}


@router.post(
    "",
    summary="Declare a stream",
    status_code=201,
    response_model=StreamDocument,
    responses={
        200: {"model": StreamDocument, "description": "It was declared before."},
        404: problem("There is no such dataset or pipeline."),
        409: problem("The dataset is being scanned."),
        422: problem("The pipeline cannot hold for the dataset."),
        503: problem("The dataset's mean and deviation are being measured; `Retry-After` says when to ask again."),
    },
)
async def declare_stream(state: Joined, wanted: StreamRequest, response: Response) -> dict[str, Any]:
    """Name everything that batches depend on, and get the id to ask for them with.

    Nothing is rendered. The same declaration gives the same id again, on any replica that has the same dataset. Where
    `statistics: dataset` is asked for the first time, all images of the split are decoded once; where that takes more
    than AUGMENT_SCAN_WAIT_S (10 s) the answer is 503 until it is done.
    """
    await to_thread.run_sync(state.streams.check_options, wanted)
    try:
        numbers = None
        if await to_thread.run_sync(state.streams.needs_numbers, wanted):
            with state.admission.place():
                _, numbers = await state.measuring.measured(wanted.dataset, wanted.split)
        document, is_new = await to_thread.run_sync(state.streams.declare, wanted, numbers)
    except PipelineError as error:
        raise PipelineError([_placed(one) for one in error.problems]) from error
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"/v1/streams/{document['id']}"
    return document


def _placed(one: Problem) -> Problem:
    """Where in the request a problem lies: what says nothing else is of how the pipeline fits the dataset."""
    if one.loc[:1] in {("pipeline",), ("views",), ("mix",)}:
        return one
    return Problem(("pipeline", *one.loc), one.msg, one.line)


@router.get("", summary="All streams", response_model=StreamPage)
async def list_streams(state: Joined, query: schemas.PageQuery) -> dict[str, Any]:
    """What was declared here, a page at a time."""
    names, following = query.of(state.streams.ids())
    return {"streams": [state.streams.document(name) for name in names], "next": following}


@router.get("/{stream_id}", summary="One stream", response_model=StreamDocument, responses=UNKNOWN)
async def read_stream(state: Joined, stream_id: StreamId) -> dict[str, Any]:
    """What was declared."""
    return state.streams.document(stream_id)


@router.delete("/{stream_id}", summary="Forget a stream", status_code=204, response_class=Response, responses=UNKNOWN)
async def delete_stream(state: Joined, stream_id: StreamId) -> None:
    """Forget a stream; whoever declares it again gets the same id and the same batches."""
    await to_thread.run_sync(state.streams.delete, stream_id)
