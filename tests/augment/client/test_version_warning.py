"""The client warns once if the service provides another client, with both versions and the install command."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from augment.client import Client, RefusedError, VersionWarning
from augment.version import client_digest, version

OTHER = "9.9.9+s0000000.c0000000"


@contextmanager
def service_of(told: str | None, status: int = 200) -> Iterator[str]:
    """Run a service that answers everything with ``{}`` and a version, and yield its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            if told is not None:
                self.send_header("Augment-Version", told)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_service_with_another_client_is_told_once_for_each_client() -> None:
    with service_of(OTHER) as url:
        for client in (Client(url, key="secret"), Client(url)):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                assert [client.version for _ in range(3)] == [{}] * 3
            line = f"pip install {url}/client/augment_service-{OTHER}-py3-none-any.whl"
            expected = f"this client is {version()}, but the service at {url} is {OTHER} and has another client; "
            assert [(each.category, str(each.message)) for each in caught] == [
                (VersionWarning, f"{expected}install it: {line}")
            ]


def test_a_refusal_tells_it_too() -> None:
    with service_of(OTHER, status=422) as url, pytest.warns(VersionWarning), pytest.raises(RefusedError):
        _ = Client(url).version


@pytest.mark.parametrize(
    "told",
    [None, "", "0.1.0", "0+s0000000.c0000000;rm", f"9.9.9+s0000000.c{client_digest(version())}"],
    ids=["none", "empty", "no digest", "not a version", "same client"],
)
def test_nothing_is_said_of_the_same_client_nor_of_what_is_no_version(told: str | None) -> None:
    with service_of(told) as url:
        assert Client(url).version == {}


def test_warnings_that_are_errors_are_raised_once() -> None:
    with service_of(OTHER) as url, warnings.catch_warnings():
        warnings.simplefilter("error")
        client = Client(url)
        with pytest.raises(VersionWarning):
            _ = client.version
        assert client.version == {}
