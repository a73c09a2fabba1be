"""Streams with a mix: the same bytes wherever they are rendered, and refusals with their location."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augment.cli import app, exit_codes
from augment.datasets.dataset import Dataset
from augment.errors import PipelineError
from augment.render.pipeline import Pipeline
from augment.scanning.scan import scan
from augment.streams.stream import Stream
from augment.workers.pool import LocalWorkers
from tests.augment.folders_for_tests import lay, pattern
from tests.augment.streams.test_stream import write_images
from tests.augment.wire.wire_for_tests import arrow_bytes

CROP = Pipeline.parse("transforms: [{RandomResizedCrop: {size: [16, 24], scale: [0.3, 1.0]}}, HorizontalFlip]")
KEEPS_SIZES = Pipeline.parse("transforms: [HorizontalFlip]")
MIX = {"OneOf": {"transforms": [{"MixUp": {"per": "row"}}, "CutMix"]}}
VOC = """<annotation><filename>{name}.png</filename><size><width>24</width><height>16</height><depth>3</depth></size>
<object><name>car</name><bndbox><xmin>5</xmin><ymin>3</ymin><xmax>20</xmax><ymax>14</ymax></bndbox></object>
</annotation>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_images(folder, [f"{kind}/{i:02}" for kind in ("cat", "dog") for i in range(7)])
    return folder


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return scan(folder)


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make six images with one box each."""
    files: dict[str, bytes | None] = {}
    for i in range(6):
        files[f"JPEGImages/{i}.png"] = pattern(i, height=16, width=24)
        files[f"Annotations/{i}.xml"] = VOC.format(name=i).encode()
    return lay(tmp_path_factory.mktemp("voc") / "streets", files)


@pytest.fixture(scope="module")
def workers() -> Iterator[LocalWorkers]:
    with LocalWorkers(3) as workers:
        yield workers


def encoded(stream: Stream, epoch: int) -> bytes:
    return arrow_bytes(list(stream.batches(epoch)), stream.layout(epoch))


def test_mixed_batches_are_the_same_bytes_here_and_in_workers(dataset: Dataset, workers: LocalWorkers) -> None:
    here = Stream(dataset, CROP, batch_size=4, seed=5, mix=MIX, drop_last=False)
    expected = encoded(here, 3)
    with Stream(dataset, CROP, batch_size=4, seed=5, mix=MIX, drop_last=False, workers=workers) as stream:
        assert stream.id == here.id
        assert encoded(stream, 3) == expected
    resumed = list(here.batches(3, start=2))
    for batch, again in zip(list(here.batches(3))[2:], resumed, strict=True):
        assert np.array_equal(batch.images, again.images)
        assert np.array_equal(np.asarray(batch.label_weights), np.asarray(again.label_weights))


def test_stream_that_never_mixes_has_the_plain_streams_rows_and_weights(dataset: Dataset) -> None:
    plain = Stream(dataset, CROP, batch_size=4)
    mixed = Stream(dataset, CROP, batch_size=4, mix={"CutMix": {"p": 0}})
    assert plain.id != mixed.id
    for one, other in zip(plain, mixed, strict=True):
        assert np.array_equal(one.images, other.images)
        assert one.provenance == other.provenance
        assert one.label_weights is None
        assert one.labels is not None
        assert np.array_equal(np.asarray(other.label_weights), np.eye(2, dtype=np.float32)[one.labels])


def test_mix_is_part_of_a_streams_id_in_its_canonical_form(dataset: Dataset) -> None:
    ids = [
        Stream(dataset, CROP, mix=mix, batch_size=4).id
        for mix in (None, "MixUp", {"MixUp": {"alpha": 0.8, "p": 1}}, {"MixUp": {"alpha": 0.7}}, "CutMix")
    ]
    assert ids[1] == ids[2]
    assert len(set(ids)) == 4


def test_a_rows_partner_may_be_another_repeat_of_its_record(dataset: Dataset) -> None:
    stream = Stream(dataset, CROP, batch_size=4, repeats=2, mix="MixUp")
    batches = [stream.batch(epoch, 0) for epoch in range(6)]
    told = [(key, one.mixed) for batch in batches for key, one in zip(batch.keys, batch.provenance, strict=True)]
    partners = {key == mixed.partner for key, mixed in told if mixed is not None}
    assert partners == {True, False}


def test_boxes_of_a_mixed_stream_obey_the_pipelines_rules(streets: Path) -> None:
    rules = Pipeline.parse("{transforms: [HorizontalFlip], boxes: {min_width: 6, min_visibility: 0.5}}")
    stream = Stream(streets, rules, batch_size=6, mix={"CutMix": {"per": "row"}})
    boxes = [box for epoch in range(5) for row in stream.batch(epoch, 0).boxes or () for box in row]
    assert len(boxes) > 20
    assert min(box[2] - box[0] for box in boxes) >= 6
    assert stream.batch(0, 0).label_weights is None  # nothing here has a class of its own
    whole = 15 * 11
    assert min((box[2] - box[0]) * (box[3] - box[1]) for box in boxes) >= whole / 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pipeline": CROP, "mix": {"MixUp": {"alph": 1}}}, "did you mean `alpha`"),
        ({"pipeline": CROP, "mix": 0.4}, "is a name or a mapping"),
        ({"views": [CROP, CROP], "mix": "MixUp"}, "several views cannot be mixed"),
    ],
)
def test_mix_that_no_stream_can_have_is_refused_with_its_place(
    dataset: Dataset, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(PipelineError, match=words) as caught:
        Stream(dataset, batch_size=4, **options)
    assert caught.value.problems[0].loc[0] == "mix"


def test_mix_of_images_of_many_sizes_is_refused_with_the_remedy(tmp_path: Path) -> None:
    write_images(tmp_path, ["a/0"], size=(40, 50))
    write_images(tmp_path, ["a/1"], size=(20, 50))
    with pytest.raises(PipelineError, match="end it with Resize"):
        Stream(tmp_path, KEEPS_SIZES, batch_size=2, mix="MixUp")
    assert len(Stream(tmp_path, CROP, batch_size=2, mix="MixUp").batch(0, 0)) == 2


def test_pipeline_that_mixes_is_told_where_to(dataset: Dataset) -> None:
    for text, words in (
        ("{transforms: [HorizontalFlip], mix: MixUp}", "`mix` joins rows of a batch, which only a stream has"),
        (
            "[{MixUp: {alpha: 0.8}}]",
            "MixUp is not available: it joins rows of a batch; give it as the `mix` of a stream",
        ),
    ):
        with pytest.raises(PipelineError) as caught:
            Pipeline.parse(text)
        assert words in str(caught.value)
    assert dataset.num_records == 14


def run(*arguments: object) -> int:
    return app.run([str(argument) for argument in arguments])


def test_preview_draws_the_first_batch_of_a_mixed_stream(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, grid = tmp_path / "crop.yaml", tmp_path / "grid.png"
    file.write_text(CROP.spec.to_yaml())
    arguments = ("preview", folder, "-p", file, "--mix", '{"MixUp": {"alpha": 2}}', "-n", 6, "-o", grid, "--seed", 3)
    assert run(*arguments, "--json") == exit_codes.OK
    cells = json.loads(capsys.readouterr().out)["cells"]
    batch = Stream(folder, CROP, batch_size=6, seed=3, mix={"MixUp": {"alpha": 2}}).batch(0, 0)
    assert [cell["key"] for cell in cells] == batch.keys
    for row, cell in enumerate(cells):
        assert cell["mixed"] == json.loads(json.dumps(batch.provenance[row].as_json()))["mixed"]
        assert sum(cell["label_weights"].values()) == pytest.approx(1, abs=1e-6)
    assert grid.stat().st_size > 1_000
    assert run(*arguments) == exit_codes.OK


@pytest.mark.parametrize(
    ("mix", "words"), [("CutMx", "did you mean `CutMix`"), ("{MixUp: {alpha: 0}}", "more than 0"), ("[", "not YAML")]
)
def test_preview_refuses_a_mix_that_is_none(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], mix: str, words: str
) -> None:
    assert run("preview", folder, "-p", "light", "--mix", mix, "-o", tmp_path / "grid.png") == exit_codes.REQUEST
    assert words in capsys.readouterr().err


def test_preview_of_one_image_has_nothing_to_mix(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("preview", folder / "cat/00.png", "-p", "light", "--mix", "MixUp", "-o", tmp_path / "grid.png")
    assert run(*arguments) == exit_codes.REQUEST
    assert "--mix need a dataset's folder" in capsys.readouterr().err
