"""One shot: images in, augmented images out, at once."""

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
"""Taken for an image, besides image/*: what curl says of --data-binary is the last of these."""
_FIELDS = re.compile(rb"[A-Za-z_][A-Za-z0-9_.-]{0,63}=")

_MEDIA_TYPES: Mapping[Bundle, str] = {
    Bundle.ZIP: "application/zip",
    Bundle.TAR: "application/x-tar",
    Bundle.ARROW: "application/vnd.apache.arrow.stream",
}
"""``?format=`` beats ``Accept``; what accepts anything gets the first."""
_RANDOM_SEED_BITS = 53
"""What every JSON reader holds exactly."""


_NO_PIPELINE = (
    "no pipeline is given; name a preset or a saved one, which GET /v1/pipelines lists, or send a list of transforms: "
    f"{one_shot.BODY_LINE}"
)
_NO_BUNDLE = (
    "{0!r} is a format of images, which image_format names; format says how several results are packed (zip, tar or "
    "arrow): `curl --data-binary @cat.jpg 'URL/v1/augment?pipeline=flip-rotate-crop&image_format={1}' -o out.{1}`"
)
_NO_IMAGE_FORMAT = (
    "{0!r} is a way to pack several results, which format names; image_format is jpeg, png or webp: `curl -F "
    "images=@cat.jpg -F pipeline=flip-rotate-crop -F copies=4 -F format={1} URL/v1/augment -o out.{1}`"
)


class AugmentRequest(schemas.Schema):
    """What is to be done; each may come in the query or as a field of the form."""

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
        """Refuse what names no pipeline."""
        if not value.strip():
            raise ValueError(_NO_PIPELINE)
        return value

    @field_validator("only_copy")
    @classmethod
    def check_copy(cls, value: int | None, info: ValidationInfo) -> int | None:
        """Refuse one copy alone where several are asked for."""
        copies = info.data.get("copies", 1)
        if value is not None and copies > 1:
            raise ValueError(f"copy is {value}, which gives that copy alone, and copies is {copies}; send one of them")
        return value

    @field_validator("image_format", mode="before")
    @classmethod
    def check_image_format(cls, value: object) -> object:
        """Tell the format of a bundle from that of images."""
        if str(value).lower() in list(Bundle):
            raise ValueError(_NO_IMAGE_FORMAT.format(value, str(value).lower()))
        return value

    @field_validator("format", mode="before")
    @classmethod
    def check_format(cls, value: object) -> object:
        """Tell the format of images from that of a bundle."""
        name = "jpeg" if value == "jpg" else str(value).lower()
        if name in encode.EXTENSIONS:
            raise ValueError(_NO_BUNDLE.format(value, name))
        return value


class AugmentQuery(schemas.Schema):
    """What may come in the query, as text: ``AugmentRequest`` judges it together with the form."""

    pipeline: str | None = Field(
        None,
        description="The name of a preset or a saved pipeline, or YAML or JSON text.",
        examples=["flip-rotate-crop"],
    )
    seed: str | None = Field(None, description="Omitted: random, and returned with the result.")
    copies: str | None = Field(
        None, description="Results for each image: its copies 0, 1, 2, …; 1 by default.", examples=["4"]
    )
    only_copy: str | None = Field(
        None,
        alias="copy",
        description="That copy alone, with the bytes that it has among `copies`: `copy=3` is the last of `copies=4`.",
        examples=["3"],
    )
    same_draw: str | None = Field(
        None,
        description="`true`: all images of the request get one draw, so that a stereo pair, or frames of one size, "
        "move alike. Their `key` is then that of the first image.",
        examples=["true"],
    )
    image_format: str | None = Field(
        None, description="Of the results: `jpeg` (the default; also `jpg`), `png` or `webp`.", examples=["webp"]
    )
    quality: str | None = Field(None, description="Of JPEG and WebP, 1 to 100; 90 by default.")
    format: str | None = Field(
        None,
        description="How results are packed: `zip` (the default of several), `tar` or `arrow`.",
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
        "description": "The image itself, whatever its content type says, or a form with one or more `images`; never "
        "compressed (no `Content-Encoding`).",
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
                            "description": "One for each image, in their order: class indices as PNG (grey, palette "
                            "or 16 bits), of the image's size.",
                        },
                        "annotations": {
                            "type": "string",
                            "description": "JSON: an object for one image, a list of one for each, or an object by "
                            "file name. Each has any of `label`, `labels`, `boxes` ([x_min, y_min, x_max, y_max] in "
                            "pixels), `box_labels`, `box_attributes`, `instance_masks`, `keypoints` ([x, y]), "
                            "`keypoint_labels`, `keypoint_visibility`, `keypoint_angles`, `keypoint_scales`, "
                            "`keypoint_boxes`, `extra`; labels are names or numbers.",
                            "example": '{"boxes": [[10, 20, 110, 220]], "box_labels": ["cat"]}',
                        },
                        "pipeline": {"type": "string", "description": "A name, or YAML or JSON text."},
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
            "description": "One result is the image itself. Several, or one with annotations or a mask, are a zip, "
            "tar or Arrow stream with images, masks and what was done to each and is to be said of it "
            "(`annotations.json`; in Arrow the column `annotation`). Results have the names of the images that were "
            "sent, in any script, and the number of the copy: `猫__0.jpg`.",
            "headers": {
                "Content-Disposition": {
                    "description": "The name of the result, or of the bundle; `filename*` holds what is not ASCII.",
                    "schema": {"type": "string"},
                },
                "Augment-Seed": {
                    "description": "The seed, also if none was sent.",
                    "schema": {"type": "integer"},
                },
                one_shot.PROVENANCE: {
                    "description": "Of one result: its render key, seed and each transform applied, as ASCII JSON of "
                    "at most 4 kB; where parameters make it longer they are left out and `left_out` says so.",
                    "schema": {"type": "string"},
                },
            },
            "content": {f"image/{name}": BINARY for name in encode.EXTENSIONS}
            | dict.fromkeys(_MEDIA_TYPES.values(), BINARY),
        },
        400: problem("The form is cut short, or a part of it is compressed."),
        404: problem("There is no such pipeline."),
        409: problem("A dataset that the pipeline takes references of is being scanned, or changed meanwhile."),
        413: problem("The body is too long (AUGMENT_MAX_BODY_BYTES)."),
        415: problem(
            "An image's format (HEIC, SVG, video, …), the body's type, its Content-Encoding or the wanted format is "
            "not served; `detail` names the remedy."
        ),
        422: problem("An image cannot be decoded or rendered or is too large, the pipeline or a value is refused."),
        408: problem("The body does not come on (AUGMENT_BODY_TIMEOUT_S)."),
        429: problem("The queue is full; `Retry-After` says when to ask again."),
    },
    openapi_extra=_BODY,
)
async def augment_images(request: Request, state: Joined, query: Annotated[AugmentQuery, Query()]) -> Response:
    """Augment what is sent, at once.

    `curl --data-binary @cat.jpg 'URL/v1/augment?pipeline=flip-rotate-crop&seed=7' -o out.jpg`, or
    `curl -F images=@cat.jpg -F images=@dog.jpg -F pipeline=light -F copies=4 URL/v1/augment -o out.zip`, or with
    targets `curl -F images=@cat.jpg -F masks=@cat.png -F 'annotations={"boxes": [[10, 20, 110, 220]]}' -F
    pipeline=light URL/v1/augment -o out.zip`. The same
    image, pipeline and seed give the same bytes from every service of the same engine. One image that cannot be
    used refuses the request, by its name.
    """
    kind = requests.media_type(request)
    if kind != _FORM and kind not in _RAW_TYPES and not kind.startswith("image/"):
        message = f"the body is {kind[:100]}; send an image, or several as {_FORM}: {one_shot.FORM_LINE}"
        raise MediaTypeError(message, [Problem(("header", "Content-Type"), message)])
    given = query.model_dump(exclude_none=True, by_alias=True)
    with ExitStack() as held:
        turn = held.enter_context(state.admission.place(after_body=True))
        sent = held.enter_context(closing(_images(request, state)))
        if kind == _FORM:
            fields = await one_shot.receive_form(request, sent)
            if twice := sorted(fields.keys() & given.keys()):
                raise CallError(f"{', '.join(twice)} came in the query and in the form; send each once")
            given |= fields
        else:
            sent.begin("image")
            await receive.receive_raw(request, sent)
            _check_is_file(kind, bytes(sent.head))
        turn.enter()
        wanted = requests.validated(AugmentRequest, _with_format(given, request.headers.get("accept")))
        options = _options(state, wanted, await _pipeline(state, wanted.pipeline))
        try:
            made = await responses.unless_left(request.receive, state.oneshot.render(sent, options))
        except responses.ClientLeft:
            return Response(status_code=responses.LEFT)
        files = sent.files
        if len(made) == 1 and options.copies == 1 and wanted.format is None and not sent.are_described:
            file, headers = one_shot.single(made[0], options, in_memory=files.is_in_memory(made[0].path))
        else:
            bundle = wanted.format or batch_media_types.by_accept(
                request.headers.get("accept"), _MEDIA_TYPES, "several results are served as"
            )
            into = sent.new_file(sum(result.num_bytes + result.mask_bytes for one in made for result in one.results))
            num_bytes = await to_thread.run_sync(one_shot.pack, bundle, made, options, into)
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
    """Raise MediaTypeError for fields without files, and for what ``curl -d`` makes of a file: no NUL, CR and LF.

    No image file is without them: lengths in headers have a byte of zero, and PNM has lines.
    """
    if kind == _URLENCODED and _FIELDS.match(head):
        message = f"the body is text, not an image; a file is sent by `-F images=@FILE`: {one_shot.FORM_LINE}"
    elif not head or any(byte in head for byte in b"\0\r\n") or _is_text(head):
        return
    else:
        message = (
            "the body is binary without a line end or a zero, as curl's `-d @FILE` sends it, which takes them out; "
            f"send the file's own bytes: {one_shot.BODY_LINE}"
        )
    raise MediaTypeError(message, [Problem(("body",), message)])


def _is_text(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # which may end inside a character
    except UnicodeDecodeError:
        return False
    return True


def _images(request: Request, state: State) -> RequestFiles:
    length = request.headers.get("content-length", "")
    expected = int(length) if length.isdigit() else state.settings.max_body_bytes
    return RequestFiles(state.oneshot.files, state.settings.max_images, min(expected, state.settings.max_body_bytes))


def _with_format(given: Mapping[str, str], accept: str | None) -> Mapping[str, str]:
    """The image's format by ``Accept`` where it names one and ``image_format`` was not sent."""
    named = {media_range for media_range, weight in batch_media_types.media_ranges(accept or "") if weight > 0}
    found = batch_media_types.preferred(
        accept, [f"image/{name}" for name in encode.EXTENSIONS if f"image/{name}" in named]
    )
    return (
        given if found is None or "image_format" in given else {**given, "image_format": found.removeprefix("image/")}
    )


async def _pipeline(state: State, source: str) -> Pipeline:
    """What a request calls by name or sends as text; a thread is asked only for what is not known yet."""
    with problems_below("pipeline"):
        known = state.pipelines.known(source)
        pipeline = known if known is not None else await to_thread.run_sync(state.pipelines.get, source)
        registry.check(state.datasets, pipeline.spec)
    return pipeline


def _options(state: State, wanted: AugmentRequest, pipeline: Pipeline) -> Options:
    seed = secrets.randbits(_RANDOM_SEED_BITS) if wanted.seed is None else wanted.seed
    references = registry.entries(state.datasets, [pipeline.spec])
    return Options(
        pipeline,
        seed,
        wanted.copies,
        wanted.image_format,
        wanted.quality,
        first_copy=wanted.only_copy or 0,
        same_draw=wanted.same_draw,
        references=references,
    )
