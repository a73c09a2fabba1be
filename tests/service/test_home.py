import json
import os
import re
import shutil
from contextlib import closing
from pathlib import Path
from threading import get_ident

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.errors import StorageError
from service import home
from service.errors import MalformedError, ServiceError
from service.home import Home


def test_home_is_made_with_its_folders(tmp_path: Path) -> None:
    home = Home(tmp_path / "deep" / "home")
    assert {path.name for path in home.path.iterdir()} == {
        "datasets", "lock", "outputs", "pipelines", "replica.json", "streams", "tmp",
    }  # fmt: skip
    home.close()


def test_home_keeps_its_replica_id(tmp_path: Path) -> None:
    first = replica_id(tmp_path / "a")
    assert re.fullmatch(r"[0-9a-f]{32}", first)
    assert replica_id(tmp_path / "a") == first
    assert replica_id(tmp_path / "b") != first
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    assert replica_id(tmp_path / "copy") == first


def test_home_of_before_gets_a_replica_id(tmp_path: Path) -> None:
    replica_id(tmp_path)
    (tmp_path / "replica.json").unlink()
    assert replica_id(tmp_path) == json.loads((tmp_path / "replica.json").read_text())["replica"]


@pytest.mark.parametrize(
    "document", ["", "[]", '{"version": 1}', '{"version": 2, "replica": "x"}', '{"version": 1, "replica": "../x"}']
)
def test_home_with_a_damaged_replica_id_gets_a_new_one(
    tmp_path: Path, document: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "replica.json").write_text(document)
    with caplog.at_level("WARNING"):
        found = replica_id(tmp_path)
    assert f"the replica's new id is {found}" in caplog.text
    assert replica_id(tmp_path) == found


def test_home_that_cannot_keep_its_replica_id_opens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "replica.json").mkdir()  # nothing can take its place, as on a full disk
    assert replica_id(tmp_path) != replica_id(tmp_path)
    assert "replica.json cannot be written" in caplog.text


def replica_id(path: Path) -> str:
    with closing(Home(path)) as home:
        return home.replica_id


def test_home_belongs_to_one_service_at_a_time(tmp_path: Path) -> None:
    first = Home(tmp_path)
    with pytest.raises(ServiceError, match="another service uses the home"):
        Home(tmp_path)
    first.close()
    Home(tmp_path).close()


def test_home_empties_what_uploads_left(tmp_path: Path) -> None:
    Home(tmp_path).close()
    (tmp_path / "tmp" / "half").mkdir()
    (tmp_path / "tmp" / "half" / "image").write_bytes(b"x")
    (tmp_path / "tmp" / "link").symlink_to(tmp_path / "datasets")
    Home(tmp_path).close()
    assert list((tmp_path / "tmp").iterdir()) == []
    assert (tmp_path / "datasets").is_dir()


def test_home_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="AUGMENT_HOME"):
        Home(tmp_path / "file")


@given(st.text())
def test_a_name_can_be_nothing_but_a_name(text: str) -> None:
    try:
        name = home.checked_name(text)
    except MalformedError:
        return
    assert Path("above", name).resolve().parent == Path("above").resolve()
    assert name.isascii()
    assert name.isprintable()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", ".hidden", "-x", "a\n", "a\0", "x" * 101, "é", "a b"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(MalformedError):
        home.checked_name(name)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    home.write_whole(tmp_path / "a", b"old")
    home.write_json(tmp_path / "a", {"b": 1})
    assert (tmp_path / "a").read_bytes() == b'{\n "b": 1\n}'
    with pytest.raises(StorageError):
        home.write_whole(tmp_path / "missing" / "a", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_home_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (
        tmp_path / f".a.{os.getpid()}-{get_ident()}.tmp"
    ).mkdir()  # the draft can neither be written nor removed, as on a read-only disk
    with pytest.raises(StorageError, match=r"a cannot be written: .*make the home writable"):
        home.write_whole(tmp_path / "a", b"x")


def test_used_bytes_counts_uploads_and_outputs(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (tmp_path / "datasets" / "x").mkdir()
    (tmp_path / "datasets" / "x" / "a").write_bytes(b"12345")
    (tmp_path / "outputs" / "b").write_bytes(b"123")
    (tmp_path / "pipelines" / "c").write_bytes(b"not counted")
    assert home.used_bytes() == 8
    home.close()
