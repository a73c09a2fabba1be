"""The application's description of itself: keys and problem documents said as they are."""

from typing import Any

from fastapi import FastAPI

from service import auth, problems

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`."},
    "basic": {"type": "http", "scheme": "basic", "description": "The key is the password; the user's name is nothing."},
}
_PROBLEM = "#/components/schemas/Problem"


class Application(FastAPI):
    """FastAPI, told apart only by what /openapi.json says of refusals and keys."""

    def openapi(self) -> dict[str, Any]:
        """The document, made at the first call."""
        if self.openapi_schema is None:
            document = super().openapi()
            document.setdefault("components", {})["securitySchemes"] = _SCHEMES
            document["security"] = [{name: []} for name in _SCHEMES]
            for path, methods in document["paths"].items():
                for operation in methods.values():
                    _correct(path, operation)
        return self.openapi_schema or {}


def _correct(path: str, operation: dict[str, Any]) -> None:
    if path in auth.OPEN_PATHS:
        operation["security"] = []
    for response in operation["responses"].values():
        content = response.get("content", {})
        if content.get("application/json", {}).get("schema", {}).get("$ref") == _PROBLEM:
            response["content"] = {problems.MEDIA_TYPE: content["application/json"]}
