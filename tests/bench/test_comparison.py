"""The bench's statistics, its table of cases and peers, and the message for a missing peer."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import bench.cases
from augment.chance import EpochOrder
from augment.datasets.dataset import Dataset
from augment.images.encode import encode_image
from augment.scanning.scan import scan
from bench import photographs, profile, report, synthetic
from bench.case import DIFFERENCE, Case, Pair, Run
from bench.compare import CaseResult, PairResult
from bench.measure import Measured, MissingPeerError, Pythons, measure
from bench.pairs import Spread
from bench.peers.served import DATASET
from bench.work import Work

BENCH = Path(bench.cases.__file__).parents[1]


def measured(images: int, seconds: float) -> Measured:
    return Measured(images=images, seconds=seconds, cpu_s=2 * seconds, peak_bytes=10**8, first_batch_s=0.5)


def a_case(*pairs: Pair) -> Case:
    return Case("some", "Some case", pairs, photographs.lay_down, notes="Said under the table.")


def test_every_case_and_peer_has_the_interface() -> None:
    cases = {path.stem for path in (BENCH / "cases").glob("*.py")} - {"__init__"}
    assert cases == set(bench.cases.NAMES)
    names = [importlib.import_module(f"bench.cases.{name}").CASE.name for name in bench.cases.NAMES]
    assert len(set(names)) == len(names)
    for case in (importlib.import_module(f"bench.cases.{name}").CASE for name in bench.cases.NAMES):
        for run in (run for pair in case.pairs for run in (pair.first, pair.second)):
            peer = importlib.import_module(f"bench.peers.{run.peer}")
            assert peer.TITLE
            assert peer.NEEDS
            assert callable(peer.run)


def test_spread_is_the_median_with_quartiles() -> None:
    assert Spread.of([3.0]) == Spread(3, 3, 3)
    assert Spread.of([1.0, 2.0]) == Spread(1.5, 1, 2)
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert Spread.of(values) == Spread(*np.percentile(values, (50, 25, 75)))


def test_pair_is_judged_by_the_median_of_its_values() -> None:
    pair = Pair(Run("ours"), Run("bare"), at_least=1.5)
    result = PairResult(pair, [measured(400, 1), measured(400, 1)], [measured(200, 1), measured(400, 2)])
    assert result.values == [2, 2]
    assert result.is_reached
    slower = Pair(Run("ours"), Run("bare"), figure="cpu_s_per_1000", how=DIFFERENCE, at_most=1)
    assert PairResult(slower, [measured(1000, 2)], [measured(1000, 1)]).values == [2]
    assert PairResult(slower, [measured(1000, 2)], [measured(1000, 1)]).is_reached is False


def test_missing_peer_is_told_with_the_command_that_installs_it(tmp_path: Path) -> None:
    work = Work(str(tmp_path), str(tmp_path))
    with pytest.raises(MissingPeerError, match=r"no environment of peers.*pip install tensorflow-cpu"):
        measure("tf_data", work, Pythons(peers=None))
    with pytest.raises(MissingPeerError, match=r"tensorflow cannot be imported \(ModuleNotFoundError.*pip install"):
        measure("tf_data", work, Pythons(peers=sys.executable))


def test_report_names_machine_values_and_what_is_missing(tmp_path: Path) -> None:
    reached = PairResult(Pair(Run("ours"), Run("bare"), at_least=1.5), [measured(400, 1)], [measured(100, 1)])
    missing = PairResult(Pair(Run("ours"), Run("tf_data")), problem="tensorflow cannot be imported: pip install it")
    found = {"num_files": 1000, "mean_kilobytes": 110, "median_megapixels": 0.19, "sha256": "0"}
    about = {"date": "today", "machine": "2 CPUs", "versions": {"numpy": "2"}}
    report.write(tmp_path, [CaseResult(a_case(reached.pair, missing.pair), found, [reached, missing])], about)
    text = (tmp_path / "table.md").read_text()
    assert "- machine: 2 CPUs" in text
    assert "| 4.00 (4.00 to 4.00) | at least 1.5 x | yes |" in text
    assert "tensorflow cannot be imported: pip install it" in text
    assert "Measured on 1,000 files" in text
    pairs = json.loads((tmp_path / "results.json").read_text())["cases"][0]["pairs"]
    assert [pair["values"] for pair in pairs] == [[4], []]
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_photographs_are_laid_down_in_rounds_and_differ(tmp_path: Path) -> None:
    source, into = tmp_path / "source", tmp_path / "into"
    source.mkdir()
    for number in range(2):
        image = np.full((30, 40, 3), number, np.uint8)
        (source / f"{number}.JPEG").write_bytes(encode_image(image, "jpeg", 90))
    work = Work(str(into), str(tmp_path), batch_size=1, num_warm=1, num_batches=2)
    photographs.lay_down(source, into, work)
    dataset = scan(into, format="folder")
    assert dataset.num_records == work.num_images == 15
    assert len({record.digest for record in dataset.records(range(15))}) == 15
    assert dataset.num_refused == 0


@pytest.mark.parametrize("num_records", [150_000, 100_000_000])
def test_grown_manifest_reads_any_record(tmp_path: Path, num_records: int) -> None:
    work = Work(str(tmp_path / "into"), str(tmp_path), batch_size=1, num_warm=1, num_batches=2)
    source = tmp_path / "source"
    source.mkdir()
    (source / "0.jpg").write_bytes(encode_image(np.zeros((30, 40, 3), np.uint8), "jpeg", 90))
    photographs.lay_down(source, tmp_path / "into", work)
    folder = tmp_path / "datasets" / DATASET
    (folder / "g").mkdir(parents=True)
    scan(tmp_path / "into", format="folder").save(folder / "g" / "manifest.arrow")
    (folder / "dataset.json").write_text(json.dumps({"generation": "g", "digest": "", "num_records": 15}))
    synthetic.grow(tmp_path, num_records)
    grown = Dataset.open(folder / "g" / "manifest.arrow")
    assert grown.num_records >= num_records
    places = EpochOrder(grown.num_records, 7, 9).take(np.arange(64) + grown.num_records // 2)
    assert all(grown.read(record) for record in grown.records(places))
    assert json.loads((folder / "dataset.json").read_text())["digest"] == grown.digest
    assert (folder / "g" / "manifest.arrow").stat().st_size < 40_000_000


def test_profile_knows_what_a_stack_does() -> None:
    task = "Worker.serve (augment/workers/process.py);BatchTask.run (augment/streams/tasks.py)"
    decode = "Renderer.decode (augment/render/renderer.py);decode_image (augment/images/decode.py)"
    assert profile.stage_of(f"{task};{decode};_simplejpeg (augment/images/decode.py)") == "decode: libjpeg-turbo"
    assert profile.stage_of(f"{task};{decode};_read_header (augment/images/decode.py)").startswith("decode: header")  # type: ignore[union-attr]
    assert profile.stage_of(task) == "batch: records, order, rows"
    assert profile.stage_of("main (nobody.py)") is None
