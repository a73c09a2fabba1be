"""The catalogue: what may stand in a pipeline, and the parameters of each."""

import functools
import json
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field

from augment.spelling import did_you_mean
from augment.transforms.catalogue import TransformInfo, catalogue
from service import schemas
from service.errors import NotFoundError
from service.routes import conditional
from service.routing import Route
from service.state import Joined

router = APIRouter(route_class=Route, prefix="/v1/transforms", tags=["transforms"])


class Transform(BaseModel):
    """One transform of the catalogue."""

    name: str = Field(examples=["HorizontalFlip"])
    family: str = Field(examples=["flip"])
    targets: list[str] = Field(
        description="What follows the picture: of image, mask, boxes, keypoints.", examples=[["boxes", "image", "mask"]]
    )
    requires: list[str] = Field(description="Targets without which it cannot work.", examples=[[]])
    container: bool = Field(description="Whether it holds transforms of its own.")
    donors: bool = Field(
        description="Whether it takes other records of the same split; it never stands in a container."
    )
    references: bool = Field(
        description="Whether it takes pictures of a dataset that its parameter of that name names."
    )
    help: str = Field(description="What it does.", examples=["mirrors left and right"])
    schema_: dict[str, Any] = Field(
        alias="schema",
        description="JSON Schema (2020-12) of its parameters, defaults and ranges included; `x-rules` are sentences "
        "about several of them together.",
    )


class Transforms(BaseModel):
    """The whole catalogue."""

    transforms: list[Transform] = Field(description="In alphabetical order.")


@router.get(
    "",
    summary="All transforms",
    response_model=Transforms,
    responses=conditional.NOT_MODIFIED,
)
async def list_transforms(request: Request, state: Joined) -> Response:
    """Each transform with the JSON Schema of its parameters; it changes with the engine only."""
    body = await to_thread.run_sync(_all)
    return _answer(request, state, body)


@router.get(
    "/{name}",
    summary="One transform",
    response_model=Transform,
    responses={
        **conditional.NOT_MODIFIED,
        404: {"model": schemas.Problem, "description": "There is no such transform."},
    },
)
async def read_transform(
    request: Request,
    state: Joined,
    name: Annotated[str, Path(description="The transform's name.", examples=["HorizontalFlip"])],
) -> Response:
    """What a transform does, what it moves, and what it takes."""
    info = (await to_thread.run_sync(catalogue)).get(name)
    if info is None:
        hint = did_you_mean(name, catalogue()) or "; GET /v1/transforms lists them"
        raise NotFoundError(f"there is no transform {name[:100]!r}{hint}")
    return _answer(request, state, json.dumps(_document(info)).encode())


@functools.cache
def _all() -> bytes:
    return json.dumps({"transforms": [_document(info) for info in catalogue().values()]}).encode()


def _answer(request: Request, state: Joined, body: bytes) -> Response:
    etag = f'"{state.version["engine"]}"'
    return conditional.answer(request, body, etag=etag, media_type="application/json")


def _document(info: TransformInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "family": info.family,
        "targets": sorted(info.targets),
        "requires": sorted(info.requires),
        "container": info.container,
        "donors": info.donors,
        "references": info.references,
        "help": info.help,
        "schema": info.schema,
    }
