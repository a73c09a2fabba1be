"""Names in any script, through every route that reads or returns them, at a real server."""

import io
import json
import subprocess
import tarfile
import unicodedata
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pyarrow as pa
import pytest

from augment.datasets import keys
from augment.expansion.expand import expand_dataset
from augment.scanning.scan import scan
from service import one_shot
from service.asgi.receive import part_names
from tests.acceptance.servers_for_tests import Server
from tests.service.archives_for_tests import png, tarred, zipped
from tests.service.jobs.test_jobs import _ended

pytestmark = pytest.mark.harden

NAMES = [
    "22.05.png", "with space.png", " .png", "a#b.png", "100%.png", "50%25.png", "%2F.png", "what?.png", "a&b=c+d;e.png",
    "quote's.png", 'double".png', "star*:<|>.png", "-rf.png", "~.png", "$HOME`x`.png", "[0-9]{2}.png", "a,b.png",
    "猫.png", "犬.png", "кот.png", "قط.png", "é.png", unicodedata.normalize("NFD", "ü.png"), "🐈‍⬛.png", "Straße.png",
    "x__0.png", "CON.png", "nul.a.png", "Cat.png", "cat.png",
]  # fmt: skip
LONG = ["x" * 251 + ".png", "猫" * 83 + "ab.png"]
assert all(len(name.encode()) == 255 for name in LONG)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with Server(tmp_path_factory.mktemp("served") / "home") as server:
        server.wait_ready()
        with httpx.Client(base_url=server.url, timeout=120) as client:
            yield client


def _images(names: list[str]) -> dict[str, bytes]:
    return {name: png(i) for i, name in enumerate(names)}


def _keys(names: list[str]) -> set[str]:
    return {keys.without_extension(name) for name in names}


def _written(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def _members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {one.name: archive.extractfile(one).read() for one in archive if one.isreg()}  # type: ignore[union-attr]


def _register(service: httpx.Client, name: str, images: Mapping[str, bytes]) -> str:
    answers = {
        "zip": service.post(
            f"/v1/datasets?name={name}-zip", content=zipped(images), headers={"Content-Type": "application/zip"}
        ),
        "tar": service.post(
            f"/v1/datasets?name={name}-tar", content=tarred(images), headers={"Content-Type": "application/x-tar"}
        ),
        "form": service.post("/v1/datasets", data={"name": name}, files={"file": ("猫.zip", zipped(images))}),
    }
    for kind, answer in answers.items():
        assert answer.status_code == 201, (kind, answer.text)
        assert answer.json()["num_records"] == len(images)
    assert len({answer.json()["digest"] for answer in answers.values()}) == 1
    return name


def _records(service: httpx.Client, name: str) -> list[str]:
    found: list[str] = []
    after: dict[str, Any] = {}
    while True:
        page = service.get(f"/v1/datasets/{name}/records", params={"limit": 3, **after}).json()
        found += [one["key"] for one in page["records"]]
        if page["next"] is None:
            return found
        after = {"after": page["next"]}


def test_names_go_through_every_route(service: httpx.Client) -> None:
    names = [*NAMES, *LONG]
    wanted = _keys(names)
    dataset = _register(service, "names", _images(names))
    assert set(_records(service, dataset)) == wanted

    spec = {"dataset": dataset, "pipeline": '[{"Resize": {"height": 8, "width": 8}}]', "batch_size": len(names)}
    stream = f"/v1/streams/{service.post('/v1/streams', json=spec).json()['id']}"
    table = pa.ipc.open_stream(service.get(f"{stream}/batches").content).read_all()
    assert set(table["key"].to_pylist()) == wanted
    rows = [json.loads(data) for name, data in _members(service.get(f"{stream}/batches?format=tar").content).items()
            if name.endswith(".json")]  # fmt: skip
    assert {row["key"] for row in rows} == wanted
    with np.load(io.BytesIO(service.get(f"{stream}/batches/0/0?format=npz").content)) as batch:
        assert set(batch["key"].tolist()) == wanted
    for key in wanted:
        sample = service.get(f"{stream}/samples/0/{quote(key, safe='')}")
        assert sample.status_code == 200, (key, sample.text)
        stated = part_names(sample.headers["Content-Disposition"].encode())[1]
        assert stated == f"{one_shot.safe_stem(key)}__0.png"
        told = service.get(f"{stream}/samples/0/{quote(key, safe='')}?format=json").json()
        assert told["key"] == key


def test_names_go_through_a_job_and_back(service: httpx.Client, tmp_path: Path) -> None:
    dataset = _register(service, "short-names", _images(NAMES))
    asked = {"dataset": dataset, "pipeline": "light", "copies": 1, "output": {"name": "names-x1"}}
    job = service.post("/v1/jobs", json={**asked, "include_originals": False}).json()
    done = _ended(service, job["id"])
    assert done["state"] == "succeeded", done
    output = service.get(f"/v1/jobs/{job['id']}/output")
    assert output.headers["Content-Disposition"] == 'attachment; filename="names-x1.tar"'
    members = {name: data for name, data in _members(output.content).items() if name.endswith(".png")}
    assert set(members) == {f"{key}__0.png" for key in _keys(NAMES)}
    again = scan(_written(tmp_path / "out", members))
    assert {again.record(i).key for i in range(again.num_records)} == {f"{key}__0" for key in _keys(NAMES)}
    assert set(_records(service, _register(service, "back", members))) == {f"{key}__0" for key in _keys(NAMES)}


@pytest.mark.parametrize("output_format", ["folder", "csv", "imagefolder", "webdataset", "parquet", "coco", "yolo"])
def test_names_go_through_an_expansion_on_disk_and_back(tmp_path: Path, output_format: str) -> None:
    (tmp_path / "in").mkdir()
    _written(tmp_path / "in" / "猫 #1%", _images([*NAMES, *LONG]))
    _written(tmp_path / "in" / "b.c", _images(["a.png"]))
    dropped = ("label",) if output_format in {"coco", "yolo"} else ()
    summary = expand_dataset(
        tmp_path / "in", tmp_path / "out", "light", copies=1, output_format=output_format, drop_targets=dropped
    )
    is_packed = output_format in {"webdataset", "parquet"}
    refused = set() if is_packed else {f"猫 #1%/{key}" for key in _keys(LONG)}
    assert {one.key for one in summary.refusals} == refused
    assert all("255 that file systems allow; shorten it" in one.detail for one in summary.refusals)
    again = scan(tmp_path / "out")
    assert {again.record(i).key for i in range(again.num_records)} == {
        "b.c/a__0", *(f"猫 #1%/{key}__0" for key in _keys([*NAMES, *(LONG if is_packed else ())]))
    }  # fmt: skip
    assert again.classes == ("b.c", "猫 #1%")


@pytest.mark.parametrize("kind", ["zip", "tar", "arrow"])
def test_names_go_through_one_shot_and_back(service: httpx.Client, kind: str) -> None:
    names = [*NAMES, *LONG]
    files = [("images", (name, data)) for name, data in _images(names).items()]
    answer = service.post("/v1/augment", files=files, data={"pipeline": "light", "seed": "1", "format": kind})
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Disposition"] == f'attachment; filename="augmented.{kind}"'
    if kind == "arrow":
        found = pa.ipc.open_stream(answer.content).read_all()["name"].to_pylist()
    elif kind == "tar":
        found = list(_members(answer.content))[:-1]
    else:
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            found = archive.namelist()[:-1]
            assert all(one.flag_bits & 0x800 for one in archive.infolist() if not one.filename.isascii())
            results = json.loads(archive.read("annotations.json"))["results"]
            assert [one["name"] for one in results] == found
            assert [one["image"] for one in results] == [unicodedata.normalize("NFC", name) for name in names]
    assert len({unicodedata.normalize("NFKC", name).casefold() for name in found}) == len(names)
    assert max(len(name.encode()) for name in found) <= 255
    by_name = dict(zip(names, found, strict=True))
    for name in ("22.05.png", "猫.png", "犬.png", "🐈‍⬛.png", "a#b.png", "100%.png", "with space.png", "Straße.png"):
        assert by_name[name] == name.replace(".png", "__0.jpg")
    assert by_name["what?.png"] == "what___0.jpg"
    assert by_name["nul.a.png"] == "_nul.a__0.jpg"
    assert by_name[unicodedata.normalize("NFD", "ü.png")] == "ü__0.jpg"


def test_the_only_result_is_named_after_its_image(service: httpx.Client) -> None:
    for name in ("猫.png", "50%25.png", "cat.png"):
        answer = service.post("/v1/augment", files={"images": (name, png())}, data={"pipeline": "light"})
        stated = answer.headers["Content-Disposition"]
        assert stated.isascii()
        assert part_names(stated.encode())[1] == name.replace(".png", "__0.jpg")
    raw = service.post("/v1/augment?pipeline=light", content=png())
    assert raw.headers["Content-Disposition"] == 'inline; filename="image__0.jpg"'


def test_curl_and_httpx_send_the_same_names(service: httpx.Client, tmp_path: Path) -> None:
    names = [*NAMES, *LONG]
    folder = _written(tmp_path / "in", _images(names))
    url = f"{service.base_url}/v1/augment"
    quoted = [str(folder / name).replace("\\", "\\\\").replace('"', '\\"') for name in names]
    form = [part for path in quoted for part in ("-F", f'images=@"{path}"')]
    command = ["curl", "-sSf", *form, "-F", "pipeline=light", "-F", "seed=1", url]
    sent_by_curl = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    files = [("images", (name, (folder / name).read_bytes())) for name in names]
    data = {"pipeline": "light", "seed": "1"}
    assert service.post(url, files=files, data=data).content == sent_by_curl
