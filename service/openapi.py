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


_RETRY_AFTER = {"description": "Seconds after which to ask again.", "schema": {"type": "integer"}}
_HERE = "http://127.0.0.1:8000/"


def _correct(path: str, operation: dict[str, Any]) -> None:
    said = operation.get("description", "").replace("URL/", _HERE)
    if said:
        operation["description"] = said
    if path in auth.OPEN_PATHS:
        operation["security"] = []
    else:
        content = {problems.MEDIA_TYPE: {"schema": {"$ref": _PROBLEM}}}
        operation["responses"]["401"] = {"description": "No key, or one that is not known.", "content": content}
    for status, response in operation["responses"].items():
        if response["description"] == "Successful Response":
            response["description"] = said.partition(". ")[0].partition("\n\n")[0].removesuffix(".") + "."
        if status in {"429", "503"}:
            response.setdefault("headers", {})["Retry-After"] = _RETRY_AFTER
    for response in operation["responses"].values():
        content = response.get("content", {})
        if content.get("application/json", {}).get("schema", {}).get("$ref") == _PROBLEM:
            response["content"] = {problems.MEDIA_TYPE: content["application/json"]}
