"""Streams: declared once, known by the same id on every replica."""

from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from augment.errors import PipelineError, Problem
from augment.mixing.mix import json_schema
from augment.render.views import VIEWS_MAX
from augment.streams.spec import BATCH_SIZE_MAX, REPEATS_MAX
from service import schemas
from service.asgi.requests import Route
from service.routes import datasets
from service.schemas import problem
from service.state import Joined
from service.streams.streams import Declaration

router = APIRouter(route_class=Route, prefix="/v1/streams", tags=["streams"])

StreamId = Annotated[
    str, Path(description="The id that the declaration gave.", examples=["5d3f0c8be1d94a7bb8a2c1f6e07d9a43"])
]


_PIPELINE = "The name of a preset or a saved pipeline, YAML text, or a JSON document."


_SectionOfEachView = Annotated[list[dict[str, Any] | None], Field(max_length=VIEWS_MAX)]


class ViewRequest(schemas.StrictSchema):
    """So many pictures of each record through one pipeline."""

    pipeline: str | dict[str, Any] = Field(description=_PIPELINE, examples=["simclr"])
    count: int = Field(1, ge=1, le=VIEWS_MAX, description="How many views, each another draw.")


class StreamRequest(schemas.StrictSchema):
    """What a stream is made of."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"dataset": "photos", "pipeline": "inception", "batch_size": 64, "seed": 7},
                {"dataset": "photos", "pipeline": "inception", "mix": {"MixUp": {"alpha": 0.8}}},
                {"dataset": "photos", "views": [{"pipeline": "inception", "count": 2}, {"pipeline": "light"}]},
            ],
        }
    )

    dataset: str = Field(description="The name of a registered dataset.", examples=["photos"])
    pipeline: str | dict[str, Any] | None = Field(None, description=_PIPELINE, examples=["inception"])
    views: list[ViewRequest] | None = Field(
        None, min_length=1, max_length=VIEWS_MAX, description="In place of `pipeline`: several pictures of each record."
    )
    split: str | None = Field(None, description="Omitted: `train` where the dataset has one, else all records.")
    batch_size: int = Field(64, ge=1, le=BATCH_SIZE_MAX, description="Rows of a global batch, over all ranks.")
    seed: int = Field(0, ge=0, description="Below 2**64. Other seeds, other draws and another order.")
    shuffle: bool | None = Field(
        None,
        description="True: each epoch has an order of its own. False: records come by key. Omitted: true for the "
        "training split and for a dataset without splits, else false.",
    )
    drop_last: bool | None = Field(
        None,
        description="True: an epoch leaves out a last batch that is not full. Omitted: as for `shuffle`.",
    )
    repeats: int = Field(
        1, ge=1, le=REPEATS_MAX, description="Rows of each record in a batch, each another draw; divides `batch_size`."
    )
    mix: Annotated[Any, WithJsonSchema({"anyOf": [*json_schema()["anyOf"], {"type": "null"}]})] = Field(
        None,
        description="How rows of a batch are mixed with each other, written as a step of a pipeline. Batches then have "
        "`label_weights`. Omitted: not at all.",
        examples=["MixUp", {"CutMix": {"alpha": 1.0, "per": "row"}}, {"OneOf": {"transforms": ["MixUp", "CutMix"]}}],
    )
    normalize: dict[str, Any] | _SectionOfEachView | None = Field(
        None,
        description="How pixels become floats, in place of the pipelines' own section; of a stream with views also a "
        "list with a section for each of them.",
        examples=[{"method": "standard", "statistics": "dataset"}],
    )
    dtype: Literal["uint8", "float32", "float16"] = Field(
        "uint8", description="What batches hold: pixels, normalised by the client, or floats."
    )
    layout: Literal["NHWC", "NCHW"] = Field("NHWC", description="Channels of a picture last, or first.")


class ViewDocument(BaseModel):
    """A view of a declared stream."""

    pipeline: dict[str, Any] = Field(description="The canonical document, every default filled in.")
    pipeline_name: str
    pipeline_digest: str
    count: int
    image_shape: list[int] | None = Field(description="`[H, W, 3]` of every picture; null where they differ in size.")


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
    views: list[ViewDocument] | None = Field(description="What each record is shown as; null where it is one picture.")
    references: dict[str, str] = Field(description="The datasets that transforms take pictures of, with their digests.")
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
        description="`[H, W, 3]` of every picture of every batch, whatever the layout; null where they differ in size."
    )
    classes: list[str] = Field(description="The names that labels index; empty where the dataset has none.")
    targets: list[str] = Field(description="What moves with the pixels: mask, boxes, keypoints.")
    notices: list[str] = Field(
        description="What was dropped or moved while the pipeline was read; the dataset's notices; images that are too "
        "small for the pipeline; how many rows each epoch drops."
    )


class StreamPage(BaseModel):
    """A page of streams."""

    streams: list[StreamDocument] = Field(description="In the order of their ids.")
    next: str | None = Field(description="Pass it as `after` for the next page; null on the last.")


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
    `statistics: dataset` is asked for the first time, all pictures of the split are decoded once; where that takes more
    than AUGMENT_SCAN_WAIT_S (10 s) the answer is 503 until it is done.
    """
    declaration = Declaration(**wanted.model_dump())
    await to_thread.run_sync(state.streams.check_options, declaration)
    try:
        numbers = None
        if await to_thread.run_sync(state.streams.needs_numbers, declaration):
            with state.admission.place():
                _, numbers = await state.measuring.measured(declaration.dataset, declaration.split)
        document, is_new = await to_thread.run_sync(state.streams.declare, declaration, numbers)
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
async def list_streams(
    state: Joined, after: datasets.After = None, limit: datasets.Limit = datasets.DEFAULT_LIMIT
) -> dict[str, Any]:
    """What was declared here, a page at a time."""
    names, following = datasets.page(state.streams.ids(), after, limit)
    return {"streams": [state.streams.document(name) for name in names], "next": following}


@router.get("/{stream_id}", summary="One stream", response_model=StreamDocument, responses=UNKNOWN)
async def read_stream(state: Joined, stream_id: StreamId) -> dict[str, Any]:
    """What was declared."""
    return state.streams.document(stream_id)


@router.delete("/{stream_id}", summary="Forget a stream", status_code=204, response_class=Response, responses=UNKNOWN)
async def delete_stream(state: Joined, stream_id: StreamId) -> None:
    """Forget a stream; whoever declares it again gets the same id and the same batches."""
    await to_thread.run_sync(state.streams.delete, stream_id)
