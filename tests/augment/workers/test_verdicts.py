"""Verdicts as documents: the first writer decides, all readers see it, and they outlive the pool."""

import json
import logging
import signal
from pathlib import Path

import pytest

from augment.errors import Reason, RecordError, StorageError, WorkerError
from augment.samples.sample import Refusal
from augment.workers.pool import LocalWorkers
from augment.workers.verdicts import FolderDocuments, Verdicts
from tests.augment.workers.tasks_for_tests import Records

CRASH = ("die", int(signal.SIGSEGV))
REFUSAL = Refusal("cat", Reason.TIMEOUT, "too slow")
OTHER = Refusal("dog", Reason.CRASHED, "died")


def test_the_first_decides_and_the_others_are_told(tmp_path: Path) -> None:
    first, second = Verdicts(FolderDocuments(tmp_path)), Verdicts(FolderDocuments(tmp_path))
    assert first.add("a", REFUSAL) == REFUSAL
    assert second.add("a", OTHER) == REFUSAL
    assert second.add("a", None) == REFUSAL
    assert first.add("b", None) is None
    assert second.add("b", OTHER) is None
    assert second.refusals() == {"a": REFUSAL}
    later = Verdicts(FolderDocuments(tmp_path))
    assert later.after(0) == {"a": REFUSAL, "b": None}
    assert later.after(1) == {"b": None}
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", "b.json"}


def test_without_documents_they_live_with_the_object() -> None:
    verdicts = Verdicts()
    assert verdicts.add("a", None) is None
    assert verdicts.add("a", OTHER) is None
    assert verdicts.add("b", OTHER) == OTHER
    assert verdicts.refusals() == {"b": OTHER}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"version": 9}', '{"version": 1, "status": "lost"}', '{"version": 1, "status": "refused"}',
     '{"version": 1, "status": "refused", "key": "a", "reason": "boredom", "detail": ""}'],
)  # fmt: skip
def test_a_damaged_document_hides_no_other_and_decides_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    Verdicts(FolderDocuments(tmp_path)).add("good", REFUSAL)
    (tmp_path / "bad.json").write_text(text)
    with caplog.at_level(logging.WARNING):
        verdicts = Verdicts(FolderDocuments(tmp_path))
    assert "bad.json" in caplog.text
    assert verdicts.refusals() == {"good": REFUSAL}
    with pytest.raises(StorageError, match=r"bad\.json is damaged .* remove the file"):
        verdicts.add("bad", OTHER)
    assert verdicts.refusals() == {"good": REFUSAL}


def test_a_verdict_is_on_the_disk_before_the_result_and_holds_in_another_pool(tmp_path: Path) -> None:
    task = Records(("a", "bad"), {"bad": CRASH})
    on_disk: list[bool] = []
    with LocalWorkers(1, verdicts=Verdicts(FolderDocuments(tmp_path))) as workers:
        future = workers.submit(task)
        future.add_done_callback(lambda _: on_disk.append((tmp_path / "digest of bad.json").exists()))
        refused = future.result(60)["bad"]
    assert on_disk == [True]
    document = json.loads((tmp_path / "digest of bad.json").read_bytes())
    assert document == {
        "version": 1, "subject": "digest of bad", "status": "refused", "key": "bad", "reason": "crashed",
        "detail": refused.detail,
    }  # fmt: skip
    with LocalWorkers(1, verdicts=Verdicts(FolderDocuments(tmp_path))) as workers:
        again = workers.submit(task).result(60)["bad"]
        assert isinstance(again, RecordError)
        assert again.detail == refused.detail
        assert workers.restarts == {}


def test_pools_that_share_verdicts_learn_from_each_other() -> None:
    verdicts = Verdicts()
    task = Records(("bad",), {"bad": CRASH})
    with LocalWorkers(1, verdicts=verdicts) as one, LocalWorkers(1, verdicts=verdicts) as other:
        assert other.submit(Records(("a",))).result(60) == {"a": "a"}
        assert one.submit(task).result(60)["bad"].reason == Reason.CRASHED
        assert other.submit(task).result(60)["bad"].reason == Reason.CRASHED
        assert other.restarts == {}


def test_a_verdict_that_cannot_be_kept_replaces_no_row(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "verdicts"  # below a file nothing can be made, by nobody
    task = Records(("bad",), {"bad": CRASH})
    with LocalWorkers(1, verdicts=Verdicts(FolderDocuments(folder))) as workers:
        for _ in range(2):  # the worker that counted on it is gone
            with pytest.raises(StorageError, match=r"a verdict cannot be written to .*: Not a directory"):
                workers.submit(task).result(60)
        assert workers.verdicts == {}


def test_a_record_that_was_rendered_elsewhere_is_not_refused_here(tmp_path: Path) -> None:
    """Another process decides while this pool renders; the verdict on the disk counts."""
    verdicts = Verdicts(FolderDocuments(tmp_path))
    Verdicts(FolderDocuments(tmp_path)).add("digest of bad", None)
    with LocalWorkers(1, verdicts=verdicts) as workers:
        with pytest.raises(WorkerError, match=r"^bad: .*rendered elsewhere.*try again"):
            workers.submit(Records(("bad",), {"bad": CRASH})).result(60)
        assert workers.verdicts == {}
