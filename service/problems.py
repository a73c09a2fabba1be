"""Errors as problem documents (RFC 9457), with one table from the classes of engine and service errors to statuses.

A response never shows a traceback, a path of the service or the text of an unexpected error. Those are logged with the
request's id, which the response carries.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from augment.errors import (
    AugmentError,
    CallError,
    DatasetError,
    JSONError,
    MissingExtraError,
    OutputError,
    PipelineError,
    Reason,
    RecordChangedError,
    RecordError,
    StorageError,
    WorkerError,
)
from service import errors
from service.asgi import requests

MEDIA_TYPE = "application/problem+json"

STATUSES: Mapping[type[Exception], int] = {
    AugmentError: 500,
    CallError: 422,
    JSONError: 422,
    PipelineError: 422,
    DatasetError: 422,
    MissingExtraError: 500,
    OutputError: 409,
    RecordError: 422,
    RecordChangedError: 409,
    StorageError: 503,
    WorkerError: 503,
    errors.ServiceError: 500,
    errors.MalformedError: 400,
    errors.UnauthorizedError: 401,
    errors.ForbiddenError: 403,
    errors.NotFoundError: 404,
    errors.SlowBodyError: 408,
    errors.ConflictError: 409,
    errors.TooLargeError: 413,
    errors.NoRoomError: 413,
    errors.MediaTypeError: 415,
    errors.RepeatedKeyError: 422,
    errors.BusyError: 429,
    errors.MeasuringError: 503,
    errors.StartingError: 503,
    errors.DrainingError: 503,
}
"""Status of each class of error. A class without a row has the status of its nearest base class."""

REASON_STATUSES: Mapping[Reason, int] = {Reason.FORMAT: 415, Reason.TOO_MANY_BYTES: 413, Reason.CHANGED: 409}
"""Statuses of reasons that are more specific than the class of the error."""

_TITLES: Mapping[type[Exception], str] = {
    CallError: "An argument is out of range",
    PipelineError: "The pipeline is refused",
    DatasetError: "The dataset is refused",
    OutputError: "The output is refused",
    RecordError: "The image is refused",
    RecordChangedError: "The image changed since the scan",
    StorageError: "Storage failed",
    WorkerError: "A worker died",
}

_EXPECTED = (errors.MeasuringError, errors.StartingError, errors.DrainingError)
"""Errors that are normal in operation and not logged as faults."""

_OF_STREAMS = ("dtype", "layout", "mix", "normalize", "repeats", "views")
"""Options of streams that users also send with other requests."""

_log = logging.getLogger(__name__)


def status_of(error: Exception) -> int:
    """Return the HTTP status of an expected error."""
    if isinstance(error, RecordError) and error.reason in REASON_STATUSES:
        return REASON_STATUSES[error.reason]
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def document(
    status: int, *, kind: str, detail: str, title: str | None = None, members: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a problem document."""
    known = HTTPStatus(status).phrase
    return {"type": f"urn:augment:problem:{kind}", "title": title or known, "status": status, "detail": detail} | dict(
        members or {}
    )


def describe(error: Exception) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the problem document of an expected error, and its headers."""
    status = status_of(error)
    members: dict[str, Any] = {}
    headers: dict[str, str] = {}
    if isinstance(error, PipelineError | JSONError | errors.ServiceError) and error.problems:
        members["errors"] = [
            {"loc": list(problem.loc), "msg": problem.msg}
            | ({"line": problem.line} if problem.line is not None else {})
            for problem in error.problems
        ]
    if isinstance(error, RecordError):
        members |= {"reason": str(error.reason)} | ({"key": error.key} if error.key else {})
    if isinstance(error, errors.BusyError):
        headers["Retry-After"] = str(error.retry_after_s)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "5"
    if isinstance(error, errors.SlowBodyError):
        headers["Connection"] = "close"  # RFC 9110, section 15.5.9: the rest of the body is not read
    if isinstance(error, errors.UnauthorizedError):
        headers["WWW-Authenticate"] = 'Bearer, Basic realm="augment"'
    title = next((_TITLES[kind] for kind in type(error).__mro__ if kind in _TITLES), None)
    body = document(status, kind=_kind(type(error)), detail=str(error), title=title, members=members)
    return body, headers


def defect(request_id: str) -> dict[str, Any]:
    """Return the problem document of an unexpected error; the log has the details."""
    detail = f"unexpected error in the service; its log has the details under the request id {request_id}"
    return document(500, kind="defect", detail=detail, members={"instance": request_id})


def kept(error: Exception, where: str) -> dict[str, Any]:
    """Return the problem document of an error in background work; that of an unexpected error names ``where``."""
    return describe(error)[0] if isinstance(error, AugmentError | errors.ServiceError) else defect(where)


def response(body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the response of a problem document."""
    return JSONResponse(dict(body), int(body["status"]), headers=dict(headers or {}), media_type=MEDIA_TYPE)


def refusal(error: Exception, request_id: str, **more: str) -> JSONResponse:
    """Return the response to an expected error, with its headers and those in ``more``."""
    body, headers = describe(error)
    return response(body | {"instance": request_id}, headers | more)


def install(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Answer every expected error with a problem document; ``middleware.Outermost`` answers the others.

    ``routers`` are those of the application, from which a 405 takes the allowed methods.
    """
    app.state.routes = [route for router in routers for route in router.routes]
    app.add_exception_handler(AugmentError, _expected)
    app.add_exception_handler(errors.ServiceError, _expected)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


async def _expected(request: Request, error: Exception) -> JSONResponse:
    request_id = requests.id_of(request.scope)
    if status_of(error) >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, _EXPECTED):
        _log.error("%s: %s", type(error).__name__, error, extra={"request_id": request_id})
    body, headers = describe(error)
    return response(_with_url(body, request) | {"instance": request_id}, headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - installed for this class only
    invalid: Sequence[Mapping[str, Any]] = error.errors()
    is_syntax = any(one["type"] == "json_invalid" for one in invalid)
    status = HTTPStatus.BAD_REQUEST if is_syntax else HTTPStatus.UNPROCESSABLE_ENTITY
    places = [{"loc": list(one["loc"]), "msg": _message(one)} for one in invalid]
    detail = "; ".join(f"{'.'.join(str(part) for part in place['loc'])}: {place['msg']}" for place in places)
    title = "The request is not JSON" if is_syntax else "The request is refused"
    body = document(status, kind="invalid-request", detail=detail, title=title, members={"errors": places})
    return response(_with_url(body, request) | {"instance": requests.id_of(request.scope)})


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - installed for this class only
    cause = error.__cause__
    if isinstance(cause, AugmentError | errors.ServiceError):  # FastAPI turns errors while reading a body into 400
        return await _expected(request, cause)
    detail, headers = error.detail, {}
    if error.status_code == HTTPStatus.NOT_FOUND:
        detail = f"{request.url.path} does not exist; /docs lists all paths"
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": ", ".join(_methods(request))}
        detail = f"{request.url.path} does not allow {request.method}, only {headers['Allow']}"
    kind = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    body = document(error.status_code, kind=kind, detail=detail)
    return response(body | {"instance": requests.id_of(request.scope)}, {**(error.headers or {}), **headers})


def _methods(request: Request) -> list[str]:
    """Return all methods of the path, because Starlette names only those of the first route that matches."""
    methods: set[str] = set()
    for route in request.app.state.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


def _message(one: Mapping[str, Any]) -> str:
    if one["type"] == "extra_forbidden" and one["loc"][-1] in _OF_STREAMS:
        return f"`{one['loc'][-1]}` is an option of streams only (POST /v1/streams); leave it out"
    if one["type"] == "value_error":  # raised by a validator here; it states the value
        return str(one["msg"]).removeprefix("Value error, ")
    given = one.get("input")
    shown = f", not {given!r}" if isinstance(given, str | int | float | bool) and len(repr(given)) < 80 else ""
    return f"{one['msg']}{shown}"


def _kind(cls: type[Exception]) -> str:
    name = cls.__name__.removesuffix("Error")
    return "".join(f"-{char.lower()}" if char.isupper() else char for char in name).lstrip("-")


_HERE = "http://127.0.0.1:8000/"
_PLAIN_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]_-]+/([A-Za-z0-9._~/-]*/)?")


def _with_url(document: dict[str, Any], request: Request) -> dict[str, Any]:
    """Fill the URL of the request into the commands of a problem document.

    The client's ``Host`` is used only if a shell cannot misread it.
    """
    url = str(request.base_url)
    url = url if _PLAIN_URL.fullmatch(url) else _HERE
    with_key = "authorization" in request.headers

    def filled(text: str) -> str:
        if "URL/" not in text:
            return text
        text = text.replace("URL/", url)
        return text.replace("`curl ", "`curl -H 'Authorization: Bearer KEY' ") if with_key else text

    places = [{**place, "msg": filled(place["msg"])} for place in document.get("errors", ())]
    return document | {"detail": filled(document["detail"])} | ({"errors": places} if places else {})
