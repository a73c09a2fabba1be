"""``/docs``: the description of every call, to be read and tried in a browser, offline too.

FastAPI's own page loads Swagger UI from a content delivery network. Here its scripts come from the package
fastapi-offline, which carries them, and nothing on the page leads to another host.
"""

from collections.abc import Awaitable, Callable
from importlib import resources

from fastapi import FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html

_PACKAGE = "fastapi_offline"
_MEDIA_TYPES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
_A_DAY = "private, max-age=86400"


def install(app: FastAPI) -> None:
    """Add the page and its files; none of them is in the description itself."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json",  # relative, so that it is found behind a proxy that adds a prefix
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
