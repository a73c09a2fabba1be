"""Plan of a run, and its shards."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from augment.errors import OutputError
from augment.expansion import spec, splits
from augment.expansion.expand import Expansion, expand_dataset
from augment.expansion.progress import Progress
from augment.expansion.verify import Finding, verify_expansion
from tests.augment.expansion import annotated_for_tests
from tests.augment.expansion.expansions_for_tests import PIPELINE, broken, flip_a_bit, lay_noise

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_plan_says_what_would_be_written_and_writes_nothing(data: Path, out: Path) -> None:
    (data / "cat/notes.dat").write_text("no image")
    expansion = Expansion(data, out, PIPELINE, copies=4, include_originals=True)
    plan = expansion.plan()
    assert not out.exists()
    assert (plan.num_records, plan.num_refused, plan.num_outputs, plan.num_kept) == (16, 1, 80, 0)
    expansion.run()
    written = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    assert plan.bytes_about is not None
    assert 0.7 < plan.bytes_about / written < 1.5
    assert expansion.plan().num_kept == 80
    assert expansion.plan().bytes_about == 0


def _remove(file: Path) -> None:
    file.unlink()


def _move_behind_a_link(file: Path) -> None:
    moved = file.rename(file.parents[2] / "moved.jpg")
    file.symlink_to(moved)


@pytest.mark.parametrize(
    ("harm", "finding", "is_there"),
    [
        (_remove, Finding.MISSING, False),
        (_move_behind_a_link, Finding.MISSING, True),
        (flip_a_bit, Finding.CHANGED, True),
    ],
)
def test_plan_verify_and_run_agree_on_a_harmed_output(
    harm: Callable[[Path], None], finding: Finding, is_there: bool, data: Path, out: Path
) -> None:
    expand_dataset(data, out, PIPELINE, copies=2)
    harm(out / "cat/1__0.jpg")
    assert [(each.finding, each.path) for each in verify_expansion(out, data).mismatches] == [(finding, "cat/1__0.jpg")]
    plan = Expansion(data, out, PIPELINE, copies=2).plan()
    assert (plan.num_kept, plan.num_replaced, plan.num_removed) == (31, int(is_there), 0)
    summary = expand_dataset(data, out, PIPELINE, copies=2)
    assert (summary.num_kept, summary.num_rendered) == (31, 1)
    assert verify_expansion(out, data).ok


def test_plan_and_run_keep_an_image_whose_annotation_file_is_gone(tmp_path: Path, out: Path) -> None:
    data = annotated_for_tests.lay_voc(tmp_path / "voc", {"train": ["a1", "a2"]})
    num_kept = expand_dataset(data, out, annotated_for_tests.PIPELINE).num_rendered
    next(out.rglob("*__0.xml")).unlink()
    assert Expansion(data, out, annotated_for_tests.PIPELINE).plan().num_kept == num_kept
    summary = expand_dataset(data, out, annotated_for_tests.PIPELINE)
    assert (summary.num_kept, summary.num_rendered, summary.num_described) == (num_kept, 0, 1)


def test_plan_of_an_update_counts_what_is_kept(data: Path, out: Path) -> None:
    expand_dataset(data, out, PIPELINE, copies=2)
    lay_noise(data, ["cat/1.jpg"], edition="second")
    lay_noise(data, ["cat/new.jpg"])
    (data / "dog/1.jpg").unlink()
    with pytest.raises(OutputError, match="--update"):
        Expansion(data, out, PIPELINE, copies=2).plan()
    expansion = Expansion(data, out, PIPELINE, copies=2, update=True)
    plan = expansion.plan()
    assert (plan.num_outputs, plan.num_kept, plan.num_replaced, plan.num_removed) == (32, 28, 2, 2)
    assert plan.changes is not None
    assert plan.changes.text == "1 record added (cat/new), 1 record changed (cat/1), 1 record gone (dog/1)"
    summary = expansion.run()
    assert (summary.num_rendered, summary.num_kept) == (4, 28)


def test_plan_of_an_interrupted_update_counts_what_is_kept(data: Path, out: Path) -> None:
    expand_dataset(data, out, PIPELINE, copies=2)
    lay_noise(data, ["dog/7.jpg"], edition="second")
    (data / "dog/6.jpg").unlink()

    def stop(progress: Progress) -> None:
        if progress.done >= 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        expand_dataset(data, out, PIPELINE, copies=2, update=True, progress=stop)
    plan = Expansion(data, out, PIPELINE, copies=2).plan()
    assert (plan.num_outputs, plan.num_kept, plan.num_replaced, plan.num_removed) == (30, 28, 2, 2)
    summary = expand_dataset(data, out, PIPELINE, copies=2)
    assert (summary.num_rendered, summary.num_kept, summary.num_removed) == (2, 28, 2)


def test_plan_of_images_that_cannot_be_decoded_knows_no_size(tmp_path: Path, out: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "broken.jpg").write_bytes(broken("broken"))
    assert Expansion(data, out, PIPELINE).plan().bytes_about is None


def test_shard_size_keeps_shards_and_their_number_small(data: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    def size(num_records: int, copies: int) -> int:
        described = dataclasses.replace(
            Expansion(data, out, PIPELINE, copies=copies).spec,
            parts=(splits.Part(None, num_records),),
            shard_size=spec._shard_size(num_records, copies),
        )
        assert described.num_shards == -(-num_records // described.shard_size)
        covered = [i for index in range(min(described.num_shards, 50)) for i in described.shard(index).records]
        assert covered == list(range(min(num_records, 50 * described.shard_size)))
        return described.shard_size

    assert [
        size(*each)
        for each in [(10, 4), (1000, 4), (1000, 1), (1000, 500), (10**4, 4), (10**4, 1), (10**6, 4), (10**8, 4)]
    ] == [
        1,
        31,
        31,
        1,
        64,
        256,
        244,
        1024,
    ]
