"""Datasets after a kill of a real service: acknowledged ones are kept, unfinished ones are finished or removed."""

import io
import json
import os
import socket
import subprocess
import urllib.request
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from augment.scanning.scan import scan
from tests.acceptance.servers_for_tests import Server, wait_until
from tests.service.archives_for_tests import IMAGES, zipped
from tests.service.folders_for_tests import write_folder


def _upload(server: Server, name: str, data: bytes) -> tuple[int, Any]:
    request = urllib.request.Request(  # noqa: S310 - http on loopback
        f"{server.url}/v1/datasets?name={name}", data, {"Content-Type": "application/zip"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - http on loopback
        return answer.status, json.load(answer)


def _describe(server: Server, name: str) -> dict[str, Any]:
    described: dict[str, Any] = json.loads(server.get(f"/v1/datasets/{name}"))
    return described


def _begin_upload(server: Server, waiting: Path) -> socket.socket:
    """An upload of which some bytes have come and most have not."""
    host, port = urlsplit(server.url).netloc.split(":")
    connection = socket.create_connection((host, int(port)))
    head = "POST /v1/datasets?name=cut HTTP/1.1\r\nHost: x\r\nContent-Type: application/zip\r\n"
    connection.sendall(f"{head}Content-Length: 99999999\r\n\r\n".encode() + b"PK\3\4" + bytes(2**21))
    wait_until(lambda: _is_waiting(waiting))
    return connection


def _is_waiting(waiting: Path) -> bool:
    return any(path.is_file() for path in waiting.iterdir())


@pytest.mark.harden
def test_what_was_acknowledged_is_there_after_a_kill_and_what_was_cut_is_not(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data" / "photos", *IMAGES)
    with Server(tmp_path / "home", data_roots=tmp_path / "data") as server:
        status, by_path = server.post("/v1/datasets", {"name": "by-path", "path": str(folder)})
        assert status == 201
        status, uploaded = _upload(server, "uploaded", zipped())
        assert status == 201
        text = b"transforms: [{HorizontalFlip: {}}]"
        put = urllib.request.Request(f"{server.url}/v1/pipelines/mine", text, method="PUT")  # noqa: S310 - loopback
        put.add_header("Content-Type", "application/yaml")
        with urllib.request.urlopen(put, timeout=60) as answer:  # noqa: S310 - http on loopback
            pipeline = json.load(answer)
        waiting = tmp_path / "home" / "tmp"
        _begin_upload(server, waiting).close()
        wait_until(lambda: not _is_waiting(waiting))
        with _begin_upload(server, waiting):
            server.kill()
        assert _is_waiting(waiting)
        server.restart()
        assert not _is_waiting(waiting)
        names = [one["name"] for one in json.loads(server.get("/v1/datasets"))["datasets"]]
        assert names == ["by-path", "uploaded"], "nothing of what was cut"
        assert _describe(server, "by-path") == by_path
        assert _describe(server, "uploaded") == uploaded
        assert json.loads(server.get("/v1/datasets/uploaded/records"))["records"][0]["key"] == "cat/1"
        assert json.loads(server.get("/v1/pipelines/mine"))["digest"] == pipeline["digest"]


@pytest.mark.long
def test_what_was_promised_is_finished_after_a_kill(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data" / "photos", *(f"cat/{i:04}.png" for i in range(1500)))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*.png")):
            file.write(path, path.relative_to(folder))
    digest = scan(folder).digest
    with Server(tmp_path / "home", data_roots=tmp_path / "data", scan_wait_s=0) as server:
        assert server.post("/v1/datasets", {"name": "by-path", "path": str(folder)})[0] == 202
        assert _upload(server, "uploaded", archive.getvalue())[0] == 202
        server.kill()
        inside = tmp_path / "home" / "datasets"
        assert (inside / "uploaded" / "pending.json").exists(), "killed in the middle of it"
        server.restart()
        for name in ("by-path", "uploaded"):
            wait_until(lambda name=name: _describe(server, name)["state"] != "scanning")  # type: ignore[misc]
            assert _describe(server, name)["digest"] == digest
        assert not list(inside.glob("*/pending.json"))
        assert not list(inside.glob("*/*/upload"))


def test_curl_uploads_as_the_documentation_says(tmp_path: Path) -> None:
    (tmp_path / "photos.zip").write_bytes(zipped())
    with Server(tmp_path / "home", api_keys="secret", scan_wait_s=120) as server:
        url = server.url.replace("http://", "http://:secret@") + "/v1/datasets"
        common = ["curl", "--silent", "--show-error", "--fail-with-body"]
        environment = {**os.environ, "NO_PROXY": "*"}

        def curl(*arguments: str) -> dict[str, Any]:
            done = subprocess.run(
                [*common, *arguments], cwd=tmp_path, env=environment, capture_output=True, check=True, timeout=60
            )
            answered: dict[str, Any] = json.loads(done.stdout)
            return answered

        form = curl("-F", "name=photos", "-F", "file=@photos.zip", url)
        raw = curl("-H", "Content-Type: application/zip", "--data-binary", "@photos.zip", f"{url}?name=photos")
        assert form == raw
        assert form["num_records"] == 3
