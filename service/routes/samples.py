"""Single samples: what a model sees of one record in one epoch, through one view, and what was done to it."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request, Response

from service import answers, formats
from service.answers import Chunk
from service.errors import NotFoundError
from service.routes import conditional
from service.routes.batches import BINARY, REFUSED, EpochPath
from service.routes.streams import StreamId
from service.routing import Route
from service.state import Joined

router = APIRouter(route_class=Route, prefix="/v1/streams/{stream_id}/samples", tags=["batches"])

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


@router.get(
    "/{epoch}/{key:path}",
    summary="One sample",
    response_class=Response,
    responses={
        200: {
            "description": "The picture, or what was done to it.",
            "content": {"image/png": BINARY, "application/json": {"example": _PROVENANCE}},
        },
        **conditional.NOT_MODIFIED,
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
        Query(alias="format", pattern="^(png|json)$", description="`png`, or `json` for what was done to it."),
    ] = None,
    view: Annotated[int, Query(ge=0, description="Which view, in a stream with `views`.")] = 0,
    repeat: Annotated[int, Query(ge=0, description="Which row of the record, in a stream with `repeats`.")] = 0,
) -> Response:
    """One record as the batches of an epoch hold it before rows are mixed.

    The picture, or its render key, each transform applied and, in a stream with `views`, the inverse map.
    """
    stream = await to_thread.run_sync(state.streams.open, stream_id)
    if await to_thread.run_sync(stream.stream.dataset.find, key) is None:
        raise NotFoundError(
            f"the stream has no record {key[:200]!r}; keys are paths below the split, without extension"
        )
    _check_exists("view", view, len(stream.sources))
    _check_exists("repeat", repeat, stream.stream.spec.repeats)
    served = ["image/png", "application/json"]
    as_json = form == "json" if form else formats.preferred(request.headers.get("accept"), served) == served[1]
    kind = "json" if as_json else "png"
    etag = f'"{stream_id}-{epoch}-{repeat}-{view}-{key.encode(errors="surrogatepass").hex()}-{kind}"'
    headers = conditional.immutable(etag)
    if conditional.matches(request, etag):
        return Response(status_code=304, headers=headers)

    wanted = state.rendering.sample(stream, epoch, key, view=view, repeat=repeat)

    async def chunks() -> AsyncGenerator[Chunk, None]:
        with state.admission.place() as turn:
            async with state.batches.lease(wanted) as file:
                turn.leave()
                if as_json:
                    yield json.dumps(await to_thread.run_sync(file.description)).encode()
                    return
                headers["Content-Length"] = str(file.laid.content_bytes)
                async with aclosing(file.chunks()) as content:
                    async for chunk in content:
                        yield chunk

    media_type = "application/json" if as_json else "image/png"
    return await answers.streamed(request, chunks(), media_type=media_type, headers=headers)


def _check_exists(name: str, number: int, count: int) -> None:
    if number >= count:
        are = f"they are 0 to {count - 1}" if count > 1 else f"it has one, {name} 0; declare it with `{name}s` for more"
        raise NotFoundError(f"the stream has no {name} {number}; {are}")
