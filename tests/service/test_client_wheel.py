"""``/client/``: the wheel of the running files, for pip."""

import base64
import csv
import hashlib
import io
import zipfile
from email.parser import Parser
from importlib.metadata import requires
from urllib.parse import unquote, urljoin

import pytest
from starlette.testclient import TestClient

import augment
from augment.version import read_files
from service.client_wheel import ClientWheel
from tests.service.folders_for_tests import Run


@pytest.fixture(scope="module")
def wheel() -> ClientWheel:
    return ClientWheel.write()


@pytest.fixture(scope="module")
def members(wheel: ClientWheel) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(wheel.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_wheel_is_reproducible(wheel: ClientWheel) -> None:
    assert ClientWheel.write() == wheel
    with zipfile.ZipFile(io.BytesIO(wheel.content)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


def test_a_wheel_holds_every_file_and_its_record(wheel: ClientWheel, members: dict[str, bytes]) -> None:
    assert read_files().items() <= members.items()
    information = f"augment_service-{wheel.version}.dist-info"
    assert {name for name in members if name.startswith(information)} == {
        f"{information}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    }
    rows = list(csv.reader(members[f"{information}/RECORD"].decode().splitlines()))
    assert [row[0] for row in rows] == list(members)
    for name, digest, size in rows[:-1]:
        found = hashlib.sha256(members[name]).digest()
        assert digest == "sha256=" + base64.urlsafe_b64encode(found).decode().rstrip("=")
        assert int(size) == len(members[name])
    assert rows[-1] == [f"{information}/RECORD", "", ""]


def test_a_wheel_tells_its_version_and_what_it_requires(wheel: ClientWheel, members: dict[str, bytes]) -> None:
    metadata = Parser().parsestr(members[f"augment_service-{wheel.version}.dist-info/METADATA"].decode())
    assert (metadata["Name"], metadata["Version"]) == ("augment-service", augment.__version__)
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata.get_all("Requires-Dist") == requires("augment-service")
    assert wheel.file_name == f"augment_service-{augment.__version__}-py3-none-any.whl"


@pytest.mark.parametrize("page", ["/client/", "/client/augment-service/"])
def test_the_pages_link_to_the_wheel_with_its_digest(service: TestClient, wheel: ClientWheel, page: str) -> None:
    answer = service.get(page)
    assert answer.headers["Content-Type"].startswith("text/html")
    link, _, digest = answer.text.partition('<a href="')[2].partition('"')[0].partition("#sha256=")
    assert digest == hashlib.sha256(wheel.content).hexdigest()
    found = service.get(urljoin(f"http://testserver{page}", link))
    assert found.content == wheel.content
    assert unquote(link).rpartition("/")[2] == wheel.file_name


def test_the_page_shows_the_line_that_installs_it(service: TestClient, wheel: ClientWheel) -> None:
    assert f"<p>pip install http://testserver/client/{wheel.file_name}</p>" in service.get("/client/").text
    assert "<script" not in service.get("/client/", headers={"Host": "a<script>"}).text


def test_a_wheel_of_another_version_is_not_there(service: TestClient, wheel: ClientWheel) -> None:
    answer = service.get("/client/augment_service-0.0.1-py3-none-any.whl")
    assert answer.status_code == 404
    assert wheel.file_name in answer.json()["detail"]


def test_the_client_needs_no_key(run: Run, wheel: ClientWheel) -> None:
    client = run(api_keys="secret")
    assert client.get("/client/").status_code == 200
    assert client.get(f"/client/{wheel.file_name}").content == wheel.content
    assert client.get("/v1/datasets").status_code == 401


def test_every_answer_tells_the_version(run: Run, wheel: ClientWheel) -> None:
    client = run(api_keys="secret")
    for path in ("/version", "/nowhere", "/v1/datasets", "/openapi.json"):
        assert client.get(path).headers["Augment-Version"] == wheel.version
    assert client.get("/version").json()["version"] == wheel.version
