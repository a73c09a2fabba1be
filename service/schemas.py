"""Models of requests and answers, which validate requests and are shown in OpenAPI."""

import bisect
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from augment.errors import CallError
from augment.validation import FailureBudget

BINARY = {"schema": {"type": "string", "format": "binary"}}
"""OpenAPI content of binary bodies."""

M = TypeVar("M", bound=BaseModel)

Responses = dict[int | str, dict[str, Any]]
"""Responses of a route in OpenAPI, by status."""


class Schema(BaseModel):
    """Base class of request models. Unknown fields are errors, so that a misspelt one does not mean its default."""

    model_config = ConfigDict(extra="forbid")


class StrictSchema(Schema):
    """Base class of JSON bodies. Values have JSON's types, so that ``true`` is not a batch size."""

    model_config = ConfigDict(strict=True)


class ProblemLocation(BaseModel):
    """One place in the request and its problem."""

    loc: list[str | int] = Field(description="Path from the root of the request.")
    msg: str = Field(description="The value, the limit and the remedy.")
    line: int | None = Field(None, description="Line number, if the request is a text with lines.")


class ProblemDocument(BaseModel):
    """A problem document (RFC 9457)."""

    type: str = Field(description="Identifier of the kind of problem.", examples=["urn:augment:problem:not-found"])
    title: str = Field(description="Summary of the kind of problem.")
    status: int = Field(description="HTTP status.")
    detail: str = Field(description="This problem: the value received, the limit and the remedy.")
    instance: str | None = Field(None, description="Id of the request, as in the log.")
    errors: list[ProblemLocation] | None = Field(None, description="Each place in the request that is wrong.")


def problem(description: str) -> dict[str, Any]:
    """Return an OpenAPI response that is a problem document."""
    return {"model": ProblemDocument, "description": description}


def _jpeg(value: object) -> object:
    return "jpeg" if isinstance(value, str) and value.lower() in {"jpg", "jpeg"} else value


ImageFormat = Annotated[Literal["jpeg", "png", "webp"], BeforeValidator(_jpeg)]
"""Format of an encoded result; `jpg` means `jpeg`."""


def _failure_budget(value: Any) -> object:
    """Check a failure budget, which is a text in a query."""
    try:
        budget = FailureBudget.parse(value) if isinstance(value, str) else FailureBudget(value)
    except CallError as error:
        raise ValueError(str(error)) from None
    return budget.max_failures


MaxFailures = Annotated[int | float, BeforeValidator(_failure_budget)]
"""A failure budget, by the rule of ``augment.validation.FailureBudget``."""


class _PageQuery(Schema):
    """Query parameters that select a page of a list."""

    after: str | None = Field(
        None, description="Continue after this entry: the `next` of the page before.", max_length=4096
    )
    limit: int = Field(100, description="Largest number of entries on a page.", ge=1, le=1000)

    def of(self, names: Sequence[str]) -> tuple[Sequence[str], str | None]:
        """Return this page of a sorted list and the ``after`` of the next page, or None on the last one.

        The name ``after`` need not exist any more.
        """
        start = 0 if self.after is None else bisect.bisect_right(names, self.after)
        chosen = names[start : start + self.limit]
        return chosen, chosen[-1] if start + self.limit < len(names) else None


PageQuery = Annotated[_PageQuery, Query()]
"""Query of a page; its ``after`` is the ``next`` of the page before."""


def page(name: str, entries: str, model: type[BaseModel], order: str, *, words: str = "") -> type[BaseModel]:
    """Return a model of a page called ``name``. Its list is called ``entries``, in its docstring ``words``."""
    fields: dict[str, Any] = {
        entries: (list[model], Field(description=order)),  # type: ignore[valid-type]
        "next": (str | None, Field(description="Pass it as `after` for the next page; null on the last.")),
    }
    return create_model(name, __doc__=f"A page of {words or entries}.", **fields)


class Health(BaseModel):
    """The answer of a liveness probe."""

    status: str = Field(examples=["live"])


class Readiness(BaseModel):
    """The answer of a readiness probe."""

    status: str = Field(examples=["ready"])
    replica: str = Field(
        description="Id of the replica, as in `GET /version`.", examples=["5f0c8e3b9a614d27b3a1c6de02f7485a"]
    )


class Version(BaseModel):
    """The release, the replica, and the engine that decides a pixel."""

    version: str = Field(
        description="Version of the service, with `s` and the digest of all its files, `c` and the digest of its "
        "client's files. The header `Augment-Version` of every answer has it too.",
        examples=["0.1.0.dev0+s1a2b3c4.c5d6e7f8"],
    )
    replica: str = Field(
        description="Random id of the replica's home: 32 hexadecimal digits, the same after every restart.",
        examples=["5f0c8e3b9a614d27b3a1c6de02f7485a"],
    )
    engine: str = Field(description="Digest of the three fields below; part of stream ids, ETags and expansions.")
    revision: int = Field(description="Number of changes of this project that altered a pixel.")
    architecture: str = Field(examples=["x86-64-avx2"])
    libraries: dict[str, Any] = Field(description="Each library that decides a pixel, with its version.")


def with_options(
    options: Mapping[str, dataclasses.Field[Any]], types: Mapping[str, Any]
) -> Callable[[type[M]], type[M]]:
    """Add members to a model: options as ``augment.validation.option`` describes them, by the members' names."""
    members: dict[str, Any] = {}
    for name, each in options.items():
        default = list(each.default) if isinstance(each.default, tuple) else each.default
        schema = Field(default, description=each.metadata["description"], **each.metadata["schema"])
        members[name] = (types[name], schema)
    return lambda model: create_model(
        model.__name__, __base__=model, __doc__=model.__doc__, __module__=model.__module__, **members
    )
