"""Services in separate processes on loopback, which can be stopped and killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

ROOT = Path(__file__).parents[2]
_PATIENCE_S = 120.0
"""Limit of each wait, so that a hang is a failure. It is far above what a busy machine needs."""


class Server:
    """``augment serve`` with a separate home, batch folder and settings. It runs inside the ``with`` block."""

    def __init__(self, home: Path, **settings: object) -> None:
        self.home = home
        self.memory = home.with_name(f"{home.name}-memory")
        self.memory.mkdir(exist_ok=True)
        given = {"home": home, "port": 0, "batch_folder": self.memory, "workers": 1, **settings}
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("AUGMENT_")}
        self._environment |= {f"AUGMENT_{name.upper()}": str(value) for name, value in given.items()}
        self._environment |= {"PYTHONPATH": str(ROOT), "NO_ALBUMENTATIONS_UPDATE": "1"}
        self.url = ""
        self.log: list[str] = []
        self.process = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.kill()
        self._close()

    def restart(self) -> None:
        """Start again after a stop or a kill, on another port."""
        self._close()
        self.process = self._start()

    def kill(self) -> None:
        """Kill the service with SIGKILL."""
        self.process.kill()
        self.process.wait(_PATIENCE_S)

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_PATIENCE_S)

    def wait_ready(self) -> None:
        """Wait until its workers are ready."""

        def is_ready() -> bool:
            try:
                return bool(self.get("/health/ready"))
            except urllib.error.HTTPError as error:
                error.close()
                return False

        wait_until(is_ready)

    def open(self, path: str, document: Any = None) -> Any:
        """Return the open answer to GET, or to POST of a JSON document. Raises HTTPError."""
        data = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})  # noqa: S310 - our own URL
        return urllib.request.urlopen(request, timeout=_PATIENCE_S)  # noqa: S310 - http on loopback

    def get(self, path: str) -> bytes:
        """Return the whole body."""
        with self.open(path) as answer:
            data: bytes = answer.read()
        return data

    def post(self, path: str, document: Any) -> tuple[int, Any]:
        """Return the status and the document, also of a problem."""
        try:
            with self.open(path, document) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def register(self, folder: Path, name: str = "photos") -> None:
        """Register a folder and wait until it is scanned."""
        status, document = self.post("/v1/datasets", {"name": name, "path": str(folder)})
        assert status in {200, 201, 202}, document
        wait_until(lambda: json.loads(self.get(f"/v1/datasets/{name}")).get("state") == "ready")

    def declare(self, pipeline: Any, dataset: str = "photos", **fields: Any) -> str:
        """Declare a stream and return its id."""
        status, document = self.post("/v1/streams", {"dataset": dataset, "pipeline": pipeline, **fields})
        assert status in {200, 201}, document
        return str(document["id"])

    def metric(self, name: str) -> float:
        """Return a metric by its name with labels; 0 if it is missing."""
        lines = dict(line.rsplit(" ", 1) for line in self.get("/metrics").decode().splitlines() if line[0] != "#")
        return float(lines.get(name, 0))

    def workers_cpu_s(self) -> float:
        """Return the CPU seconds of the service's living child processes: its workers and their parent."""
        return sum(sum(child.cpu_times()[:2]) for child in psutil.Process(self.process.pid).children(recursive=True))

    def num_files(self) -> int:
        """Return rendered batches and their folders in memory."""
        return sum(1 for _ in self.memory.rglob("*"))

    def _start(self) -> subprocess.Popen[str]:
        command = "from service.server import serve; from service.settings import Settings; serve(Settings())"
        process = subprocess.Popen(
            [sys.executable, "-c", command],
            cwd=self.home.parent,
            env=self._environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.url = ""
        self._reading = threading.Thread(target=self._read_log, args=(process,), daemon=True)
        self._reading.start()
        wait_until(lambda: bool(self.url) or process.poll() is not None)
        assert self.url, "".join(self.log[-20:])
        return process

    def _read_log(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self.log.append(line)
            if '"url": ' in line:
                self.url = json.loads(line)["url"]

    def _close(self) -> None:
        self._reading.join(_PATIENCE_S)
        if self.process.stderr is not None:
            self.process.stderr.close()


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait until the condition holds; AssertionError if it never does."""
    started = time.monotonic()
    while not is_so():
        assert time.monotonic() - started < _PATIENCE_S, f"not so within {_PATIENCE_S} s"
        time.sleep(0.02)
