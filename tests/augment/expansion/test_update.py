"""A changed dataset: unchanged outputs are kept, and the folder equals that of a fresh expansion."""

import shutil
from pathlib import Path

import pytest

from augment.errors import OutputError, Reason
from augment.expansion.expand import Expansion, expand_dataset
from augment.expansion.progress import Progress
from tests.augment.expansion.expansions_for_tests import PIPELINE, broken, content, flip_a_bit, identities, lay_noise

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_changed_dataset_needs_update(data: Path, out: Path) -> None:
    expand_dataset(data, out, PIPELINE)
    whole = content(out)
    lay_noise(data, ["cat/new.jpg"])
    with pytest.raises(OutputError, match=r"the dataset changed \(1 record added \(cat/new\)\).*--update"):
        expand_dataset(data, out, PIPELINE)
    assert content(out) == whole


def test_change_that_leaves_the_number_of_records_is_named(data: Path, out: Path) -> None:
    expand_dataset(data, out, PIPELINE)
    lay_noise(data, [f"cat/{i}.jpg" for i in range(5)], edition="second")
    with pytest.raises(
        OutputError, match=r"the dataset changed \(5 records changed \(cat/0, cat/1, cat/2, …\)\) since"
    ):
        expand_dataset(data, out, PIPELINE)
    lay_noise(data, [f"cat/{i}.jpg" for i in range(5)])
    (data / "cat/notes.dat").write_text("no image")
    with pytest.raises(OutputError, match=r"the dataset changed \(in the files that are refused\) since"):
        expand_dataset(data, out, PIPELINE)


def test_change_since_an_expansion_that_never_ended_is_named_as_far_as_it_is_known(data: Path, out: Path) -> None:
    expand_dataset(data, out, PIPELINE)
    (out / "manifest-00000.parquet").unlink()
    lay_noise(data, ["cat/new.jpg"])
    with pytest.raises(OutputError, match=r"the dataset changed \(16 records then, 17 now\)"):
        expand_dataset(data, out, PIPELINE)
    (data / "dog/7.jpg").unlink()
    with pytest.raises(OutputError, match=r"the dataset changed \(1 record gone \(dog/7\)\)"):
        expand_dataset(data, out, PIPELINE)


def test_update_renders_only_what_is_new(data: Path, out: Path, tmp_path: Path) -> None:
    expand_dataset(data, out, PIPELINE, copies=4, include_originals=True)
    before = identities(out)
    lay_noise(data, [f"{'cat' if i % 2 else 'ant'}/new {i}.jpg" for i in range(10)])
    summary = expand_dataset(data, out, PIPELINE, copies=4, include_originals=True, update=True)
    assert (summary.num_rendered, summary.num_originals) == (40, 10)
    assert (summary.num_kept, summary.num_removed) == (80, 0)
    after = identities(out)
    assert len(after) == 130
    assert {name: after[name] for name in before} == before
    expand_dataset(data, tmp_path / "fresh", PIPELINE, copies=4, include_originals=True)
    assert content(out) == content(tmp_path / "fresh")


def test_update_removes_what_is_gone_and_renders_what_changed(data: Path, out: Path, tmp_path: Path) -> None:
    expand_dataset(data, out, PIPELINE, copies=2)
    before = identities(out)
    lay_noise(data, ["cat/1.jpg"], edition="second")
    (data / "cat/2.jpg").unlink()
    shutil.rmtree(data / "dog")
    summary = expand_dataset(data, out, PIPELINE, copies=2, update=True)
    assert (summary.num_rendered, summary.num_kept, summary.num_removed) == (2, 12, 18)
    assert not (out / "dog").exists()
    after = identities(out)
    assert {name for name in after if after[name] == before[name]} == after.keys() - {"cat/1__0.jpg", "cat/1__1.jpg"}
    expand_dataset(data, tmp_path / "fresh", PIPELINE, copies=2)
    assert content(out) == content(tmp_path / "fresh")


def test_update_makes_again_what_was_changed_by_others(data: Path, out: Path, tmp_path: Path) -> None:
    """The same holds if the file has the old size, and if it was changed during an update."""
    expand_dataset(data, out, PIPELINE, copies=2, include_originals=True)
    lay_noise(data, ["cat/new.jpg"])
    for name in ("cat/1__0.jpg", "dog/2.jpg"):
        flip_a_bit(out / name)
    assert Expansion(data, out, PIPELINE, copies=2, include_originals=True, update=True).plan().num_kept == 46

    def stop(progress: Progress) -> None:
        if progress.done >= 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        expand_dataset(data, out, PIPELINE, copies=2, include_originals=True, update=True, progress=stop)
    flip_a_bit(out / "dog/7__1.jpg")
    expand_dataset(data, out, PIPELINE, copies=2, include_originals=True, update=True)
    expand_dataset(data, tmp_path / "fresh", PIPELINE, copies=2, include_originals=True)
    assert content(out) == content(tmp_path / "fresh")


def test_update_names_what_is_newly_refused(data: Path, out: Path, tmp_path: Path) -> None:
    """A file that became unreadable takes its copies with it; one that the scan refuses changes only the manifest."""
    expand_dataset(data, out, PIPELINE)
    (data / "cat/1.jpg").write_bytes(broken("cat/1.jpg"))
    (data / "words.dat").write_text("no image")
    summary = expand_dataset(data, out, PIPELINE, update=True)
    assert {(each.key, each.reason) for each in summary.refusals} == {
        ("cat/1", Reason.UNDECODABLE),
        ("words.dat", Reason.FORMAT),
    }
    assert (summary.num_rendered, summary.num_kept) == (0, 15)
    expand_dataset(data, tmp_path / "fresh", PIPELINE)
    assert content(out) == content(tmp_path / "fresh")


def test_update_of_another_engine_renders_all(
    data: Path, out: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as earlier:
        for room in ("expansion.spec", "expansion.shard", "render.renderer"):
            earlier.setattr(f"augment.{room}.engine.engine_id", lambda: "0" * 32)
        expand_dataset(data, out, PIPELINE)
    with pytest.raises(OutputError, match=r"the engine changed.*--update"):
        expand_dataset(data, out, PIPELINE)
    assert expand_dataset(data, out, PIPELINE, update=True).num_rendered == 16
    expand_dataset(data, tmp_path / "fresh", PIPELINE)
    assert content(out) == content(tmp_path / "fresh")
