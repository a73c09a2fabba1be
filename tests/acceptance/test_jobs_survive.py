"""Jobs of a service that is killed or stopped: a restart finishes them, with the files of the command line."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.servers_for_tests import ROOT, Server, wait_until
from tests.service.folders_for_tests import write_folder

_PIPELINE = {"transforms": [{"Resize": {"height": 256, "width": 256}}, {"MedianBlur": {"blur_limit": [7, 7], "p": 1}}]}
_NAMES = [f"{kind}/{i:02d}.png" for kind in ("cat", "dog") for i in range(10)]
_COPIES = 4


def _files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def _expanded(data: Path, scratch: Path, out: Path | None = None) -> dict[str, bytes]:
    """Return the files that the command line writes."""
    out = out or scratch / "out"
    (scratch / "pipeline.json").write_text(json.dumps(_PIPELINE))
    command: list[str | Path] = [
        sys.executable, "-m", "augment", "expand", data, out, "--pipeline", scratch / "pipeline.json",
        "--copies", str(_COPIES), "--seed", "7", "--workers", "1", "--image-format", "jpeg",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "AUGMENT_HOME": str(scratch / "notes")}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return _files(out)


def _start(server: Server, name: str) -> Any:
    output = {"name": name, "format": "folder", "image_format": "jpeg", "quality": 90}
    wanted = {"dataset": "photos", "pipeline": _PIPELINE, "copies": _COPIES, "seed": 7, "output": output}
    status, job = server.post("/v1/jobs", wanted)
    assert status == 202, job
    return job


def _events(server: Server, job_id: str) -> list[Any]:
    """Return the events until the job has ended or the server is gone."""
    with server.open(f"/v1/jobs/{job_id}/events") as answer:
        return [json.loads(line[6:]) for line in answer if line.startswith(b"data: ")]


@pytest.mark.harden
def test_jobs_are_finished_whatever_ends_the_service(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data" / "photos", *_NAMES)
    with Server(tmp_path / "home", data_roots=tmp_path / "data") as server:
        server.register(data)
        job = _start(server, "first")
        second = _start(server, "second")

        def done() -> int:
            return int(json.loads(server.get(f"/v1/jobs/{job['id']}"))["progress"]["done"])

        wait_until(lambda: done() > 0)
        server.kill()
        server.restart()
        before = done()
        wait_until(lambda: done() > before or before == 80)
        assert server.stop() in {0, -15}, "SIGTERM stops a job at a point to go on from"
        assert server.num_files() == 0
        server.restart()
        assert json.loads(server.get(f"/v1/jobs/{job['id']}"))["state"] not in {"failed", "cancelled"}
        said = _events(server, job["id"])
        assert said[-1]["state"] == "succeeded", said[-1]
        assert said[-1]["progress"] == {"done": 80, "total": 80, "failed": 0}
        told = _events(server, second["id"])
        assert told[-1]["state"] == "succeeded"
        counts = [one["progress"]["done"] for one in told]
        assert counts == sorted(counts)
        assert len(said) + len(told) > 3
        expected = _expanded(data, tmp_path)
        assert _files(Path(job["output"])) == expected
        assert _files(Path(second["output"])) == expected
        (tmp_path / "fetched").mkdir()
        fetch = f"curl -sSf {server.url}/v1/jobs/{job['id']}/output | tar x -C {tmp_path / 'fetched'}"
        subprocess.run(fetch, shell=True, check=True)  # noqa: S602 - our own line, as the documentation has it
        assert _files(tmp_path / "fetched") == expected


def test_curl_augments_an_image(tmp_path: Path) -> None:
    write_folder(tmp_path, "cat.jpg", "dog.jpg")
    with Server(tmp_path / "home", workers=2) as server:
        address = f"{server.url}/v1/augment?pipeline=flip-rotate-crop&seed=7"

        def curl(*arguments: str | Path) -> bytes:
            return subprocess.run(["curl", "-sSf", *arguments, address], check=True, capture_output=True).stdout

        image = curl("--data-binary", f"@{tmp_path / 'cat.jpg'}", "-D", tmp_path / "headers")
        assert image.startswith(b"\xff\xd8\xff")
        assert "augment-provenance: {" in (tmp_path / "headers").read_text().lower()
        several = [part for name in ("cat", "dog") for part in ("-F", f"images=@{tmp_path / name}.jpg")]
        bundle = curl(*several, "-F", "copies=3")
        with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
            assert archive.read("cat__0.jpg") == image, "alone or among others, by whichever worker"
        assert curl(*several, "-F", "copies=3") == bundle
        server.stop()
        assert server.num_files() == 0


@pytest.mark.long
def test_command_line_finishes_what_a_cancelled_job_began(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data" / "photos", *_NAMES)
    with Server(tmp_path / "home", data_roots=tmp_path / "data") as server:
        server.register(data)
        job = _start(server, "cut")

        def progress() -> dict[str, int]:
            return dict(json.loads(server.get(f"/v1/jobs/{job['id']}"))["progress"])

        wait_until(lambda: progress()["done"] > 0)
        status, cancelled = server.post(f"/v1/jobs/{job['id']}/cancel", {})
        assert (status, cancelled["state"]) == (200, "cancelled")
        begun = _files(Path(job["output"]))
        assert 0 < progress()["done"] < 80
        finished = _expanded(data, tmp_path, Path(job["output"]))
        assert begun.items() <= finished.items(), "what the job had made is kept, and nothing of it is made again"
        assert finished == _expanded(data, tmp_path, tmp_path / "fresh")
        # The other way round: to the service the folder is a finished output, which a job finds nothing to do in.
        status, resumed = server.post(f"/v1/jobs/{job['id']}/resume", {})
        assert status == 202, resumed
        assert _events(server, job["id"])[-1]["state"] == "succeeded"
        assert _files(Path(job["output"])) == finished
