"""A real ``augment serve`` in a separate process, and its client in this one."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augment.client.client import Client
from augment.client.transport import ClientError
from bench.work import Work

DATASET = "photographs"


@dataclass(frozen=True, slots=True)
class Service:
    """A running service and a client of it."""

    process: "subprocess.Popen[bytes]"
    url: str
    client: Client


@contextmanager
def started(work: Work, **settings: Any) -> Iterator[Service]:
    """Start the service of this checkout with its default settings, changed by ``settings`` (names in lower case)."""
    port = _free_port()
    more = {f"AUGMENT_{name.upper()}": str(value) for name, value in settings.items()}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AUGMENT_")} | more
    command = [sys.executable, "-m", "augment", "serve", "--port", str(port), "--home", work.home]
    command += ["--workers", str(work.num_workers), "--data-root", work.folder]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            with Client(url, deadline_s=60) as client:
                _await(client, server)
                yield Service(server, url, client)
        finally:
            server.terminate()


@contextmanager
def service(work: Work, **settings: Any) -> Iterator[Client]:
    """Start a service and yield only its client."""
    with started(work, **settings) as running:
        yield running.client


def register(client: Client, folder: str) -> None:
    """Register a folder, unless the home already holds it."""
    if DATASET not in {each["name"] for each in client.datasets}:
        client.register(DATASET, folder, format="folder")


def _await(client: Client, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        try:
            client._transport.open(client._transport.current, "GET", "/health/ready").abort()  # noqa: SLF001 - one attempt
        except (OSError, ClientError):
            if server.poll() is not None:
                break
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"`augment serve` did not start (exit status {server.poll()})")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_registered(home: str) -> bool:
    """Return True if a home holds the dataset, so that no scan is measured."""
    return (Path(home) / "datasets" / DATASET / "dataset.json").exists()
