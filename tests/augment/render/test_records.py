"""The seconds that tasks report: every stage of the work, and together no more than its duration."""

import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from augment.images.encode import encode_image
from augment.render import one_shot
from augment.render.one_shot import OneShotTask
from augment.render.pipeline import Pipeline
from augment.render.records import Stages
from augment.render.renderer import RenderSource
from augment.scanning.scan import scan
from augment.streams.spec import BatchSlice
from augment.streams.stream import Stream
from augment.streams.tasks import BatchTask, SampleTask
from augment.workers.task import InProcessGuard

PIPELINE = Pipeline.parse('{"transforms": [{"Resize": {"height": 64, "width": 64}}, {"MedianBlur": {"p": 1}}]}')


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    root.mkdir()
    for i in range(4):
        noise = np.random.default_rng(i).integers(0, 256, (96, 96, 3), dtype=np.uint8)
        (root / f"{i}.png").write_bytes(encode_image(noise, "png"))
    return root


def test_seconds_are_summed_by_stage_and_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = mock.Mock(side_effect=[10, 14, 15, 20, 22, 22])
    monkeypatch.setattr("augment.render.records.time", mock.Mock(perf_counter=clock))
    stages = Stages()
    for _ in range(2):
        stages.begin()
        stages.end("first")
        stages.end("second")
    assert list(stages.take().items()) == [("first", 6), ("second", 1)]
    assert stages.take() == {}


def test_batches_and_samples_say_what_each_stage_took(folder: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.arrow"
    dataset = scan(folder, sink=manifest)
    stream = Stream(dataset, PIPELINE, batch_size=4)
    source = RenderSource(manifest, dataset.digest, None, PIPELINE.spec, 0)
    into = tmp_path / "laid"
    into.touch()
    tasks: dict[str, BatchTask | SampleTask] = {
        "assemble": BatchTask((source,), stream.spec, stream.layout(0), BatchSlice(0, 0), into),
        "encode": SampleTask(source, "0", epoch=0, draw=0, view=0, into=into),
    }
    for further, task in tasks.items():
        source.renderer().stages.end("left by a task that failed")
        started = time.perf_counter()
        laid = task.run(InProcessGuard())
        took_s = time.perf_counter() - started
        assert laid is not None
        assert list(laid.seconds) == ["read", "decode", "transform", further, "write"]
        assert all(seconds > 0 for seconds in laid.seconds.values())
        assert sum(laid.seconds.values()) <= took_s


def test_one_shots_say_what_each_stage_took(folder: Path, tmp_path: Path) -> None:
    into = tmp_path / "laid"
    into.touch()
    source = one_shot.RequestImage("0", folder / "0.png")
    copies = OneShotTask(source, PIPELINE.spec, 7, 3, "jpeg", 90, 10**6, into).run(InProcessGuard())
    assert len(copies.results) == 3
    assert list(copies.seconds) == ["read", "decode", "transform", "encode", "write"]
