"""Models of requests and answers: shown in OpenAPI, checked on the way in."""

import bisect
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from augment.errors import CallError
from augment.validation import FailureBudget

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


class ProblemLocation(BaseModel):
    """One place in what was sent and what is wrong there."""

    loc: list[str | int] = Field(description="The path from the root of what was sent.")
    msg: str = Field(description="The value, the limit and the remedy.")
    line: int | None = Field(None, description="The line, where what was sent has lines.")


class ProblemDocument(BaseModel):
    """A problem document (RFC 9457)."""

    type: str = Field(description="Names the kind of problem.", examples=["urn:augment:problem:not-found"])
    title: str = Field(description="The kind of problem in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="This occurrence: the value received, the limit and the remedy.")
    instance: str | None = Field(None, description="The id of the request, as the log has it.")
    errors: list[ProblemLocation] | None = Field(None, description="Each place in what was sent that is wrong.")


def problem(description: str) -> dict[str, Any]:
    """A response of OpenAPI that is a problem document."""
    return {"model": ProblemDocument, "description": description}


def _jpeg(value: object) -> object:
    return "jpeg" if isinstance(value, str) and value.lower() in {"jpg", "jpeg"} else value


ImageFormat = Annotated[Literal["jpeg", "png", "webp"], BeforeValidator(_jpeg)]
"""The format of an encoded result; `jpg` is another name for `jpeg`."""


def _failure_budget(value: Any) -> object:
    """Check a failure budget, which a query has as text."""
    try:
        budget = FailureBudget.parse(value) if isinstance(value, str) else FailureBudget(value)
    except CallError as error:
        raise ValueError(str(error)) from None
    return budget.max_failures


MaxFailures = Annotated[int | float, BeforeValidator(_failure_budget)]
"""A failure budget, by the rule of ``augment.validation.FailureBudget``."""


class _PageQuery(Schema):
    """Which part of a list is wanted."""

    after: str | None = Field(
        None, description="Go on after this entry: the `next` of the page before.", max_length=4096
    )
    limit: int = Field(100, description="Entries of one page.", ge=1, le=1000)

    def of(self, names: Sequence[str]) -> tuple[Sequence[str], str | None]:
        """The names after one (which may be gone) in a sorted list, and what to ask for next; None at the end."""
        start = 0 if self.after is None else bisect.bisect_right(names, self.after)
        chosen = names[start : start + self.limit]
        return chosen, chosen[-1] if start + self.limit < len(names) else None


PageQuery = Annotated[_PageQuery, Query()]
"""Lists come in pages: ``after`` is the last name of the page before, ``next`` the one to go on after."""


def page(name: str, entries: str, model: type[BaseModel], order: str, *, words: str = "") -> type[BaseModel]:
    """Return the model ``name`` of a page, whose list is called ``entries``, or ``words`` in a sentence."""
    fields: dict[str, Any] = {
        entries: (list[model], Field(description=order)),  # type: ignore[valid-type]
        "next": (str | None, Field(description="Pass it as `after` for the next page; null on the last.")),
    }
    return create_model(name, __doc__=f"A page of {words or entries}.", **fields)


class Health(BaseModel):
    """The answer of a probe."""

    status: str = Field(examples=["ready"])


class Version(BaseModel):
    """The release, the replica, and the engine that decides a pixel."""

    version: str = Field(
        description="Version of the service: `s` and the digest of all its files, `c` and that of its client's. The "
        "header `Augment-Version` of every answer tells it too.",
        examples=["0.1.0.dev0+s1a2b3c4.c5d6e7f8"],
    )
    replica: str = Field(
        description="Random id of the replica's home: 32 hexadecimal digits, the same after every restart.",
        examples=["5f0c8e3b9a614d27b3a1c6de02f7485a"],
    )
    engine: str = Field(description="Digest of the three fields below; part of stream ids, ETags and expansions.")
    revision: int = Field(description="Counts this project's own changes that alter a pixel.")
    architecture: str = Field(examples=["x86-64-avx2"])
    libraries: dict[str, Any] = Field(description="Each library that decides a pixel, with its version.")
