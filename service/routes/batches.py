"""Routes of a stream's batches, several or single, and of single samples, at permanent addresses.

A sample is one record as a model sees it in one epoch, through one view, with the transforms that were applied.
"""

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import Field, field_validator

from augment.errors import CallError, DatasetError
from augment.images import encode
from augment.render.result_file import Laid
from augment.streams.spec import BatchSlice
from augment.streams.tasks import BatchFormat, PartFormat
from augment.validation import FailureBudget, MaxFailures, quoted
from augment.wire import arrow, tar
from service import one_shot, responses, schemas
from service.asgi import batch_media_types, requests
from service.asgi.admission import Lane
from service.asgi.requests import Route
from service.datasets import registry
from service.errors import NotFoundError
from service.responses import Chunk
from service.routes.streams import UNKNOWN, StreamId
from service.schemas import BINARY, problem
from service.state import Joined, State
from service.streams.batch_files import BatchFile
from service.streams.streams import OpenStream

router = APIRouter(route_class=Route, prefix="/v1/streams/{stream_id}/batches", tags=["batches"])

_EPOCH_MAX = 2**53 - 1  # the largest integer that every JSON reader holds exactly
EpochPath = Annotated[int, Path(ge=0, le=_EPOCH_MAX, description="The epoch, from 0.")]

REFUSED: schemas.Responses = {
    **UNKNOWN,
    409: problem("The stream was declared for another dataset or engine."),
    415: problem("The format is not served."),
    422: problem("A value is out of range."),
    429: problem("The queue is full; `Retry-After` says when to retry."),
    503: problem("The service is about to stop, or storage failed."),
}


class PartQuery(schemas.Schema):
    """Query parameters that select the slice and the format of batches."""

    rank: int = Field(0, ge=0, description="Index of the slice of each global batch.")
    world_size: int = Field(1, ge=1, description="Number of slices of a batch; it divides `batch_size`.")
    format: str | None = Field(
        None,
        description="`arrow` or `tar`, for a single batch also `npz`; overrides `Accept`.",
        examples=["arrow"],
    )
    image_format: str = Field("png", description="Format of images in a tar: `png`, `jpg` (also `jpeg`) or `npy`.")
    quality: int = Field(encode.DEFAULT_QUALITY, ge=1, le=100, description="Quality of `jpg`.")
    max_failures: schemas.MaxFailures | None = Field(
        None,
        description="Rows of one batch that may replace refused records: a count, or a fraction above 0 and below 1. "
        "Any number by default.",
    )

    @field_validator("image_format")
    @classmethod
    def name_as_extension(cls, value: str) -> str:
        """Return `jpg`, the extension of a tar's members, for `jpeg`."""
        return "jpg" if value.lower() in {"jpg", "jpeg"} else value

    def place(self, epoch: int, index: int) -> BatchSlice:
        """Return the slice of one batch."""
        return BatchSlice(epoch, index, self.rank, self.world_size)


class RangeQuery(PartQuery):
    """Query parameters that select batches of an epoch."""

    epoch: int = Field(0, ge=0, le=_EPOCH_MAX, description="The epoch, from 0.")
    start: int = Field(0, ge=0, description="The first batch.")
    stop: int | None = Field(None, ge=0, description="The batch to stop before; the epoch's end by default.")

    def indices(self, stream: OpenStream) -> range:
        """Return the indices of the batches. Raises CallError if the epoch does not have all of them."""
        num_batches = stream.stream.num_batches
        stop = num_batches if self.stop is None else self.stop
        if not self.start <= stop <= num_batches:
            raise CallError(
                f"start is {self.start} and stop is {stop}; 0 <= start <= stop <= {num_batches} is required, the "
                "number of batches in an epoch"
            )
        return range(self.start, stop)


@router.get(
    "",
    summary="Batches, one after another",
    response_class=Response,
    responses={
        200: {
            "description": "The batches until `stop` or the epoch's end. An answer without an end marker was cut: "
            "continue with `start` at the first missing batch.",
            "content": {batch_media_types.MEDIA_TYPES[each]: BINARY for each in batch_media_types.STREAMED},
        },
        **REFUSED,
    },
)
async def read_batches(
    request: Request, state: Joined, stream_id: StreamId, query: Annotated[RangeQuery, Query()]
) -> Response:
    """Stream batches in order and render the next ones ahead of the reader.

    One Arrow record batch is one training batch; a tar follows WebDataset's conventions. An error before the first byte
    is a status; after it the connection is reset. `start` resumes an epoch exactly.
    """
    stream = await to_thread.run_sync(state.streams.open, stream_id)
    part_format = _format(request, query, batch_media_types.STREAMED, stream)
    indices = query.indices(stream)
    stream.stream.spec.positions(query.place(query.epoch, 0))  # raises if the rank does not exist
    return await responses.streamed(
        request,
        _several(state, stream, indices, query, part_format),
        media_type=batch_media_types.MEDIA_TYPES[part_format.name],
        headers={"Cache-Control": "no-store", "Vary": "Accept, Authorization"},
    )


@router.get(
    "/{epoch}/{index}",
    summary="One batch",
    response_class=Response,
    responses={
        200: {
            "description": "The batch; its bytes never change.",
            "content": dict.fromkeys(batch_media_types.MEDIA_TYPES.values(), BINARY),
        },
        **requests.NOT_MODIFIED,
        **REFUSED,
    },
)
async def read_batch(
    request: Request,
    state: Joined,
    stream_id: StreamId,
    *,
    epoch: EpochPath,
    index: Annotated[int, Path(ge=0, description="The batch of the epoch, from 0.")],
    query: Annotated[PartQuery, Query()],
    ahead: Annotated[
        str | None,
        Header(
            alias="Augment-Ahead",
            pattern=r"^\d{1,10}(,\d{1,10})*$",
            max_length=1000,
            description="Further batches of this epoch that the reader will request soon. They are rendered "
            "ahead as far as workers and cache allow.",
            examples=["12,15,21"],
        ),
    ] = None,
) -> Response:
    """Return one batch as a complete stream of its format.

    Any cache may keep it, and every replica returns the same bytes.
    """
    stream = await to_thread.run_sync(state.streams.open, stream_id)
    part_format = _format(request, query, batch_media_types.SINGLE, stream)
    if index >= stream.stream.num_batches:
        raise NotFoundError(f"batch {index} does not exist; an epoch of this stream has {stream.stream.num_batches}")
    place = query.place(epoch, index)
    stream.stream.spec.positions(place)  # raises if the rank does not exist
    announced = (
        [int(later) for later in ahead.split(",", state.readers.max_ahead)[: state.readers.max_ahead]] if ahead else []
    )
    options = f"-{part_format.image_format}-{part_format.quality}" if part_format.name is BatchFormat.TAR else ""
    etag = f'"{stream_id}-{epoch}-{index}-{place.rank}of{place.world_size}-{part_format.name}{options}"'
    headers = requests.immutable(etag)
    if requests.matches(request, etag):
        return Response(status_code=304, headers=headers)

    async def chunks() -> AsyncGenerator[Chunk, None]:
        with state.admission.place() as turn:
            part = state.rendering.part(stream, place, part_format)
            # RFC 9211. A client learns from it how long rendering takes, as opposed to reading from the cache.
            headers["Cache-Status"] = "augment; hit" if state.batches.is_kept(part.address) else "augment; fwd=miss"
            async with state.batches.lease(part) as file:
                turn.leave()
                state.readers.announce(
                    state.rendering.part(stream, query.place(epoch, later), part_format)
                    for later in announced
                    if later < stream.stream.num_batches
                )
                _check_failures(file.laid, query.max_failures, stream, index)
                first, last = _frame(stream, epoch, part_format)
                headers["Content-Length"] = str(len(first) + file.laid.content_bytes + len(last))
                if not _is_final(file.laid):
                    headers.pop("ETag")
                    headers["Cache-Control"] = "no-store"
                yield first
                async with aclosing(_content(state, file)) as content:
                    async for chunk in content:
                        yield chunk
                yield last

    return await responses.streamed(
        request, chunks(), media_type=batch_media_types.MEDIA_TYPES[part_format.name], headers=headers
    )


async def _several(
    state: State, stream: OpenStream, indices: range, query: RangeQuery, part_format: PartFormat
) -> AsyncGenerator[Chunk, None]:
    first, last = _frame(stream, query.epoch, part_format)
    with state.admission.place(Lane.STREAM) as turn:
        batches = state.readers.read(
            lambda index: state.rendering.part(stream, query.place(query.epoch, index), part_format), indices
        )
        async with registry.reading(state.datasets, stream.entries), aclosing(batches) as files:
            index = indices.start
            async for file in files:
                turn.leave()
                _check_failures(file.laid, query.max_failures, stream, index)
                if first:
                    yield first
                    first = b""
                async with aclosing(_content(state, file)) as content:
                    async for chunk in content:
                        yield chunk
                turn.take()
                index += 1
        yield first + last


async def _content(state: State, file: BatchFile) -> AsyncGenerator[Chunk, None]:
    """Yield the content of one file, and count it as a batch once all of it was sent."""
    started = time.perf_counter()
    async with aclosing(file.chunks()) as chunks:
        async for chunk in chunks:
            yield chunk
    state.metrics.batches_sent.inc()
    state.metrics.stage_seconds.labels("send").observe(time.perf_counter() - started)


def _format(request: Request, query: PartQuery, among: tuple[BatchFormat, ...], stream: OpenStream) -> PartFormat:
    return batch_media_types.chosen(
        query.format,
        request.headers.get("accept"),
        among=among,
        image_format=query.image_format,
        quality=query.quality,
        pixel_format=stream.stream.spec.pixel_format,
    )


def _frame(stream: OpenStream, epoch: int, part_format: PartFormat) -> tuple[bytes, bytes]:
    """Return the bytes before and after the batches of a format."""
    match part_format.name:
        case BatchFormat.ARROW:
            return arrow.stream_start(arrow.schema_of(stream.stream.layout(epoch))), arrow.STREAM_END
        case BatchFormat.TAR:
            return b"", tar.STREAM_END
        case BatchFormat.NPZ:
            return b"", b""


def _check_failures(laid: Laid, max_failures: MaxFailures | None, stream: OpenStream, index: int) -> None:
    num_rows = stream.stream.spec.num_rows(index)
    if not FailureBudget(max_failures).allows(laid.num_replaced, num_rows):
        first = laid.refusals[0]
        raise DatasetError(
            f"{laid.num_replaced} of the {num_rows} rows of batch {index} replace refused records, max_failures "
            f"is {max_failures}; the first is {first.key} ({first.reason}: {first.detail})"
        )


def _is_final(laid: Laid) -> bool:
    return all(not refusal.reason.is_transient for refusal in laid.refusals)


samples_router = APIRouter(route_class=Route, prefix="/v1/streams/{stream_id}/samples", tags=["batches"])

_PROVENANCE: dict[str, Any] = {
    "key": "cat/0001",
    "epoch": 3,
    "draw": 3,
    "view": 0,
    "record_digest": "0c2f57d3a4be4d1f93bd6a0c6b1b9a52",
    "label": 0,
    "image_shape": [224, 224, 3],
    "annotations": {"boxes": [[10.0, 20.0, 110.0, 220.0]], "box_labels": ["cat"]},
    "render_key": "9b0f6a4f0f2b1ad5b4c9b1f3d3f0a6c1",
    "applied": [{"name": "HorizontalFlip", "params": {}}],
}


@samples_router.get(
    "/{epoch}/{key:path}",
    summary="One sample",
    response_class=Response,
    responses={
        200: {
            "description": "The image, or its provenance.",
            "content": {"image/png": BINARY, "application/json": {"example": _PROVENANCE}},
        },
        **requests.NOT_MODIFIED,
        **REFUSED,
    },
)
async def read_sample(
    request: Request,
    state: Joined,
    stream_id: StreamId,
    *,
    epoch: EpochPath,
    key: Annotated[str, Path(description="The record's key, as batches name it.", examples=["cat/0001"])],
    form: Annotated[
        str | None,
        Query(alias="format", pattern="^(png|json)$", description="`png`, or `json` for its provenance."),
    ] = None,
    view: Annotated[int, Query(ge=0, description="Index of the view, in a stream with `views`.")] = 0,
    repeat: Annotated[int, Query(ge=0, description="Index of the record's row, in a stream with `repeats`.")] = 0,
) -> Response:
    """Return one record as the batches of an epoch hold it before rows are mixed.

    The answer is the image, or its provenance: the render key, each applied transform and, in a stream with `views`,
    the inverse map.
    """
    stream = await to_thread.run_sync(state.streams.open, stream_id)
    if await to_thread.run_sync(stream.stream.dataset.find, key) is None:
        raise NotFoundError(
            f"the stream has no record {quoted(key, 200)}; keys are paths below the split, without extension"
        )
    _check_exists("view", view, len(stream.sources))
    _check_exists("repeat", repeat, stream.stream.spec.repeats)
    served = ["image/png", "application/json"]
    as_json = (
        form == "json" if form else batch_media_types.preferred(request.headers.get("accept"), served) == served[1]
    )
    kind = "json" if as_json else "png"
    etag = f'"{stream_id}-{epoch}-{repeat}-{view}-{key.encode(errors="surrogatepass").hex()}-{kind}"'
    headers = requests.immutable(etag)
    if requests.matches(request, etag):
        return Response(status_code=304, headers=headers)
    if not as_json:
        headers["Content-Disposition"] = requests.disposition("inline", f"{one_shot.safe_stem(key)}__{epoch}.png")

    sample = state.rendering.sample(stream, epoch, key, view=view, repeat=repeat)

    async def chunks() -> AsyncGenerator[Chunk, None]:
        with state.admission.place() as turn:
            async with state.batches.lease(sample) as file:
                turn.leave()
                if as_json:
                    yield json.dumps(await to_thread.run_sync(file.description)).encode()
                    return
                headers["Content-Length"] = str(file.laid.content_bytes)
                async with aclosing(file.chunks()) as content:
                    async for chunk in content:
                        yield chunk

    media_type = "application/json" if as_json else "image/png"
    return await responses.streamed(request, chunks(), media_type=media_type, headers=headers)


def _check_exists(name: str, number: int, count: int) -> None:
    if number >= count:
        hint = f"it has 0 to {count - 1}" if count > 1 else f"it has only {name} 0; declare it with `{name}s` for more"
        raise NotFoundError(f"the stream has no {name} {number}; {hint}")
