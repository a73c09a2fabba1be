"""Route of one-shot requests: images in, augmented images out."""

import codecs
import re
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import ExitStack, aclosing, closing
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field, ValidationInfo, field_validator

from augment.chance import NUMBER_MAX
from augment.errors import CallError, Problem, problems_below
from augment.images import encode
from augment.render.pipeline import Pipeline
from augment.render.result_file import Laid
from augment.validation import SEED_MAX
from augment.wire.bundle import Bundle
from service import one_shot, responses, schemas
from service.asgi import batch_media_types, receive, requests
from service.asgi.requests import Route
from service.datasets import registry
from service.errors import MediaTypeError
from service.one_shot import Options, RequestFiles
from service.responses import Chunk
from service.schemas import BINARY, problem
from service.state import Joined, State
from service.streams.batch_files import BatchFile

router = APIRouter(route_class=Route, prefix="/v1/augment", tags=["augment"])

_FORM = "multipart/form-data"
_URLENCODED = "application/x-www-form-urlencoded"
_RAW_TYPES = frozenset({"", "application/octet-stream", _URLENCODED})
"""Content types that are taken for an image, besides image/*; curl sends the last one with --data-binary."""
_FIELDS = re.compile(rb"[A-Za-z_][A-Za-z0-9_.-]{0,63}=")

_MEDIA_TYPES: Mapping[Bundle, str] = {
    Bundle.ZIP: "application/zip",
    Bundle.TAR: "application/x-tar",
    Bundle.ARROW: "application/vnd.apache.arrow.stream",
}
"""Media types of bundles; ``*/*`` gets the first."""
_RANDOM_SEED_BITS = 53
"""Bits of an integer that every JSON reader holds exactly."""


_NO_PIPELINE = (
    "no pipeline is given; name a preset or a saved pipeline (GET /v1/pipelines), or send a list of transforms: "
    f"{one_shot.BODY_LINE}"
)
_NO_BUNDLE = (
    "format is {0!r}, which is a format of images; use image_format for it. format packs several results as zip, tar "
    "or arrow: `curl --data-binary @cat.jpg 'URL/v1/augment?pipeline=flip-rotate-crop&image_format={1}' -o out.{1}`"
)
_NO_IMAGE_FORMAT = (
    "image_format is {0!r}, which packs several results; use format for it. image_format is jpeg, png or webp: `curl "
    "-F images=@cat.jpg -F pipeline=flip-rotate-crop -F copies=4 -F format={1} URL/v1/augment -o out.{1}`"
)


class AugmentRequest(schemas.Schema):
    """Options of a one-shot request, from the query or the form."""

    pipeline: str = Field("", validate_default=True)
    seed: int | None = Field(None, ge=0, le=SEED_MAX)
    copies: int = Field(1, ge=1)
    only_copy: int | None = Field(None, ge=0, le=NUMBER_MAX, alias="copy")
    same_draw: bool = False
    image_format: schemas.ImageFormat = "jpeg"
    quality: int = Field(encode.DEFAULT_QUALITY, ge=1, le=100)
    format: Bundle | None = None

    @field_validator("pipeline")
    @classmethod
    def check_pipeline(cls, value: str) -> str:
        """Refuse an empty pipeline."""
        if not value.strip():
            raise ValueError(_NO_PIPELINE)
        return value

    @field_validator("only_copy")
    @classmethod
    def check_copy(cls, value: int | None, info: ValidationInfo) -> int | None:
        """Refuse ``copy`` together with ``copies``."""
        copies = info.data.get("copies", 1)
        if value is not None and copies > 1:
            raise ValueError(f"copy is {value}, which selects a single copy, and copies is {copies}; send one of them")
        return value

    @field_validator("image_format", mode="before")
    @classmethod
    def check_image_format(cls, value: object) -> object:
        """Refuse a format of bundles, and name the right parameter."""
        if str(value).lower() in list(Bundle):
            raise ValueError(_NO_IMAGE_FORMAT.format(value, str(value).lower()))
        return value

    @field_validator("format", mode="before")
    @classmethod
    def check_format(cls, value: object) -> object:
        """Refuse a format of images, and name the right parameter."""
        name = "jpeg" if value == "jpg" else str(value).lower()
        if name in encode.EXTENSIONS:
            raise ValueError(_NO_BUNDLE.format(value, name))
        return value


class AugmentQuery(schemas.Schema):
    """Query parameters as text. ``AugmentRequest`` validates them together with the form."""

    pipeline: str | None = Field(
        None,
        description="Name of a preset or a saved pipeline, or YAML or JSON text.",
        examples=["flip-rotate-crop"],
    )
    seed: str | None = Field(None, description="Seed; random by default, and returned with the result.")
    copies: str | None = Field(
        None, description="Number of results for each image: copies 0, 1, 2, …; 1 by default.", examples=["4"]
    )
    only_copy: str | None = Field(
        None,
        alias="copy",
        description="Number of a single copy to return, with the same bytes as among `copies`: `copy=3` is the last of "
        "`copies=4`.",
        examples=["3"],
    )
    same_draw: str | None = Field(
        None,
        description="`true`: all images of the request get the same draw, so that the images of a stereo pair, or "
        "frames of one size, are transformed alike. Their `key` is then that of the first image.",
        examples=["true"],
    )
    image_format: str | None = Field(
        None, description="Format of the results: `jpeg` (default; also `jpg`), `png` or `webp`.", examples=["webp"]
    )
    quality: str | None = Field(None, description="Quality of JPEG and WebP, 1 to 100; 90 by default.")
    format: str | None = Field(
        None,
        description="Bundle of the results: `zip` (default for several results), `tar` or `arrow`.",
        examples=["zip"],
    )


_TEXTS = {
    field.alias or name: field.description or ""
    for name, field in AugmentQuery.model_fields.items()
    if name != "pipeline"
}
_BODY = {
    "requestBody": {
        "required": True,
        "description": "The image itself (its format is detected), or a form with one or more `images`; without "
        "compression (no `Content-Encoding`).",
        "content": {
            "image/*": BINARY,
            "application/octet-stream": BINARY,
            _FORM: {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {
                        "images": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "masks": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "One mask for each image, in the same order: class indices as PNG (grey, "
                            "palette or 16 bits), of the image's size.",
                        },
                        "annotations": {
                            "type": "string",
                            "description": "JSON: an object for one image, a list with one object for each image, or "
                            "an object by file name. Members are `label`, `labels`, `boxes` ([x_min, y_min, x_max, "
                            "y_max] in "
                            "pixels), `box_labels`, `box_attributes`, `instance_masks`, `keypoints` ([x, y]), "
                            "`keypoint_labels`, `keypoint_visibility`, `keypoint_angles`, `keypoint_scales`, "
                            "`keypoint_boxes`, `extra`; labels are names or numbers.",
                            "example": '{"boxes": [[10, 20, 110, 220]], "box_labels": ["cat"]}',
                        },
                        "pipeline": {"type": "string", "description": "Name, or YAML or JSON text."},
                        **{name: {"type": "string", "description": text} for name, text in _TEXTS.items()},
                    },
                }
            },
        },
    }
}


@router.post(
    "",
    summary="Augment images",
    response_class=Response,
    responses={
        200: {
            "description": "A single result is the image itself. Several results, or one with annotations or a mask, "
            "are a zip, tar or Arrow stream with the images, masks, and the provenance and annotations of each "
            "(`annotations.json`; in Arrow the column `annotation`). Results are named after the images that were "
            "sent, in any script, with the number of the copy: `猫__0.jpg`.",
            "headers": {
                "Content-Disposition": {
                    "description": "Name of the result or the bundle; `filename*` if it is not ASCII.",
                    "schema": {"type": "string"},
                },
                "Augment-Seed": {
                    "description": "The seed, even if none was sent.",
                    "schema": {"type": "integer"},
                },
                one_shot.PROVENANCE: {
                    "description": "Provenance of a single result: its render key, seed and each applied transform, as "
                    "ASCII JSON of at most 4 kB. Parameters that make it longer are left out; `left_out` says so.",
                    "schema": {"type": "string"},
                },
            },
            "content": {f"image/{name}": BINARY for name in encode.EXTENSIONS}
            | dict.fromkeys(_MEDIA_TYPES.values(), BINARY),
        },
        400: problem("The form is cut short, or a part of it is compressed."),
        404: problem("The pipeline does not exist."),
        409: problem("A dataset that the pipeline refers to is being scanned, or has changed meanwhile."),
        413: problem("The body is too long (AUGMENT_MAX_BODY_BYTES)."),
        415: problem(
            "An image's format (HEIC, SVG, video, …), the body's type, its Content-Encoding or the requested format is "
            "not supported; `detail` names the remedy."
        ),
        422: problem("An image is too large or cannot be decoded or rendered, or the pipeline or a value is invalid."),
        408: problem("The body did not arrive in time (AUGMENT_BODY_TIMEOUT_S)."),
        429: problem("The queue is full; `Retry-After` says when to retry."),
    },
    openapi_extra=_BODY,
)
async def augment_images(request: Request, state: Joined, query: Annotated[AugmentQuery, Query()]) -> Response:
    """Augment the images of the request.

    `curl --data-binary @cat.jpg 'URL/v1/augment?pipeline=flip-rotate-crop&seed=7' -o out.jpg`, or
    `curl -F images=@cat.jpg -F images=@dog.jpg -F pipeline=light -F copies=4 URL/v1/augment -o out.zip`, or with
    targets `curl -F images=@cat.jpg -F masks=@cat.png -F 'annotations={"boxes": [[10, 20, 110, 220]]}' -F
    pipeline=light URL/v1/augment -o out.zip`. The same image, pipeline and seed give the same bytes from every service
    with the same engine. If one image cannot be used, the whole request fails with its name.
    """
    kind = requests.media_type(request)
    if kind != _FORM and kind not in _RAW_TYPES and not kind.startswith("image/"):
        message = f"the Content-Type is {kind[:100]}; send an image, or several as {_FORM}: {one_shot.FORM_LINE}"
        raise MediaTypeError(message, [Problem(("header", "Content-Type"), message)])
    given = query.model_dump(exclude_none=True, by_alias=True)
    with ExitStack() as held:
        turn = held.enter_context(state.admission.place(after_body=True))
        sent = held.enter_context(closing(_images(request, state)))
        if kind == _FORM:
            fields = await one_shot.receive_form(request, sent)
            if twice := sorted(fields.keys() & given.keys()):
                raise CallError(f"{', '.join(twice)} is in the query and in the form; send each option once")
            given |= fields
        else:
            sent.begin("image")
            await receive.receive_raw(request, sent)
            _check_is_file(kind, bytes(sent.head))
        turn.enter()
        asked = requests.validated(AugmentRequest, _with_format(given, request.headers.get("accept")))
        options = _options(state, asked, await _pipeline(state, asked.pipeline))
        try:
            images = await responses.unless_left(request.receive, state.oneshot.render(sent, options))
        except responses.ClientLeft:
            return Response(status_code=responses.LEFT)
        files = sent.files
        if len(images) == 1 and options.copies == 1 and asked.format is None and not sent.are_described:
            file, headers = one_shot.single(images[0], options, in_memory=files.is_in_memory(images[0].path))
        else:
            bundle = asked.format or batch_media_types.by_accept(
                request.headers.get("accept"), _MEDIA_TYPES, "several results are served as"
            )
            results = [result for image in images for result in image.results]
            into = sent.new_file(sum(result.num_bytes + result.mask_bytes for result in results))
            num_bytes = await to_thread.run_sync(one_shot.pack, bundle, images, options, into)
            file = BatchFile(into, Laid(num_bytes, num_bytes), in_memory=files.is_in_memory(into))
            headers = {
                "Content-Type": _MEDIA_TYPES[bundle],
                "Content-Length": str(num_bytes),
                "Content-Disposition": requests.disposition("attachment", f"augmented.{bundle}"),
            }
        headers |= {"Cache-Control": "no-store", "Augment-Seed": str(options.seed)}
        turn.leave()
        content = file.at_once()
        if content is not None:
            return responses.HeldResponse(content, held.pop_all(), headers=headers)
        chunks = _chunks(file, held.pop_all())
        return await responses.streamed(request, chunks, media_type=headers["Content-Type"], headers=headers)


async def _chunks(file: BatchFile, held: ExitStack) -> AsyncGenerator[Chunk, None]:
    with held:
        async with aclosing(file.chunks()) as content:
            async for chunk in content:
                yield chunk


def _check_is_file(kind: str, head: bytes) -> None:
    """Raise MediaTypeError for form fields without files, and for a file that ``curl -d`` stripped of NUL, CR and LF.

    Every image file has such bytes: lengths in headers contain a zero byte, and PNM has lines.
    """
    if kind == _URLENCODED and _FIELDS.match(head):
        message = f"the body is text, not an image; send a file with `-F images=@FILE`: {one_shot.FORM_LINE}"
    elif not head or any(byte in head for byte in b"\0\r\n") or _is_text(head):
        return
    else:
        message = (
            "the body is binary without any line end or zero byte; curl's `-d @FILE` removes them, so send the file "
            f"unchanged: {one_shot.BODY_LINE}"
        )
    raise MediaTypeError(message, [Problem(("body",), message)])


def _is_text(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the head may end inside a character
    except UnicodeDecodeError:
        return False
    return True


def _images(request: Request, state: State) -> RequestFiles:
    length = request.headers.get("content-length", "")
    expected = int(length) if length.isdigit() else state.settings.max_body_bytes
    return RequestFiles(state.oneshot.files, state.settings.max_images, min(expected, state.settings.max_body_bytes))


def _with_format(given: Mapping[str, str], accept: str | None) -> Mapping[str, str]:
    """Add ``image_format`` from ``Accept``, if that names an image format and ``image_format`` was not sent."""
    named = {media_range for media_range, weight in batch_media_types.media_ranges(accept or "") if weight > 0}
    best = batch_media_types.preferred(
        accept, [f"image/{name}" for name in encode.EXTENSIONS if f"image/{name}" in named]
    )
    if best is None or "image_format" in given:
        return given
    return {**given, "image_format": best.removeprefix("image/")}


async def _pipeline(state: State, source: str) -> Pipeline:
    """Return the pipeline of a name or text. A thread is used only if it is not cached."""
    with problems_below("pipeline"):
        known = state.pipelines.known(source)
        pipeline = known if known is not None else await to_thread.run_sync(state.pipelines.get, source)
        registry.check(state.datasets, pipeline.spec)
    return pipeline


def _options(state: State, asked: AugmentRequest, pipeline: Pipeline) -> Options:
    seed = secrets.randbits(_RANDOM_SEED_BITS) if asked.seed is None else asked.seed
    references = registry.entries(state.datasets, [pipeline.spec])
    return Options(
        pipeline,
        seed,
        asked.copies,
        asked.image_format,
        asked.quality,
        first_copy=asked.only_copy or 0,
        same_draw=asked.same_draw,
        references=references,
    )
