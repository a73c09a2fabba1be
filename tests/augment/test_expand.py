"""Expansions of a few pictures, most of them in this process."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import pytest

from augment.errors import CallError, DatasetError, OutputError, PipelineError, Reason, RecordError, WorkerError
from augment.expand import Expansion, expand
from augment.expansion import manifest, spec
from augment.expansion.tally import Progress
from augment.formats import registry
from augment.render import Renderer
from augment.task import Task
from augment.transforms.load import Pipeline
from augment.workers import InProcessWorkers, LocalWorkers
from tests.augment.expansions_for_tests import (
    PIPELINE,
    CrashingShard,
    DyingShard,
    broken,
    content,
    identities,
    lay_noise,
    rows,
)

T = TypeVar("T")

NAMES = [f"{name}/{i}.jpg" for name in ("cat", "dog") for i in range(8)]


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUGMENT_HOME", str(tmp_path / "home"))


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec, "_OUTPUTS_A_SHARD", 6)
    monkeypatch.setattr(spec, "_NUM_SHARDS_MIN", 1)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return lay_noise(tmp_path / "data", NAMES)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture(scope="module")
def one_worker() -> Iterator[LocalWorkers]:
    with LocalWorkers(1) as workers:
        yield workers


@pytest.fixture(scope="module")
def three_workers() -> Iterator[LocalWorkers]:
    with LocalWorkers(3) as workers:
        yield workers


class Wrapping:
    """Workers that are given other tasks than were submitted."""

    def __init__(self, workers: LocalWorkers, wrap: Callable[[Task[Any]], Task[Any]]) -> None:
        self._workers = workers
        self._wrap = wrap
        self.num_workers = workers.num_workers
        self.verdicts = workers.verdicts
        self.close = workers.close

    def submit(self, task: Task[Any]) -> Future[Any]:
        return self._workers.submit(self._wrap(task))


# ------------------------------------------------------------------------------------------------------ what is written


def test_expand_writes_each_copy_and_original_under_its_key(data: Path, out: Path) -> None:
    summary = expand(data, out, PIPELINE, copies=2, seed=7, include_originals=True)
    pictures = {str(path.relative_to(out)) for path in out.rglob("*.jpg")}
    keys = [name.removesuffix(".jpg") for name in NAMES]
    assert pictures == {*NAMES, *(f"{key}__{copy}.jpg" for key in keys for copy in range(2))}
    assert (summary.num_rendered, summary.num_originals, summary.num_kept, summary.num_refused) == (32, 16, 0, 0)
    assert summary.size_bytes == sum(path.stat().st_size for path in out.rglob("*.jpg"))
    for name in NAMES:
        assert (out / name).read_bytes() == (data / name).read_bytes()


def test_copy_is_the_draw_of_a_stream(data: Path, out: Path) -> None:
    """Copy k on disk is epoch k online: rendered from its address alone, outside of any expansion."""
    expand(data, out, PIPELINE, copies=3, seed=7, image_format="png")
    renderer = Renderer(registry.scan(data), PIPELINE.spec, seed=7)
    place = renderer.dataset.find("dog/3")
    assert place is not None
    rendered = renderer.render(renderer.dataset.record(place), draw=2)
    from augment import decode

    assert (decode.decode((out / "dog/3__2.png").read_bytes()) == rendered.sample.image).all()


def test_manifest_has_the_provenance_of_each_output(data: Path, out: Path) -> None:
    (data / "cat/broken.jpg").write_bytes(broken("broken"))
    (data / "cat/notes.txt").write_text("no picture")
    expand(data, out, PIPELINE, copies=2, seed=7, include_originals=True)
    found = rows(out)
    assert [row["key"] for row in found] == sorted(str(row["key"]) for row in found)
    by_status: dict[str, list[dict[str, Any]]] = {"rendered": [], "original": [], "refused": []}
    for row in found:
        by_status[str(row["status"])].append(row)
    assert [len(some) for some in by_status.values()] == [32, 16, 2]
    renderer = Renderer(registry.scan(data), PIPELINE.spec, seed=7)
    for row in by_status["rendered"]:
        record = renderer.dataset.record(renderer.dataset.find(row["key"]) or 0)
        file = out / row["path"]
        assert row["render_key"] == renderer.address(record, draw=row["copy"]).render_key
        assert row["record_digest"] == record.digest
        assert (row["size_bytes"], row["height"], row["width"]) == (file.stat().st_size, 24, 32)
        assert row["class"] == row["key"].partition("/")[0] == renderer.dataset.classes[row["label"]]
        assert all({"name", "params"} == applied.keys() for applied in json.loads(row["applied"]))
    assert any(json.loads(row["applied"]) for row in by_status["rendered"])
    assert all(row["copy"] is None and row["render_key"] is None for row in by_status["original"])
    refused = {row["key"]: (row["reason"], row["path"], row["copy"]) for row in by_status["refused"]}
    assert refused == {"cat/broken": ("undecodable", None, None), "cat/notes.txt": ("format", None, None)}


def test_manifest_digest_is_what_b2sum_prints(data: Path, out: Path) -> None:
    expand(data, out, PIPELINE)
    row = rows(out)[0]
    printed = subprocess.run(["b2sum", "-l", "128", out / str(row["path"])], capture_output=True, text=True, check=True)
    assert printed.stdout.split()[0] == row["digest"]


def test_folder_tells_nothing_of_where_when_and_how(
    data: Path, out: Path, tmp_path: Path, one_worker: LocalWorkers
) -> None:
    """The same dataset elsewhere, the same folder elsewhere, other workers: the same bytes, names included."""
    expand(data, out, PIPELINE, copies=2)
    moved = shutil.copytree(data, tmp_path / "elsewhere" / "moved")
    again = tmp_path / "deep" / "er" / "out"
    expand(moved, again, PIPELINE, copies=2, workers=one_worker)
    assert content(again) == content(out)
    assert str(tmp_path).encode() not in b"".join(data or b"" for data in content(out).values())


def test_bytes_do_not_depend_on_the_number_of_workers(
    data: Path, tmp_path: Path, one_worker: LocalWorkers, three_workers: LocalWorkers
) -> None:
    (data / "dog/broken.jpg").write_bytes(broken("broken"))
    found = []
    for name, workers in [("none", None), ("one", one_worker), ("three", three_workers)]:
        expand(data, tmp_path / name, PIPELINE, copies=3, workers=workers)
        found.append(content(tmp_path / name))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) > 16 * 3


def test_split_is_train_where_there_is_one(tmp_path: Path, out: Path) -> None:
    data = lay_noise(tmp_path / "splits", ["train/cat/1.jpg", "train/dog/2.jpg", "val/cat/3.jpg"])
    expand(data, out, PIPELINE)
    assert {str(path.relative_to(out)) for path in out.rglob("*.jpg")} == {"cat/1__0.jpg", "dog/2__0.jpg"}
    other = tmp_path / "validation"
    expand(data, other, PIPELINE, split="val")
    assert [str(path.relative_to(other)) for path in other.rglob("*.jpg")] == ["cat/3__0.jpg"]
    assert json.loads((other / "expansion.json").read_text())["split"] == "val"


@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
def test_image_format_decides_the_files(data: Path, out: Path, image_format: str) -> None:
    from PIL import Image

    expand(data, out, PIPELINE, image_format=image_format)
    with Image.open(out / str(rows(out)[0]["path"])) as picture:
        assert picture.format == image_format.upper()


def test_quality_of_png_is_no_part_of_the_description(data: Path, out: Path) -> None:
    expand(data, out, PIPELINE, image_format="png", quality=90)
    assert expand(data, out, PIPELINE, image_format="png", quality=50).nothing_to_do


# --------------------------------------------------------------------------------------------------------------- resume


def test_same_command_again_does_nothing(data: Path, out: Path) -> None:
    expand(data, out, PIPELINE, copies=2)
    before = identities(out)
    summary = expand(data, out, PIPELINE, copies=2)
    assert summary.nothing_to_do
    assert summary.num_kept == 32
    assert identities(out) == before


@pytest.mark.parametrize(
    "harm",
    [
        lambda out: (out / "cat/3__1.jpg").unlink(),
        lambda out: (out / "cat/3__1.jpg").write_bytes(b"cut"),
        lambda out: shutil.rmtree(out / "dog"),
        lambda out: (out / "manifest-00002.parquet").unlink(),
        lambda out: (out / "manifest-00002.parquet").write_bytes(b"PAR1 no manifest PAR1"),
        lambda out: (out / "manifest-00002.parquet").write_bytes((out / "manifest-00001.parquet").read_bytes()[:-9]),
    ],
    ids=["file gone", "file cut", "class gone", "part gone", "part damaged", "part cut"],
)
def test_what_is_missing_is_made_again(data: Path, out: Path, harm: Callable[[Path], object]) -> None:
    expand(data, out, PIPELINE, copies=2)
    whole, before = content(out), identities(out)
    harm(out)
    summary = expand(data, out, PIPELINE, copies=2)
    assert content(out) == whole
    assert summary.num_kept + summary.num_rendered == 32
    after = identities(out)
    assert sum(before[name] != after[name] for name in before) == summary.num_rendered < 32


def test_known_refusals_are_not_tried_again(data: Path, out: Path) -> None:
    (data / "cat/broken.jpg").write_bytes(broken("broken"))
    whole = expand(data, out, PIPELINE)
    (out / "cat/0__0.jpg").unlink()
    again = expand(data, out, PIPELINE)
    assert (again.num_rendered, again.num_refused) == (1, 1)
    assert again.refusals == whole.refusals


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 8}, "seed is 7 there and 8 here"),
        ({"copies": 3}, "copies is 2 there and 3 here"),
        ({"image_format": "png"}, 'image_format is "jpeg" there and "png" here'),
        ({"include_originals": True}, "include_originals is false there and true here"),
        ({"pipeline": Pipeline.parse("transforms: [{VerticalFlip: {}}]")}, "pipeline is "),
    ],
)
@pytest.mark.parametrize("update", [False, True])
def test_another_description_is_refused(
    data: Path, out: Path, changed: dict[str, Any], named: str, update: bool
) -> None:
    expand(data, out, PIPELINE, copies=2, seed=7)
    whole = content(out)
    arguments = {"pipeline": PIPELINE, "copies": 2, "seed": 7, **changed}
    with pytest.raises(OutputError, match="another output folder") as caught:
        expand(data, out, update=update, **arguments)
    assert named in str(caught.value)
    assert content(out) == whole


def test_description_of_a_later_revision_is_refused(data: Path, out: Path) -> None:
    expand(data, out, PIPELINE)
    described = json.loads((out / "expansion.json").read_text())
    (out / "expansion.json").write_text(json.dumps(described | {"revision": 99}))
    with pytest.raises(OutputError, match="revision 99"):
        expand(data, out, PIPELINE)


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"revision": 1, "seed": 0}', b"not json", b'{"\xff": 1}'])
def test_damaged_description_is_refused(data: Path, out: Path, text: bytes) -> None:
    out.mkdir()
    (out / "expansion.json").write_bytes(text)
    with pytest.raises(OutputError, match=r"expansion\.json is not an expansion's description"):
        expand(data, out, PIPELINE)


@pytest.mark.parametrize(
    "forged", [{"shard_size": 0}, {"num_records": -1}, {"copies": "4"}, {"format": "x"}, {"image_format": "x"}]
)
def test_forged_description_is_refused(data: Path, out: Path, forged: dict[str, object]) -> None:
    expand(data, out, PIPELINE)
    described = json.loads((out / "expansion.json").read_text())
    (out / "expansion.json").write_text(json.dumps(described | forged))
    with pytest.raises(OutputError, match=r"expansion\.json is not an expansion's description"):
        expand(data, out, PIPELINE, update=True)


def test_forged_manifest_leads_nowhere_else(data: Path, out: Path, tmp_path: Path) -> None:
    """An update removes what the old manifest names: never outside of the folder."""
    precious = tmp_path / "precious.jpg"
    precious.write_bytes(b"mine")
    expand(data, out, PIPELINE)
    described = spec.ExpansionSpec.from_json((out / "expansion.json").read_text(), "")
    forged = manifest.Row("cat/0", manifest.Status.RENDERED, copy=0, path="../precious.jpg", size_bytes=4)
    manifest.write_part(out, 0, described.id, [forged])
    lay_noise(data, ["cat/new.jpg"])
    with pytest.raises(OutputError, match="lies outside of it"):
        expand(data, out, PIPELINE, update=True)
    assert precious.read_bytes() == b"mine"
    (out / ".augment-previous").unlink()  # the update never ended


# --------------------------------------------------------------------------------------------------------------- update


def test_changed_dataset_needs_update(data: Path, out: Path) -> None:
    expand(data, out, PIPELINE)
    whole = content(out)
    lay_noise(data, ["cat/new.jpg"])
    with pytest.raises(OutputError, match=r"the dataset changed \(16 records then, 17 now\).*--update"):
        expand(data, out, PIPELINE)
    assert content(out) == whole


def test_update_renders_only_what_is_new(data: Path, out: Path, tmp_path: Path) -> None:
    expand(data, out, PIPELINE, copies=4, include_originals=True)
    before = identities(out)
    lay_noise(data, [f"{'cat' if i % 2 else 'ant'}/new {i}.jpg" for i in range(10)])
    summary = expand(data, out, PIPELINE, copies=4, include_originals=True, update=True)
    assert (summary.num_rendered, summary.num_originals) == (40, 10)
    assert (summary.num_kept, summary.num_removed) == (80, 0)
    after = identities(out)
    assert len(after) == 130
    assert {name: after[name] for name in before} == before
    expand(data, tmp_path / "fresh", PIPELINE, copies=4, include_originals=True)
    assert content(out) == content(tmp_path / "fresh")


def test_update_removes_what_is_gone_and_renders_what_changed(data: Path, out: Path, tmp_path: Path) -> None:
    expand(data, out, PIPELINE, copies=2)
    before = identities(out)
    lay_noise(data, ["cat/1.jpg"], edition="second")
    (data / "cat/2.jpg").unlink()
    shutil.rmtree(data / "dog")
    summary = expand(data, out, PIPELINE, copies=2, update=True)
    assert (summary.num_rendered, summary.num_kept, summary.num_removed) == (2, 12, 18)
    assert not (out / "dog").exists()
    after = identities(out)
    assert {name for name in after if after[name] == before[name]} == after.keys() - {"cat/1__0.jpg", "cat/1__1.jpg"}
    expand(data, tmp_path / "fresh", PIPELINE, copies=2)
    assert content(out) == content(tmp_path / "fresh")


def test_update_names_what_is_newly_refused(data: Path, out: Path, tmp_path: Path) -> None:
    """A file that became no picture takes its copies with it; one that the scan refuses changes the manifest only."""
    expand(data, out, PIPELINE)
    (data / "cat/1.jpg").write_bytes(broken("cat/1.jpg"))
    (data / "readme.txt").write_text("no picture")
    summary = expand(data, out, PIPELINE, update=True)
    assert {(each.key, each.reason) for each in summary.refusals} == {
        ("cat/1", Reason.UNDECODABLE),
        ("readme.txt", Reason.FORMAT),
    }
    assert (summary.num_rendered, summary.num_kept) == (0, 15)
    expand(data, tmp_path / "fresh", PIPELINE)
    assert content(out) == content(tmp_path / "fresh")


def test_update_of_another_engine_renders_all(
    data: Path, out: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as earlier:
        for room in ("expansion.spec", "expansion.shard", "render"):
            earlier.setattr(f"augment.{room}.engine.engine_id", lambda: "0" * 32)
        expand(data, out, PIPELINE)
    with pytest.raises(OutputError, match=r"the engine changed.*--update"):
        expand(data, out, PIPELINE)
    assert expand(data, out, PIPELINE, update=True).num_rendered == 16
    expand(data, tmp_path / "fresh", PIPELINE)
    assert content(out) == content(tmp_path / "fresh")


def test_expansion_is_the_same_after_a_crash_at_some_file_operations(tmp_path: Path) -> None:
    _run_crash_points(tmp_path, step=24, first=1 + os.getpid() % 24)


@pytest.mark.long
def test_expansion_is_the_same_after_a_crash_at_any_file_operation(tmp_path: Path) -> None:
    _run_crash_points(tmp_path, step=1, first=1)


def _run_crash_points(tmp_path: Path, *, step: int, first: int) -> None:
    command = [sys.executable, "-m", "tests.augment.crash_points", str(tmp_path), str(step), str(first)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    assert ended.returncode == 0, f"{' '.join(command)}\n{ended.stdout}{ended.stderr}"
    assert len(ended.stdout.splitlines()) == 5, ended.stdout


# ------------------------------------------------------------------------------------------------------ what is refused


def test_folders_inside_one_another_are_refused(data: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(data)
    for source, out in [
        (data, data),
        (data, data / "cat" / "out"),
        (data, link / "out"),
        (link, data / "out"),
        (data, tmp_path),
        (data / "cat", data / "dog" / ".."),
    ]:
        with pytest.raises(OutputError, match="choose"):
            expand(source, out, PIPELINE)
    assert content(tmp_path).keys() == {"data", "data/cat", "data/dog", *(f"data/{name}" for name in NAMES), "link"}


def test_folder_with_files_of_others_is_refused(data: Path, out: Path) -> None:
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match=r"holds 'thesis\.tex' and no expansion\.json"):
        expand(data, out, PIPELINE)
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


def test_file_of_others_in_an_expansion_stays(data: Path, out: Path) -> None:
    expand(data, out, PIPELINE)
    (out / "cat/notes.txt").write_text("mine")
    (data / "cat/1.jpg").unlink()
    expand(data, out, PIPELINE, update=True)
    assert (out / "cat/notes.txt").read_text() == "mine"


def test_file_in_the_place_of_the_folder_is_refused(data: Path, out: Path) -> None:
    out.write_text("a file")
    with pytest.raises(OutputError, match="is not a folder"):
        expand(data, out, PIPELINE)
    with pytest.raises(OutputError, match="is not a folder"):
        expand(data, out / "below", PIPELINE)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"copies": 0}, CallError, "copies is 0"),
        ({"copies": 10_001}, CallError, "copies is 10001"),
        ({"seed": -1}, CallError, "seed is -1"),
        ({"seed": 2**64}, CallError, "seed is 18446744073709551616"),
        ({"quality": 0}, CallError, "quality is 0"),
        ({"image_format": "jpg"}, CallError, "did you mean 'jpeg'"),
        ({"split": "test"}, DatasetError, "no split 'test'"),
        ({"max_failures": -1}, CallError, "max_failures is -1"),
        ({"max_failures": 1.5}, CallError, r"max_failures is 1\.5"),
    ],
)
def test_arguments_out_of_range_are_refused(
    data: Path, out: Path, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        expand(data, out, PIPELINE, **arguments)
    assert not out.exists()


def test_pipeline_that_cannot_hold_is_refused(data: Path, out: Path) -> None:
    with pytest.raises(PipelineError, match="24"):
        expand(data, out, Pipeline.parse("transforms: [{RandomCrop: {height: 30, width: 30}}]"))
    assert not out.exists()


def test_equal_datasets_in_two_places_are_each_read_where_they_lie(
    data: Path, tmp_path: Path, one_worker: LocalWorkers
) -> None:
    """A worker kept the first one's manifest, found the second one equal and read the first one's files."""
    expand(data, tmp_path / "first", PIPELINE, workers=one_worker)
    moved = data.rename(tmp_path / "moved")
    lay_noise(data, NAMES, edition="of another time")
    assert expand(moved, tmp_path / "second", PIPELINE, workers=one_worker).num_refused == 0
    assert content(tmp_path / "first") == content(tmp_path / "second")


def test_original_that_would_lie_on_a_copy_is_refused(tmp_path: Path, out: Path) -> None:
    data = lay_noise(tmp_path / "data", ["cat/1.jpg", "cat/1__0.jpg"])
    with pytest.raises(OutputError, match="the original of record cat/1__0 and a copy of record cat/1 would both be"):
        expand(data, out, PIPELINE, include_originals=True)
    assert expand(data, out, PIPELINE).num_rendered == 2
    assert {path.name for path in out.rglob("*.jpg")} == {"1__0.jpg", "1__0__0.jpg"}


def test_original_that_keeps_its_extension_is_seen_on_a_copy(tmp_path: Path, out: Path) -> None:
    """Two files of one name keep their extensions in their keys: the name of the copy is then the whole key."""
    data = lay_noise(tmp_path / "data", ["cat/1.jpg", "cat/1__0.jpg", "cat/1__0.jpeg"])
    with pytest.raises(OutputError, match=r"the original of record cat/1__0\.jpg and a copy of record cat/1"):
        expand(data, out, PIPELINE, include_originals=True)


def test_class_folder_that_is_called_like_a_copy_is_refused(tmp_path: Path, out: Path) -> None:
    data = lay_noise(tmp_path / "data", ["1.jpg", "1__0.jpg/2.jpg"])
    with pytest.raises(OutputError, match=r"the folder of record 1__0\.jpg/2 has the name of a copy of record 1"):
        expand(data, out, PIPELINE)


def test_copy_with_too_long_a_name_is_refused_by_name(tmp_path: Path, out: Path) -> None:
    data = lay_noise(tmp_path / "data", ["a.jpg", f"{'x' * 251}.jpg"])
    summary = expand(data, out, PIPELINE)
    assert summary.num_rendered == 1
    assert [each.reason for each in summary.refusals] == [Reason.NOT_RENDERABLE]


# ------------------------------------------------------------------------------------------- failures, budget, progress


def test_file_that_changed_since_the_scan_is_refused_by_name(data: Path, out: Path) -> None:
    expansion = Expansion(data, out, PIPELINE, copies=2)
    (data / "cat/3.jpg").write_bytes(broken("cat/3.jpg"))
    (data / "dog/3.jpg").unlink()
    summary = expansion.run()
    assert [(each.key, each.reason) for each in summary.refusals] == [
        ("cat/3", Reason.CHANGED),
        ("dog/3", Reason.CHANGED),
    ]
    assert summary.num_rendered == 28


def test_record_is_there_with_all_its_copies_or_with_none(data: Path, out: Path) -> None:
    class FailsAtTheLastCopy(InProcessWorkers):
        def submit(self, task: Task[Any]) -> Future[Any]:
            seen: list[str] = []

            def guard(subject: str, key: str, work: Callable[[], T]) -> T:  # noqa: ARG001 - Guard's own name
                seen.append(key)
                if seen.count("cat/5") == 3 and key == "cat/5":
                    raise RecordError(key, Reason.CRASHED, "it did")
                return work()

            future: Future[Any] = Future()
            future.set_result(task.run(guard))
            return future

    summary = expand(data, out, PIPELINE, copies=3, include_originals=True, workers=FailsAtTheLastCopy())
    assert [(each.key, each.reason) for each in summary.refusals] == [("cat/5", Reason.CRASHED)]
    assert not list(out.glob("cat/5*"))
    assert summary.num_rendered == 45


def test_record_that_kills_workers_is_left_out_and_the_rest_is_complete(
    data: Path, tmp_path: Path, one_worker: LocalWorkers, three_workers: LocalWorkers
) -> None:
    lay_noise(data, ["dog/fatal.jpg"])

    def crashing(task: Task[Any]) -> Task[Any]:
        return CrashingShard(task, "dog/fatal")

    found = []
    for name, workers in [("one", one_worker), ("three", three_workers)]:
        summary = expand(data, tmp_path / name, PIPELINE, copies=2, workers=Wrapping(workers, crashing))
        assert [(each.key, each.reason) for each in summary.refusals] == [("dog/fatal", Reason.CRASHED)]
        assert "SIGABRT" in summary.refusals[0].detail
        found.append(content(tmp_path / name))
    assert found[0] == found[1]
    assert len([name for name in found[0] if name.endswith(".jpg")]) == 32


def test_max_failures_ends_the_run(data: Path, out: Path) -> None:
    for i in range(3):
        (data / f"cat/broken {i}.jpg").write_bytes(broken(f"broken {i}"))
    expected = r"records and files are left out and max_failures is 2; the first is cat/broken 0 \(undecodable"
    with pytest.raises(DatasetError, match=expected):
        expand(data, out, PIPELINE, max_failures=2)
    with pytest.raises(DatasetError, match=r"max_failures is 0\.1"):
        expand(data, out, PIPELINE, max_failures=0.1)
    assert expand(data, out, PIPELINE, max_failures=0.16).num_refused == 3
    assert expand(data, out, PIPELINE, max_failures=3).nothing_to_do


def test_progress_counts_outputs_to_the_total(data: Path, out: Path, three_workers: LocalWorkers) -> None:
    (data / "cat/broken.jpg").write_bytes(broken("broken"))
    seen: list[Progress] = []
    summary = expand(data, out, PIPELINE, copies=2, workers=three_workers, progress=seen.append)
    assert [each.done for each in seen] == sorted(each.done for each in seen)
    last = seen[-1]
    assert (last.done, last.total, last.kept, last.failed, last.size_bytes) == (34, 34, 0, 1, summary.size_bytes)
    seen.clear()
    expand(data, out, PIPELINE, copies=2, progress=seen.append)
    assert (seen[-1].done, seen[-1].kept) == (34, 32)


def test_worker_error_ends_in_a_folder_that_goes_on(data: Path, out: Path, tmp_path: Path) -> None:
    class Dies(InProcessWorkers):
        num_done = 0

        def submit(self, task: Task[Any]) -> Future[Any]:
            Dies.num_done += 1
            if Dies.num_done < 3:
                return super().submit(task)
            future: Future[Any] = Future()
            future.set_exception(WorkerError("it died; give it more memory"))
            return future

    with pytest.raises(WorkerError, match=r"12 of 32 outputs are finished and stay, about \S+ MB .*: it died; give"):
        expand(data, out, PIPELINE, copies=2, workers=Dies())
    assert not list(out.glob(".augment-*"))
    assert expand(data, out, PIPELINE, copies=2).num_kept == 12
    expand(data, tmp_path / "fresh", PIPELINE, copies=2)
    assert content(out) == content(tmp_path / "fresh")


def test_nothing_is_left_of_a_shard_whose_process_always_dies(
    data: Path, out: Path, three_workers: LocalWorkers
) -> None:
    with pytest.raises(WorkerError, match="SIGABRT"):
        expand(data, out, PIPELINE, copies=2, workers=Wrapping(three_workers, DyingShard))
    assert [path.name for path in out.iterdir()] == ["expansion.json"]
    assert expand(data, out, PIPELINE, copies=2, workers=three_workers).num_rendered == 32


def test_interrupt_ends_in_a_folder_that_goes_on(
    data: Path, out: Path, tmp_path: Path, three_workers: LocalWorkers
) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.done >= 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        expand(data, out, PIPELINE, copies=2, workers=three_workers, progress=interrupt)
    assert not list(out.glob(".augment-*"))
    expand(data, out, PIPELINE, copies=2, workers=three_workers)
    expand(data, tmp_path / "fresh", PIPELINE, copies=2)
    assert content(out) == content(tmp_path / "fresh")


# ----------------------------------------------------------------------------------------------------------------- plan


def test_plan_says_what_would_be_written_and_writes_nothing(data: Path, out: Path) -> None:
    (data / "cat/notes.txt").write_text("no picture")
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


def test_plan_of_an_update_counts_what_is_kept(data: Path, out: Path) -> None:
    expand(data, out, PIPELINE, copies=2)
    lay_noise(data, ["cat/1.jpg"], edition="second")
    lay_noise(data, ["cat/new.jpg"])
    (data / "dog/1.jpg").unlink()
    expansion = Expansion(data, out, PIPELINE, copies=2)
    with pytest.raises(OutputError, match="--update"):
        expansion.plan()
    plan = expansion.plan(update=True)
    assert (plan.num_outputs, plan.num_kept) == (32, 28)
    summary = expansion.run(update=True)
    assert (summary.num_rendered, summary.num_kept) == (4, 28)


def test_plan_of_pictures_that_cannot_be_decoded_knows_no_size(tmp_path: Path, out: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "broken.jpg").write_bytes(broken("broken"))
    assert Expansion(data, out, PIPELINE).plan().bytes_about is None


def test_shard_size_keeps_shards_and_their_number_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    class Counted:
        refused = ()
        split = None
        format = "folder"
        classes = ()
        digest = "0" * 32

        def __init__(self, num_records: int) -> None:
            self.num_records = num_records

    def size(num_records: int, copies: int) -> int:
        described = spec.describe(
            Counted(num_records),  # type: ignore[arg-type]  # what it reads of a dataset of any size
            PIPELINE.spec,
            copies=copies,
            seed=0,
            include_originals=False,
            image_format="jpeg",
            quality=90,
        )
        assert described.num_shards == -(-num_records // described.shard_size)
        covered = [i for index in range(min(described.num_shards, 50)) for i in described.shard(index)]
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
        32,
        128,
        244,
        1024,
    ]


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    assert not [path for path in tmp_path.rglob(".augment-*") if "crash" not in str(path)]
