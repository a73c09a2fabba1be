"""Models of requests and answers: shown in OpenAPI, checked on the way in."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

BINARY = {"schema": {"type": "string", "format": "binary"}}
"""Content of OpenAPI that is bytes."""

Responses = dict[int | str, dict[str, Any]]
"""Responses of a route in OpenAPI, by status."""


class Schema(BaseModel):
    """Whatever a client sends may hold nothing unknown: a misspelt field is an error, not a default."""

    model_config = ConfigDict(extra="forbid")


class StrictSchema(Schema):
    """A JSON body: its values have JSON's own types, so that ``true`` is no batch size."""

    model_config = ConfigDict(strict=True)


class Place(BaseModel):
    """One place in what was sent and what is wrong there."""

    loc: list[str | int] = Field(description="The path from the root of what was sent.")
    msg: str = Field(description="The value, the limit and the remedy.")
    line: int | None = Field(None, description="The line, where what was sent has lines.")


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str = Field(description="Names the kind of problem.", examples=["urn:augment:problem:not-found"])
    title: str = Field(description="The kind of problem in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="This occurrence: the value received, the limit and the remedy.")
    instance: str | None = Field(None, description="The id of the request, as the log has it.")
    errors: list[Place] | None = Field(None, description="Each place in what was sent that is wrong.")


def problem(description: str) -> dict[str, Any]:
    """A response of OpenAPI that is a problem document."""
    return {"model": Problem, "description": description}


class Health(BaseModel):
    """The answer of a probe."""

    status: str = Field(examples=["ready"])


class Version(BaseModel):
    """What decides a pixel."""

    engine: str = Field(description="Digest of all below; part of stream ids, ETags and expansions.")
    revision: int = Field(description="Counts this project's own changes that alter a pixel.")
    architecture: str = Field(examples=["x86-64-avx2"])
    libraries: dict[str, Any] = Field(description="Each library that decides a pixel, with its version.")
