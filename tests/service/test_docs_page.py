"""The page /docs loads nothing from other hosts."""

import json
import re
from urllib.parse import urljoin, urlsplit

from starlette.testclient import TestClient

BASE = "http://testserver/docs"


def _loaded(page: str) -> set[str]:
    """Return every address on the page, from attributes and strings of its script."""
    return set(re.findall(r"""(?:src|href)=["']([^"']+)""", page)) | set(re.findall(r"""\burl: ['"]([^'"]+)""", page))


def test_the_page_loads_nothing_from_another_host(service: TestClient) -> None:
    answer = service.get("/docs")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    loaded = _loaded(answer.text)
    assert len(loaded) == 4, "script, style, icon, description"
    for address in loaded:
        url = urljoin(BASE, address)
        assert urlsplit(url).netloc == "testserver", address
        assert service.get(url).status_code == 200, address
    assert "//" not in re.sub(r"^\s*//.*$", "", answer.text, flags=re.MULTILINE), "not even in passing"


def test_its_files_are_what_they_say(service: TestClient) -> None:
    script = service.get("/docs/swagger-ui-bundle.js")
    assert script.headers["Content-Type"].startswith("text/javascript")
    assert "SwaggerUIBundle" in script.text
    style = service.get("/docs/swagger-ui.css")
    assert style.headers["Content-Type"].startswith("text/css")
    assert not re.search(r"url\((?!['\"]?data:)", style.text), "images are in the style itself"
    assert service.get("/docs/favicon.png").content.startswith(b"\x89PNG")


def test_the_page_is_no_part_of_what_it_describes(service: TestClient) -> None:
    assert "/docs" not in json.dumps(list(service.get("/openapi.json").json()["paths"]))
    for path in ("/redoc", "/docs/oauth2-redirect", "/docs/../service/app.py", "/docs/redoc.standalone.js"):
        assert service.get(path).status_code == 404
