"""Jobs: accepted after all checks, followed, cancelled, resumed; their folders equal the command line's."""

import asyncio
import io
import json
import logging
import sqlite3
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Request
from PIL import Image
from starlette.testclient import TestClient

from augment.expansion.expand import expand_dataset
from augment.expansion.verify import verify_expansion
from service.jobs.table import Job, JobState, JobTable, JobWanted
from service.routes.jobs import read_output
from tests.service.folders_for_tests import Run, write_folder

_NAMES = [f"{kind}/{i:02d}.png" for kind in ("cat", "dog") for i in range(20)]
_SLOW = {"transforms": [{"Resize": {"height": 320, "width": 320}}, {"MedianBlur": {"blur_limit": [7, 7], "p": 1}}]}


@pytest.fixture(scope="module")
def photos(data_root: Path, service: TestClient) -> str:
    root = write_folder(data_root / "photos", *_NAMES)
    assert service.post("/v1/datasets", json={"name": "photos", "path": str(root)}).status_code == 201
    return "photos"


def _wanted(output: str, **other: Any) -> dict[str, Any]:
    wanted = {"dataset": "photos", "pipeline": "light", "copies": 2, "seed": 7, "output": {"name": output}} | other
    if wanted["pipeline"] == _SLOW:  # slow to render, not to encode: PNG would cost most of the time
        wanted["output"] = {"name": output, "image_format": "jpeg"}
    return wanted


def _ended(service: TestClient | httpx.Client, job_id: str, timeout_s: float = 120) -> dict[str, Any]:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        job: dict[str, Any] = service.get(f"/v1/jobs/{job_id}").json()
        if JobState(job["state"]).is_final:
            return job
        time.sleep(0.05)
    raise AssertionError(f"job {job_id} does not end")


def _begun(service: TestClient, job_id: str) -> None:
    deadline = time.monotonic() + 120
    while service.get(f"/v1/jobs/{job_id}").json()["progress"]["done"] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def _untarred(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {one.name: tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def done(service: TestClient, photos: str) -> dict[str, Any]:
    answer = service.post("/v1/jobs", json=_wanted("first", dataset=photos), headers={"Idempotency-Key": '"one"'})
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/v1/jobs/{answer.json()['id']}"
    assert answer.json()["state"] in {"queued", "running"}
    return _ended(service, answer.json()["id"])


def test_a_job_writes_what_the_command_line_writes(
    service: TestClient, done: dict[str, Any], data_root: Path, tmp_path: Path
) -> None:
    assert (done["state"], done["error"]) == ("succeeded", None)
    assert done["progress"] == {"done": 80, "total": 80, "failed": 0}
    expand_dataset(data_root / "photos", tmp_path / "out", "light", copies=2, seed=7)
    expected = _files(tmp_path / "out")
    assert _files(Path(done["output"])) == expected
    tarred = service.get(f"/v1/jobs/{done['id']}/output")
    assert _untarred(tarred.content) == expected
    assert service.get(f"/v1/jobs/{done['id']}/output").content == tarred.content


def _registered(service: TestClient, root: Path) -> str:
    answer = service.post("/v1/datasets", json={"name": root.name, "path": str(root), "replace": True})
    assert answer.is_success, answer.text
    deadline = time.monotonic() + 120
    while not service.get(f"/v1/datasets/{root.name}").json().get("digest"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return root.name


def test_a_job_takes_splits_formats_and_rules_as_the_command_line_does(service: TestClient, data_root: Path) -> None:
    root = write_folder(
        data_root / "divided", *(f"train/cat/{i}.png" for i in (1, 2)), "train/dog/3.png", "val/dog/4.png"
    )
    name = _registered(service, root)
    wanted = _wanted("divided-csv", dataset=name, copies="balance", include_originals=True)
    wanted["output"]["format"] = "csv"
    job = _done(service, wanted)
    assert (job["state"], job["progress"]) == ("succeeded", {"done": 4, "total": 4, "failed": 0}), job["error"]
    assert (job["format"], job["copies"], job["copy_splits"]) == ("csv", "balance", None)
    rows = (Path(job["output"]) / "labels.csv").read_text().splitlines()
    assert len(rows) == 1 + 4 + 1, "a heading, two images of each class, and the split that is copied"
    job = _done(service, {"dataset": name, "copies": 0, "include_originals": True, "output": {"name": "plain"}})
    assert (job["state"], job["pipeline"]) == ("succeeded", "")
    job = _done(service, _wanted("alone", dataset=name, split="val", copies={"dog": 3}))
    assert {path.name for path in Path(job["output"]).rglob("*__*.*")} == {"4__0.png", "4__1.png", "4__2.png"}
    assert job["image_format"] is None
    (root / "val/dog/leak.png").write_bytes((root / "train/dog/3.png").read_bytes())
    answer = service.post("/v1/jobs", json=_wanted("leaking", dataset=_registered(service, root)))
    assert answer.status_code == 422
    assert "allow_leaks" in answer.text


def test_a_job_tells_what_is_lost_and_what_was_dropped(service: TestClient, data_root: Path) -> None:
    root = write_folder(data_root / "lossy", "a.png", "b.png")
    Image.open(root / "b.png").convert("L").save(root / "b.png")
    name = _registered(service, root)
    pipeline = {"seed": 3, "transforms": [{"HorizontalFlip": {}}]}
    job = _done(service, _wanted("lossy", dataset=name, pipeline=pipeline))
    dropped, lost = job["notices"]
    assert dropped.startswith("`seed` is dropped")
    assert lost.startswith("1 of 2 images has one channel")
    assert lost.endswith("(the first is `b`)")
    assert [lost] == service.get(f"/v1/datasets/{name}").json()["notices"]
    assert service.get("/v1/jobs").json()["jobs"][-1]["notices"] == job["notices"]
    stream = service.post("/v1/streams", json={"dataset": name, "pipeline": "light", "batch_size": 1})
    assert lost in stream.json()["notices"]


def test_a_job_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    table = JobTable(tmp_path / "jobs.sqlite")
    wanted = JobWanted(dataset="d", pipeline=None, pipeline_name="", output_name="o")
    job = Job("id", 1, JobState.SUCCEEDED, wanted, "e", 2, 0.0, notices=("lost",))
    table.write(job)
    assert [each.notices for each in table.read()] == [["lost"]]
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as db:
        content = json.loads(db.execute("SELECT content FROM jobs").fetchone()[0])
        del content["notices"], content["wanted"]["pipeline_notices"]
        db.execute("UPDATE jobs SET content = ?", (json.dumps(content),))
        db.commit()
    assert [each.notices for each in table.read()] == [()]
    table.close()


def test_a_job_takes_images_of_a_dataset_which_stays_until_its_end(
    service: TestClient, photos: str, data_root: Path, tmp_path: Path
) -> None:
    styles = write_folder(data_root / "styles", "a.png", "b.png")
    fda = {"transforms": [{"FDA": {"references": _registered(service, styles), "p": 1}}]}
    wanted = _wanted("styled", dataset=photos, pipeline=fda)
    job = service.post("/v1/jobs", json=wanted).json()
    refused = service.delete("/v1/datasets/styles")
    assert (refused.status_code, job["id"] in refused.text) == (409, True)
    assert job["references"] == ["styles"]
    job = _ended(service, job["id"])
    assert job["state"] == "succeeded", job["error"]
    pipeline = tmp_path / "fda.json"
    pipeline.write_text(json.dumps(fda))
    expand_dataset(data_root / photos, tmp_path / "out", pipeline, copies=2, seed=7, references={"styles": styles})
    assert _files(Path(job["output"])) == _files(tmp_path / "out")
    assert service.delete("/v1/datasets/styles").status_code == 204
    problem = service.post("/v1/jobs", json=wanted | {"output": {"name": "other"}})
    assert problem.status_code == 422
    assert problem.json()["errors"][0]["loc"] == ["pipeline", "transforms", 0, "FDA", "references"]


def _done(service: TestClient, wanted: dict[str, Any]) -> dict[str, Any]:
    answer = service.post("/v1/jobs", json=wanted)
    assert answer.status_code == 202, answer.text
    return _ended(service, answer.json()["id"])


def test_the_same_key_is_the_same_job(service: TestClient, done: dict[str, Any]) -> None:
    again = service.post("/v1/jobs", json=_wanted("first"), headers={"Idempotency-Key": "one"})
    assert (again.status_code, again.json()["id"]) == (202, done["id"])
    other = service.post("/v1/jobs", json=_wanted("first", seed=8), headers={"Idempotency-Key": "one"})
    assert other.status_code == 422
    assert "Idempotency-Key" in other.json()["detail"]


@pytest.mark.usefixtures("done")
@pytest.mark.parametrize(
    ("wanted", "status", "told"),
    [
        (_wanted("x", dataset="fotos"), 404, "fotos"),
        (_wanted("x", pipeline="no-such"), 404, "no-such"),
        (_wanted("x", pipeline={"transforms": [{"Rotat": {}}]}), 422, "Rotate"),
        (_wanted("x", pipeline={"transforms": [{"RandomCrop": {"height": 99, "width": 99}}]}), 422, "99"),
        (_wanted("x", split="train"), 422, "train"),
        (_wanted("x", copies=0), 422, "copies"),
        (_wanted("x", max_failures=1.5), 422, "max_failures"),
        (_wanted("../x"), 422, "name"),
        (_wanted("x") | {"output": {"name": "x", "format": "coco"}}, 422, "--drop-targets label"),
        (_wanted("x") | {"output": {"name": "x", "format": "cocoa"}}, 422, "did you mean `coco`"),
        (_wanted("x", copies={"cat": 4}), 422, "add dog=N, or *=N"),
        (_wanted("x", copies="balanced"), 422, "copies is 'balanced'"),
        (_wanted("x", copy_splits=True), 422, "no splits"),
        (_wanted("first", seed=8), 409, "seed is 7"),
    ],
)
def test_what_can_be_checked_is_refused_at_once(
    service: TestClient, wanted: dict[str, Any], status: int, told: str
) -> None:
    answer = service.post("/v1/jobs", json=wanted)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert told in answer.text
    if "transforms" in str(wanted["pipeline"]):
        assert answer.json()["errors"][0]["loc"][0] == "pipeline"


@pytest.mark.usefixtures("photos")
def test_events_tell_the_way_to_the_end(service: TestClient) -> None:
    job_id = service.post("/v1/jobs", json=_wanted("followed", pipeline=_SLOW)).json()["id"]
    answer = service.get(f"/v1/jobs/{job_id}/events")
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    events = [dict(line.split(": ", 1) for line in block.splitlines()) for block in answer.text.strip().split("\n\n")]
    events = [event for event in events if "data" in event]
    said = [json.loads(event["data"]) for event in events]
    assert [event["event"] for event in events[-2:]] == ["progress", "succeeded"]
    counts = [one["progress"]["done"] for one in said]
    assert counts == sorted(counts)
    assert len(set(counts)) > 2
    assert said[-1] == service.get(f"/v1/jobs/{job_id}").json()
    after = {"Last-Event-ID": events[-1]["id"]}
    assert service.get(f"/v1/jobs/{job_id}/events", headers=after).status_code == 204
    before = {"Last-Event-ID": events[-2]["id"]}
    assert service.get(f"/v1/jobs/{job_id}/events", headers=before).text.count("event:") == 1


@pytest.mark.usefixtures("photos")
@pytest.mark.harden
def test_a_cancelled_job_goes_on_when_resumed(service: TestClient, data_root: Path, tmp_path: Path) -> None:
    wanted = _wanted("stopped", pipeline=_SLOW)
    job_id = service.post("/v1/jobs", json=wanted).json()["id"]
    waiting = service.post("/v1/jobs", json=_wanted("waits")).json()
    _begun(service, job_id)
    assert waiting["state"] == "queued"
    in_use = service.delete("/v1/datasets/photos")
    assert (in_use.status_code, job_id in in_use.text) == (409, True)
    assert service.get(f"/v1/jobs/{job_id}/output").status_code == 409
    assert service.delete(f"/v1/jobs/{job_id}").status_code == 409
    assert service.post("/v1/jobs", json=wanted).status_code == 409, "its output is being written"
    stopped = service.post(f"/v1/jobs/{job_id}/cancel").json()
    assert stopped["state"] == "cancelled"
    assert stopped["progress"]["done"] < stopped["progress"]["total"]
    assert service.post(f"/v1/jobs/{job_id}/cancel").json()["state"] == "cancelled"
    assert _ended(service, waiting["id"])["state"] == "succeeded"
    resumed = service.post(f"/v1/jobs/{job_id}/resume")
    assert resumed.status_code == 202
    job = _ended(service, job_id)
    assert job["state"] == "succeeded"
    assert service.post(f"/v1/jobs/{job_id}/resume").status_code == 409
    assert service.post(f"/v1/jobs/{job_id}/cancel").status_code == 409
    pipeline = tmp_path / "slow.json"
    pipeline.write_text(json.dumps(_SLOW))
    expand_dataset(data_root / "photos", tmp_path / "out", pipeline, copies=2, seed=7, image_format="jpeg")
    assert _files(Path(job["output"])) == _files(tmp_path / "out")


@pytest.mark.usefixtures("photos")
def test_a_queued_job_can_be_cancelled(service: TestClient) -> None:
    first = service.post("/v1/jobs", json=_wanted("ahead", pipeline=_SLOW)).json()["id"]
    second = service.post("/v1/jobs", json=_wanted("behind")).json()["id"]
    assert service.post(f"/v1/jobs/{second}/cancel").json()["state"] == "cancelled"
    assert service.post(f"/v1/jobs/{first}/cancel").json()["state"] == "cancelled"
    assert service.get(f"/v1/jobs/{second}").json()["started"] is None


@pytest.mark.usefixtures("photos")
@pytest.mark.harden
def test_a_job_is_resumed_or_deleted_never_both(service: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    seen = set()
    for i in range(6):
        job_id = service.post("/v1/jobs", json=_wanted(f"race-{i}", pipeline=_SLOW, copies=20)).json()["id"]
        _begun(service, job_id)
        assert service.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
        calls = [("POST", f"/v1/jobs/{job_id}/resume"), ("DELETE", f"/v1/jobs/{job_id}?output=true")]
        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(service.request, *call) for call in (calls if i % 2 else reversed(calls))]
            statuses = {answer.request.method: answer.status_code for answer in (one.result(60) for one in asked)}
        seen.add((statuses["POST"], statuses["DELETE"]))
        after = service.get(f"/v1/jobs/{job_id}")
        if statuses["DELETE"] == 204:
            assert (statuses["POST"], after.status_code) == (404, 404)
        else:
            assert (statuses["POST"], statuses["DELETE"], after.status_code) == (202, 409, 200)
            assert service.post(f"/v1/jobs/{job_id}/cancel").json()["state"] == "cancelled"
            assert service.delete(f"/v1/jobs/{job_id}?output=true").status_code == 204
        home: Path = service.app.state.augment.home.path  # type: ignore[attr-defined]
        assert not (home / "outputs" / f"race-{i}").exists()
    assert seen <= {(202, 409), (404, 204)}
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_who_fetches_an_output_holds_no_place(service: TestClient, done: dict[str, Any]) -> None:
    state = service.app.state.augment  # type: ignore[attr-defined]
    held = []

    async def receive() -> Any:
        await asyncio.sleep(60)

    async def send(_: Any) -> None:
        held.append((state.admission.num_admitted, state.admission.num_open))

    async def scenario() -> None:
        request = Request({"type": "http", "app": service.app}, receive)
        answer = await read_output(request, state, done["id"])
        await answer({"type": "http"}, receive, send)

    service.portal.call(scenario)  # type: ignore[union-attr]
    assert held[0] == (0, 1), "however slowly he reads"
    assert (state.admission.num_admitted, state.admission.num_open) == (0, 0)


@pytest.mark.usefixtures("photos")
def test_deleted_jobs_leave_their_files_unless_told(service: TestClient) -> None:
    ids = [service.post("/v1/jobs", json=_wanted("twice")).json()["id"]]
    out = Path(_ended(service, ids[0])["output"])
    ids.append(service.post("/v1/jobs", json=_wanted("twice")).json()["id"])
    assert _ended(service, ids[1])["state"] == "succeeded", "the same expansion finds nothing to do"
    assert service.delete(f"/v1/jobs/{ids[0]}?output=true").status_code == 409
    assert service.delete(f"/v1/jobs/{ids[0]}").status_code == 204
    assert out.is_dir()
    assert service.delete(f"/v1/jobs/{ids[1]}?output=true").status_code == 204
    assert not out.exists()
    assert service.get(f"/v1/jobs/{ids[1]}").status_code == 404


def test_jobs_are_listed_and_counted(service: TestClient, done: dict[str, Any]) -> None:
    jobs = service.get("/v1/jobs").json()["jobs"]
    assert done in jobs
    page = service.get("/v1/jobs?limit=1").json()
    assert page["jobs"] == jobs[:1]
    assert page["next"] in {jobs[0]["id"], None}  # None where no other test has begun a job
    following = service.get("/v1/jobs", params={"after": done["id"]}).json()
    assert done["id"] not in {job["id"] for job in following["jobs"]}
    assert 'augment_jobs{state="succeeded"}' in service.get("/metrics").text


@pytest.mark.harden
def test_an_ended_service_leaves_jobs_to_the_next(run: Run, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data" / "photos", *_NAMES)
    service = run(data_roots=(tmp_path / "data",))
    service.post("/v1/datasets", json={"name": "photos", "path": str(root)})
    wanted = [_wanted("a", pipeline=_SLOW), _wanted("b")]
    ids = [service.post("/v1/jobs", json=each).json()["id"] for each in wanted]
    _begun(service, ids[0])
    service.__exit__(None, None, None)
    again = run(data_roots=(tmp_path / "data",))
    for job_id in ids:
        job = _ended(again, job_id)
        assert job["state"] == "succeeded", job
        assert verify_expansion(job["output"], root).num_mismatches == 0


@pytest.mark.harden
def test_a_full_home_ends_a_job_and_says_so(run: Run, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data" / "photos", *_NAMES)
    service = run(data_roots=(tmp_path / "data",), max_home_bytes=2**20)
    service.post("/v1/datasets", json={"name": "photos", "path": str(root)})
    job = _ended(service, service.post("/v1/jobs", json=_wanted("a", pipeline=_SLOW)).json()["id"])
    assert (job["state"], job["error"]["status"]) == ("failed", 413)
    assert "AUGMENT_MAX_HOME_BYTES" in job["error"]["detail"]


def test_an_image_does_not_wait_for_a_jobs_shard(run: Run, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data" / "photos", "cat/1.png")
    service = run(data_roots=(tmp_path / "data",), workers=1)
    service.post("/v1/datasets", json={"name": "photos", "path": str(root)})
    job_id = service.post("/v1/jobs", json=_wanted("one-shard", pipeline=_SLOW, copies=2000)).json()["id"]
    state: Any = service.app.state.augment  # type: ignore[attr-defined]
    deadline = time.monotonic() + 120
    while not state.job_workers.num_busy:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for seed in range(3):
        image = (root / "cat" / "1.png").read_bytes()
        answer = service.post("/v1/augment", params={"pipeline": "light", "seed": seed}, content=image)
        assert answer.status_code == 200, answer.text
    assert service.get(f"/v1/jobs/{job_id}").json()["progress"]["done"] == 0, "its only shard is still rendered"
    assert "augment_job_workers_busy 1.0" in service.get("/metrics").text
    assert service.post(f"/v1/jobs/{job_id}/cancel").json()["state"] == "cancelled"
