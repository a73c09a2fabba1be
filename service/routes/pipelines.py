"""Routes of presets and saved pipelines, of the check of a pipeline, and of the catalogue of transforms."""

import functools
import hashlib
import json
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field

from augment.errors import PipelineError
from augment.pipelines import document
from augment.render.pipeline import Pipeline
from augment.transforms.catalogue import catalogue
from augment.validation import did_you_mean, quoted
from service import schemas
from service.asgi import requests
from service.asgi.requests import Route
from service.errors import NotFoundError
from service.pipelines import NamedPipeline
from service.schemas import problem
from service.state import Joined

router = APIRouter(route_class=Route, prefix="/v1/pipelines", tags=["pipelines"])

YAML = "application/yaml"
_YAML_TYPES = frozenset({YAML, "application/x-yaml", "text/yaml", "text/x-yaml", "text/plain"})
_TYPES = _YAML_TYPES | {"application/json"}

_EXAMPLE = """\
description: crops, flips and a little noise
transforms:
  - RandomResizedCrop: {size: [224, 224], scale: [0.2, 1.0]}
  - HorizontalFlip: {p: 0.5}
  - OneOf: {p: 0.3, transforms: [{GaussNoise: {}}, {GaussianBlur: {}}]}
"""
_EXAMPLE_JSON = {
    "transforms": [
        {"RandomResizedCrop": {"size": [224, 224], "scale": [0.2, 1.0]}},
        {"HorizontalFlip": {"p": 0.5}},
    ]
}
_BODY = {
    "requestBody": {
        "required": True,
        "description": "YAML 1.2 or JSON, at most 64 kB; also a file that Albumentations saved.",
        "content": {
            YAML: {"schema": {"type": "string"}, "example": _EXAMPLE},
            "application/json": {"schema": {"type": "object"}, "example": _EXAMPLE_JSON},
        },
    }
}

Name = Annotated[str, Path(description="Name of a preset or a saved pipeline.", examples=["inception"])]


class PipelineSummary(BaseModel):
    """A pipeline in a list."""

    name: str = Field(examples=["inception"])
    preset: bool = Field(description="True for a preset of the engine, which is read-only.")
    digest: str | None = Field(description="The pipeline's digest; null if this engine refuses it (see `error`).")
    description: str = ""
    error: str | None = None


PipelinePage = schemas.page("PipelinePage", "pipelines", PipelineSummary, "In alphabetical order.")


class Checked(BaseModel):
    """A checked pipeline with every default filled in."""

    digest: str = Field(description="Digest of the pipeline without its name and comments.")
    pipeline: dict[str, Any] = Field(description="The canonical document.")
    description: str = ""
    notices: list[str] = Field(description="Parts that were dropped or moved when it was read.")


class PipelineDocument(Checked):
    """A named pipeline."""

    name: str
    preset: bool


_UNKNOWN: schemas.Responses = {404: problem("The pipeline does not exist.")}
_REFUSED: schemas.Responses = {
    400: problem("The body is not UTF-8 text."),
    413: problem("The body has more than 64 kB."),
    415: problem("The body is neither YAML nor JSON."),
    422: problem("The pipeline is refused; `errors` has the place, the line and the message of each problem."),
}
_READ_ONLY: schemas.Responses = {403: problem("A preset is read-only.")}


@router.get("", summary="All pipelines", response_model=PipelinePage)
async def list_pipelines(state: Joined, query: schemas.PageQuery) -> Any:
    """List the presets and the saved pipelines, page by page."""

    def read() -> dict[str, Any]:
        names, following = query.of(state.pipelines.names())
        listed = []
        for name in names:
            try:
                listed.append(_summary(state.pipelines.named(name)))
            except NotFoundError:  # deleted since the names were read
                continue
        return {"pipelines": listed, "next": following}

    return await to_thread.run_sync(read)


@router.post("/check", summary="Check a pipeline", response_model=Checked, responses=_REFUSED, openapi_extra=_BODY)
async def check_pipeline(request: Request) -> dict[str, Any]:
    """Check a pipeline without saving it. Returns its digest and canonical form, or every problem with its place."""
    text = await _text(request)
    return _checked(await to_thread.run_sync(Pipeline.parse, text))


@router.get(
    "/{name}",
    summary="One pipeline",
    response_model=PipelineDocument,
    responses={
        200: {"content": {YAML: {"schema": {"type": "string"}, "example": _EXAMPLE}}},
        **_UNKNOWN,
        **requests.NOT_MODIFIED,
    },
)
async def read_pipeline(
    request: Request,
    state: Joined,
    name: Name,
    format: Annotated[  # noqa: A002 - the word of the contract
        str | None, Query(description="`json` or `yaml`; overrides `Accept`.", pattern="^(json|yaml)$")
    ] = None,
) -> Response:
    """Return the canonical form as JSON, or the saved text as YAML (`?format=yaml` or `Accept: application/yaml`)."""
    named = await to_thread.run_sync(state.pipelines.named, name)
    as_yaml = format == "yaml" if format else _wants_yaml(request)
    if as_yaml:
        body, media_type = named.text.encode(), YAML
    else:
        body, media_type = json.dumps(_named(named)).encode(), "application/json"
    etag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
    return requests.answer(request, body, etag=etag, media_type=media_type, headers={"Vary": "Accept"})


@router.put(
    "/{name}",
    summary="Save a pipeline",
    response_model=PipelineDocument,
    responses={201: {"model": PipelineDocument, "description": "The name is new."}, **_REFUSED, **_READ_ONLY},
    openapi_extra=_BODY,
)
async def save_pipeline(request: Request, response: Response, state: Joined, name: Name) -> dict[str, Any]:
    """Save a pipeline under a name. It is on disk before the answer. YAML keeps its comments."""
    text = await _text(request)
    as_json = requests.media_type(request) == "application/json"
    named, is_new = await to_thread.run_sync(lambda: state.pipelines.save(name, text, as_json=as_json))
    if is_new:
        response.status_code = 201
        response.headers["Location"] = f"/v1/pipelines/{name}"
    return _named(named)


@router.delete(
    "/{name}",
    summary="Delete a pipeline",
    status_code=204,
    response_class=Response,
    responses={**_UNKNOWN, **_READ_ONLY},
)
async def delete_pipeline(state: Joined, name: Name) -> None:
    """Delete a saved pipeline. Streams and jobs that were declared with it continue."""
    await to_thread.run_sync(state.pipelines.delete, name)


async def _text(request: Request) -> str:
    if "content-type" in request.headers:
        requests.check_media_type(request, _TYPES)
    return await requests.read_text(request, max_bytes=document.MAX_TEXT_BYTES, limit="MAX_TEXT_BYTES of a pipeline")


def _wants_yaml(request: Request) -> bool:
    accepted = [one.partition(";")[0].strip().lower() for one in request.headers.get("accept", "").split(",")]
    yaml = next((i for i, one in enumerate(accepted) if one in _YAML_TYPES), None)
    return yaml is not None and "application/json" not in accepted[:yaml]


def _summary(named: NamedPipeline) -> dict[str, Any]:
    summary = {"name": named.name, "preset": named.is_preset}
    if isinstance(named.parsed, PipelineError):
        return {**summary, "digest": None, "error": str(named.parsed)}
    return {**summary, "digest": named.parsed.digest, "description": named.parsed.spec.description}


def _checked(pipeline: Pipeline) -> dict[str, Any]:
    return {
        "digest": pipeline.digest,
        "pipeline": pipeline.spec.canonical(),
        "description": pipeline.spec.description,
        "notices": list(pipeline.notices),
    }


def _named(named: NamedPipeline) -> dict[str, Any]:
    return {"name": named.name, "preset": named.is_preset, **_checked(named.usable())}


transforms_router = APIRouter(route_class=Route, prefix="/v1/transforms", tags=["transforms"])


class Transform(BaseModel):
    """One transform of the catalogue."""

    name: str = Field(examples=["HorizontalFlip"])
    family: str = Field(examples=["flip"])
    targets: list[str] = Field(
        description="Targets that it transforms, of image, mask, boxes, keypoints.",
        examples=[["boxes", "image", "mask"]],
    )
    requires: list[str] = Field(description="Targets that it requires.", examples=[[]])
    container: bool = Field(description="True if it contains other transforms.")
    donors: bool = Field(
        description="True if it uses other records of the same split; it cannot be inside a container."
    )
    references: bool = Field(description="True if it uses images of the dataset that its parameter `references` names.")
    help: str = Field(description="Description of the transform.", examples=["mirrors left and right"])
    schema_: dict[str, Any] = Field(
        alias="schema",
        description="JSON Schema (2020-12) of its parameters, with defaults and ranges; `x-rules` are sentences about "
        "several parameters together.",
    )


class Transforms(BaseModel):
    """The whole catalogue."""

    transforms: list[Transform] = Field(description="In alphabetical order.")


@transforms_router.get(
    "",
    summary="All transforms",
    response_model=Transforms,
    responses=requests.NOT_MODIFIED,
)
async def list_transforms(request: Request, state: Joined) -> Response:
    """List each transform with the JSON Schema of its parameters. The list changes with the engine only."""
    body = await to_thread.run_sync(_all)
    return _answer(request, state, body)


@transforms_router.get(
    "/{name}",
    summary="One transform",
    response_model=Transform,
    responses={
        **requests.NOT_MODIFIED,
        404: problem("The transform does not exist."),
    },
)
async def read_transform(
    request: Request,
    state: Joined,
    name: Annotated[str, Path(description="The transform's name.", examples=["HorizontalFlip"])],
) -> Response:
    """Return a transform with its description, targets and parameters."""
    info = (await to_thread.run_sync(catalogue)).get(name)
    if info is None:
        hint = did_you_mean(name, catalogue()) or "; GET /v1/transforms lists them"
        raise NotFoundError(f"there is no transform {quoted(name, 100)}{hint}")
    return _answer(request, state, json.dumps(info.as_json()).encode())


@functools.cache
def _all() -> bytes:
    return json.dumps({"transforms": [info.as_json() for info in catalogue().values()]}).encode()


def _answer(request: Request, state: Joined, body: bytes) -> Response:
    etag = f'"{state.version["engine"]}"'
    return requests.answer(request, body, etag=etag, media_type="application/json")
