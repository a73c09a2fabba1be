"""Reservations of the home's bytes before they are written."""

import asyncio
import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from service.datasets.upload import Spool
from service.errors import NoRoomError
from service.home import Home, Quota
from tests.service.archives_for_tests import IMAGES, tarred
from tests.service.folders_for_tests import Run

MIB = 2**20


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with closing(Home(tmp_path / "home")) as home:
        yield home


def test_what_is_kept_counts_until_it_is_written_or_given_back(home: Home) -> None:
    quota, path = Quota(home, 100), home.path / "tmp" / "one"
    with quota.reserve(path, 60):
        assert quota.used_bytes() == 60
        path.write_bytes(bytes(50))
        assert quota.used_bytes() == 60
        with quota.reserve(home.path / "tmp" / "two", 60) as second:
            assert second.num_bytes == 40, "what is left"
            with pytest.raises(NoRoomError, match="AUGMENT_MAX_HOME_BYTES"):
                quota.check()
            with pytest.raises(NoRoomError):
                quota.grow(second, 41, 100)
            assert quota.used_bytes() == 100, "what was kept stays so"
    assert quota.used_bytes() == 50
    quota.check(50)
    with pytest.raises(NoRoomError):
        quota.check(51)


def test_a_folder_that_fills_is_what_was_kept_for_it(home: Home) -> None:
    quota, folder = Quota(home, 100), home.path / "datasets" / "files"
    with quota.reserve(folder, 80):
        folder.mkdir()
        for i in range(3):
            (folder / str(i)).write_bytes(bytes(20))
            assert quota.used_bytes() == 80


def test_no_two_writers_take_the_same_bytes(home: Home) -> None:
    quota = Quota(home, 1000)
    begin = threading.Barrier(8)

    def reserve(number: int) -> int:
        begin.wait()
        try:
            return quota.reserve(home.path / "tmp" / str(number), 300).num_bytes
        except NoRoomError:
            return 0

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(reserve, range(8))) == [0, 0, 0, 0, 100, 300, 300, 300]


def test_uploads_at_once_never_exceed_the_home(home: Home) -> None:
    quota = Quota(home, 8 * MIB)
    most = 0

    async def upload(number: int) -> bool:
        nonlocal most
        try:
            async with Spool(home.path / "tmp" / str(number), quota) as spool:
                for _ in range(10):
                    spool.add(bytes(MIB // 2))
                    await spool.flush()
                    most = max(most, home.used_bytes())
                await spool.flush(all_of_it=True)
        except NoRoomError:
            (home.path / "tmp" / str(number)).unlink(missing_ok=True)  # or there was no room to begin
            return False
        return True

    async def several() -> list[bool]:
        return list(await asyncio.gather(*(upload(number) for number in range(4))))

    ended = asyncio.run(several())
    assert sum(ended) <= 1, "5 MiB each"
    assert most <= 8 * MIB
    assert asyncio.run(upload(9)) is not any(ended), "what the others gave back can be taken"
    assert quota.used_bytes() == home.used_bytes()


def test_an_archive_that_grows_is_given_more_while_there_is_some(run: Run) -> None:
    flat = io.BytesIO()
    Image.new("RGB", (512, 512)).save(flat, "BMP")
    images = IMAGES | {f"cat/flat-{i}.bmp": flat.getvalue() for i in range(4)}
    packed = tarred(images, mode="w:gz")
    assert len(packed) < MIB / 8, "flat images without compression, compressed"
    client = run(max_home_bytes=16 * MIB)
    headers = {"Content-Type": "application/gzip"}
    answer = client.post("/v1/datasets", params={"name": "flat"}, content=packed, headers=headers)
    assert (answer.status_code, answer.json()["num_records"]) == (201, 7), answer.text
    home: Home = client.app.state.augment.home  # type: ignore[attr-defined]
    assert client.app.state.augment.datasets.quota.used_bytes() == home.used_bytes()  # type: ignore[attr-defined]
    full = client.post("/v1/datasets", params={"name": "f"}, content=b"x" * 15 * MIB, headers=headers)
    assert (full.status_code, "AUGMENT_MAX_HOME_BYTES" in full.text) == (413, True)
