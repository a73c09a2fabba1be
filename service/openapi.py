"""The OpenAPI document, with keys and problem documents, and the page ``/docs`` to read and try it.

FastAPI's own page loads Swagger UI from a content delivery network. Here its scripts come from the package
fastapi-offline, so that the page works offline and contacts no other host.
"""

from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any

from fastapi import FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html

from service import middleware, problems, schemas

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`."},
    "basic": {"type": "http", "scheme": "basic", "description": "The key is the password; the user name is ignored."},
}
_PROBLEM = f"#/components/schemas/{schemas.ProblemDocument.__name__}"


class Application(FastAPI):
    """FastAPI application whose /openapi.json describes error responses and keys."""

    def openapi(self) -> dict[str, Any]:
        """Return the document, which is generated at the first call."""
        if self.openapi_schema is None:
            document = super().openapi()
            document.setdefault("components", {})["securitySchemes"] = _SCHEMES
            document["security"] = [{name: []} for name in _SCHEMES]
            for path, methods in document["paths"].items():
                for operation in methods.values():
                    _correct(path, operation)
        return self.openapi_schema or {}


_RETRY_AFTER = {"description": "Seconds after which to retry.", "schema": {"type": "integer"}}
_HERE = "http://127.0.0.1:8000/"


def _correct(path: str, operation: dict[str, Any]) -> None:
    description = operation.get("description", "").replace("URL/", _HERE)
    if description:
        operation["description"] = description
    if middleware.is_open(path):
        operation["security"] = []
    else:
        content = {problems.MEDIA_TYPE: {"schema": {"$ref": _PROBLEM}}}
        operation["responses"]["401"] = {"description": "The key is missing or unknown.", "content": content}
    for status, response in operation["responses"].items():
        if response["description"] == "Successful Response":
            response["description"] = description.partition(". ")[0].partition("\n\n")[0].removesuffix(".") + "."
        if status in {"429", "503"}:
            response.setdefault("headers", {})["Retry-After"] = _RETRY_AFTER
    for response in operation["responses"].values():
        content = response.get("content", {})
        if content.get("application/json", {}).get("schema", {}).get("$ref") == _PROBLEM:
            response["content"] = {problems.MEDIA_TYPE: content["application/json"]}


_PACKAGE = "fastapi_offline"
_MEDIA_TYPES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
_A_DAY = "private, max-age=86400"


def install(app: FastAPI) -> None:
    """Add the page ``/docs`` and its files, which are not in the OpenAPI document."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json",  # relative, so that it works behind a proxy that adds a prefix
        title=f"{app.title} {app.version}",
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon.png",
        swagger_ui_parameters={"tryItOutEnabled": True, "persistAuthorization": False, "validatorUrl": None},
    )

    async def show() -> Response:
        return page

    app.add_api_route("/docs", show, include_in_schema=False)
    for name, media_type in _MEDIA_TYPES.items():
        content = resources.files(_PACKAGE).joinpath("static", name).read_bytes()
        app.add_api_route(f"/docs/{name}", _file(content, media_type), include_in_schema=False)


def _file(content: bytes, media_type: str) -> Callable[[], Awaitable[Response]]:
    async def read() -> Response:
        return Response(content, media_type=media_type, headers={"Cache-Control": _A_DAY})

    return read
