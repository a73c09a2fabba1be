import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import middleware
from service.errors import UnauthorizedError
from service.settings import Settings, refusal_to_start
from tests.service.folders_for_tests import Run

_KEYS = ("first-key", "second-key")


def _basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "header",
    ["Bearer first-key", "bearer second-key", _basic("anybody:first-key"), _basic(":second-key")],
)
def test_a_key_opens_as_bearer_or_as_a_password(header: str) -> None:
    middleware.check(header, _KEYS)


@pytest.mark.parametrize(
    "header",
    [
        None, "", "Bearer", "Bearer ", "Bearer first-ke", "Bearer first-keyy", "first-key", "Digest first-key",
        _basic("first-key:"), _basic("first-key"), "Basic %%%", "Basic /w==", "Bearer first-key,second-key",
    ],
)  # fmt: skip
def test_nothing_else_opens(header: str | None) -> None:
    with pytest.raises(UnauthorizedError):
        middleware.check(header, _KEYS)


@given(st.text(string.printable))
def test_no_text_without_a_key_opens(text: str) -> None:
    if text.strip() not in {f"{scheme} {key}" for scheme in ("bearer", "Bearer") for key in _KEYS}:
        try:
            middleware.check(text, _KEYS)
        except UnauthorizedError:
            return
        assert text.partition(" ")[2].strip() in _KEYS


def test_without_keys_everybody_may() -> None:
    middleware.check(None, ())


def test_an_empty_key_is_no_key() -> None:
    assert Settings(api_keys=" , ,").api_keys == ()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_loopback_needs_no_key(host: str) -> None:
    assert refusal_to_start(Settings(host=host)) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.test"])  # noqa: S104 - refused, not bound
def test_another_address_without_a_key_is_refused_to_start(host: str) -> None:
    refusal = refusal_to_start(Settings(host=host))
    assert refusal is not None
    assert "AUGMENT_API_KEYS" in refusal
    assert refusal_to_start(Settings(host=host, api_keys="secret")) is None
    assert refusal_to_start(Settings(host=host, allow_anonymous=True)) is None


def test_probes_and_the_client_are_open_and_everything_else_is_closed(run: Run) -> None:
    client = run(api_keys="secret")
    paths = list(client.get("/openapi.json", headers={"Authorization": "Bearer secret"}).json()["paths"])
    assert set(middleware.OPEN_PATHS) - {path for path in middleware.OPEN_PATHS if path.startswith("/v2")} <= set(paths)
    for path in [*paths, "/v2/health/live", "/v2/health/ready", "/openapi.json", "/docs", "/nowhere"]:
        answer = client.get(path.replace("{", "").replace("}", ""))
        if middleware.is_open(path):
            assert answer.status_code in {200, 404, 503}, path  # no such wheel and not ready yet are no refusals
        else:
            assert answer.status_code == 401, path
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert answer.headers["Content-Type"] == "application/problem+json"
    assert client.get("/v1/pipelines", auth=("anybody", "secret")).status_code == 200
