"""Verification of expanded folders, intact and damaged."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from augment import user_state
from augment.errors import DatasetError, OutputError
from augment.expansion import lock, manifest, spec
from augment.expansion.expand import expand_dataset
from augment.expansion.verify import Finding, verify_expansion
from augment.workers.pool import LocalWorkers
from tests.augment.expansion.expansions_for_tests import PIPELINE, broken, flip_a_bit, lay_noise

NAMES = [f"{name}/{i}.jpg" for name in ("cat", "dog") for i in range(4)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    lay_noise(tmp_path / "data", NAMES)
    (tmp_path / "data/cat/broken.jpg").write_bytes(broken("broken"))
    (tmp_path / "data/cat/notes.dat").write_text("no image")
    return tmp_path / "data"


@pytest.fixture
def out(tmp_path: Path, data: Path) -> Path:
    expand_dataset(data, tmp_path / "out", PIPELINE, copies=2, seed=7, include_originals=True)
    return tmp_path / "out"


def test_sound_folder_is_rendered_again_without_being_told_where_the_dataset_is(out: Path) -> None:
    seen = []
    report = verify_expansion(out, progress=lambda *counts: seen.append(counts))
    assert report.ok
    assert report.rendered_again
    assert (report.num_files, report.note) == (24, "")
    assert report.size_bytes == sum(path.stat().st_size for path in out.rglob("*.jpg"))
    assert seen[-1] == (27, 27, 0)


def test_sound_folder_is_sound_for_workers_and_elsewhere(out: Path, data: Path, tmp_path: Path) -> None:
    moved = shutil.move(out, tmp_path / "moved")
    dataset = shutil.move(data, tmp_path / "data moved")
    with LocalWorkers(2) as workers:
        report = verify_expansion(moved, dataset, workers=workers)
    assert report.ok
    assert report.rendered_again


def test_files_alone_are_compared_where_the_dataset_is_gone(out: Path, data: Path) -> None:
    shutil.rmtree(data)
    report = verify_expansion(out)
    assert report.ok
    assert not report.rendered_again
    assert report.note == f"the dataset is no longer in {data}: not rendered again; give its folder"


def test_note_that_could_not_be_written_is_not_taken_for_a_dataset_that_moved(out: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "home")
    report = verify_expansion(out)
    assert (report.ok, report.rendered_again) == (True, False)
    assert report.note.startswith("no note on this machine has the folder of the dataset")


def test_files_alone_are_compared_where_the_dataset_changed(out: Path, data: Path) -> None:
    lay_noise(data, ["cat/new.jpg"])
    report = verify_expansion(out)
    assert (report.ok, report.rendered_again) == (True, False)
    assert "changed since" in report.note
    with pytest.raises(DatasetError, match="not the one that was expanded"):
        verify_expansion(out, data)


def test_files_alone_are_compared_where_another_engine_wrote_them(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        for room in ("expansion.spec", "expansion.shard", "render.renderer"):
            earlier.setattr(f"augment.{room}.engine.engine_id", lambda: "0" * 32)
        expand_dataset(data, tmp_path / "old", PIPELINE)
    report = verify_expansion(tmp_path / "old", data)
    assert (report.ok, report.rendered_again) == (True, False)
    assert "another engine" in report.note


@pytest.mark.parametrize(
    ("harm", "finding", "path"),
    [
        (lambda out: (out / "cat/1__0.jpg").unlink(), Finding.MISSING, "cat/1__0.jpg"),
        (lambda out: (out / "cat/1__0.jpg").write_bytes(b""), Finding.CHANGED, "cat/1__0.jpg"),
        (lambda out: flip_a_bit(out / "cat/1__0.jpg"), Finding.CHANGED, "cat/1__0.jpg"),
        (lambda out: flip_a_bit(out / "cat/1.jpg"), Finding.CHANGED, "cat/1.jpg"),
        (lambda out: (out / "cat/mine.jpg").write_bytes(b""), Finding.UNKNOWN, "cat/mine.jpg"),
        (lambda out: (out / "mine.txt").write_bytes(b""), Finding.UNKNOWN, "mine.txt"),
        (lambda out: (out / "cat/link").symlink_to(out), Finding.UNKNOWN, "cat/link"),
        (lambda out: (out / "manifest-00099.parquet").touch(), Finding.UNKNOWN, "manifest-00099.parquet"),
        (lambda out: (out / ".augment-tmp-00001").touch(), Finding.UNFINISHED, ".augment-tmp-00001"),
    ],
)
def test_harm_is_found(out: Path, harm: Callable[[Path], object], finding: Finding, path: str) -> None:
    harm(out)
    report = verify_expansion(out)
    assert not report.ok
    assert [(each.finding, each.path) for each in report.mismatches] == [(finding, path)]


def test_unfinished_shard_is_found(out: Path) -> None:
    (out / "manifest-00002.parquet").unlink()
    report = verify_expansion(out)
    assert report.mismatches[0].finding == Finding.UNFINISHED
    assert {each.finding for each in report.mismatches[1:]} == {Finding.UNKNOWN}


@pytest.mark.parametrize("damage", [Path.unlink, lambda part: part.write_bytes(b"PAR1 no manifest PAR1")])
def test_outputs_of_a_damaged_part_are_not_to_be_moved_away(out: Path, damage: Callable[[Path], object]) -> None:
    damage(out / "manifest-00001.parquet")
    details = {each.detail for each in verify_expansion(out).mismatches if each.finding == Finding.UNKNOWN}
    assert len(details) == 1
    assert "run the same augment expand again before you move it" in details.pop()


def _rewrite(out: Path, change: Callable[[manifest.Row], manifest.Row | None]) -> None:
    """Write a shard's part again with other rows, which the files themselves cannot reveal."""
    described = spec.ExpansionSpec.from_json((out / "expansion.json").read_text(), "")
    rows = manifest.read_part(out, 0, described.id)
    assert rows is not None
    changed = [change(row) for row in rows]
    manifest.write_part(out, 0, described.id, [row for row in changed if row is not None])


def test_rendering_that_differs_from_the_manifest_is_found(out: Path) -> None:
    """File and manifest agree, and are both wrong."""
    import dataclasses

    from augment.expansion.folder import file_digest

    forged = (out / "cat/0__0.jpg").read_bytes()

    def lie(row: manifest.Row) -> manifest.Row:
        if row.path != "cat/0__1.jpg":
            return row
        return dataclasses.replace(row, size_bytes=len(forged), digest=file_digest(forged))

    (out / "cat/0__1.jpg").write_bytes(forged)
    _rewrite(out, lie)
    found = [(each.finding, each.key, each.copy) for each in verify_expansion(out).mismatches]
    assert found == [(Finding.DIFFERENT, "cat/0", 1)]


@pytest.mark.parametrize("lost", ["cat/0", "cat/0__1.jpg"])
def test_rows_that_lack_are_found(out: Path, lost: str) -> None:
    _rewrite(out, lambda row: None if lost in (row.key, row.path) else row)
    findings = {each.finding for each in verify_expansion(out).mismatches}
    assert findings == {Finding.INCOMPLETE, Finding.UNKNOWN}


def test_folder_that_is_no_expansion_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"has no expansion\.json"):
        verify_expansion(lay_noise(tmp_path / "photos", ["a.jpg"]))
    with pytest.raises(OutputError, match="does not exist"):
        verify_expansion(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_folder_under_way_is_refused(out: Path) -> None:
    with lock.locked(out), pytest.raises(OutputError, match="another run works in"):
        verify_expansion(out)


def test_description_with_another_pipeline_than_its_digest_is_refused(out: Path) -> None:
    described = json.loads((out / "expansion.json").read_text())
    described["pipeline"] = {"transforms": [{"VerticalFlip": {}}]}
    (out / "expansion.json").write_text(json.dumps(described))
    with pytest.raises(OutputError, match="does not have the digest given there"):
        verify_expansion(out)


# -------------------------------------------------------------------------------------------------------------- sources


def test_source_is_remembered_by_digest(tmp_path: Path) -> None:
    place = tmp_path / "somewhere"
    place.mkdir()
    user_state.remember("a" * 32, place)
    user_state.remember("b" * 32, tmp_path)
    assert user_state.recall("a" * 32) == (place, ())
    place.rmdir()
    assert user_state.recall("a" * 32) == (place, ())
    assert user_state.recall("c" * 32) is None


@pytest.mark.parametrize("text", ["", "[]", "no json", '{"aa": 3}'])
def test_damaged_notes_of_sources_are_forgotten(tmp_path: Path, text: str) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/sources.json").write_text(text)
    assert user_state.recall("aa") is None
    user_state.remember("bb", tmp_path)
    assert user_state.recall("bb") == (tmp_path, ())


def test_notes_of_sources_stay_few_and_may_be_unwritable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_state, "_MOST", 3)
    for name in "abcde":
        user_state.remember(name, tmp_path)
    assert [name for name in "abcde" if user_state.recall(name)] == ["c", "d", "e"]
    (tmp_path / "file").touch()
    monkeypatch.setenv("AUGMENT_HOME", str(tmp_path / "file"))
    user_state.remember("f", tmp_path)
    assert user_state.recall("f") is None
