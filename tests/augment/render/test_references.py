"""Reference datasets of pipelines: part of the address, checked before anything is scanned or rendered."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import augment
from augment.datasets.dataset import Dataset
from augment.errors import CallError, DatasetError, PipelineError, RecordError
from augment.render import references
from augment.render.pipeline import Pipeline
from augment.scanning.scan import scan
from augment.streams.stream import Stream
from augment.workers.pool import LocalWorkers
from tests.augment.expansion.expansions_for_tests import lay_noise
from tests.augment.wire.wire_for_tests import arrow_bytes

PIPELINE = Pipeline.parse("""
transforms:
  - Resize: {height: 20, width: 24}
  - FDA: {references: styles, p: 0.8}
  - OneOf: {p: 0.5, transforms: [{TemplateTransform: {references: styles}}, {OverlayElements: {references: signs}}]}
""")


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return scan(lay_noise(tmp_path / "data", [f"{i}.jpg" for i in range(8)]))


@pytest.fixture
def styles(tmp_path: Path) -> Dataset:
    return scan(lay_noise(tmp_path / "styles", [f"style {i}.jpg" for i in range(5)], height=30, width=17))


@pytest.fixture
def signs(tmp_path: Path) -> Path:
    return lay_noise(tmp_path / "signs", ["stop.jpg", "way.jpg"])


@pytest.fixture(scope="module")
def workers() -> Iterator[LocalWorkers]:
    with LocalWorkers(3) as workers:
        yield workers


def content(stream: Stream) -> bytes:
    return arrow_bytes(list(stream.batches(0)), stream.layout(0))


def test_stream_has_the_same_bytes_here_and_from_three_workers(
    data: Dataset, styles: Dataset, signs: Path, workers: LocalWorkers
) -> None:
    bound: references.References = {"styles": styles, "signs": signs}
    alone = Stream(data, PIPELINE, batch_size=4, references=bound)
    with Stream(data, PIPELINE, batch_size=4, references=bound, workers=workers) as shared:
        assert content(shared) == content(alone)
        assert shared.id == alone.id


def test_other_content_of_references_is_another_stream_and_other_render_keys(
    data: Dataset, styles: Dataset, signs: Path
) -> None:
    one = Stream(data, PIPELINE, batch_size=4, references={"styles": styles, "signs": signs})
    again = Stream(data, PIPELINE, batch_size=4, references={"signs": signs, "styles": scan(styles.root)})
    lay_noise(styles.root, ["new.jpg"])
    other = Stream(data, PIPELINE, batch_size=4, references={"styles": styles.root, "signs": signs})
    assert one.id == again.id != other.id
    samples = [stream.sample(0, "3") for stream in (one, again, other)]
    assert samples[0].render_key == samples[1].render_key != samples[2].render_key
    assert np.array_equal(samples[0].sample.image, samples[1].sample.image)


def test_references_of_a_dataset_with_splits_are_those_of_its_training_split(data: Dataset, tmp_path: Path) -> None:
    lay_noise(tmp_path / "split", ["train/a.jpg", "train/b.jpg", "val/c.jpg"])
    pipeline = Pipeline.parse("transforms: [{HistogramMatching: {references: styles, p: 1}}]")
    stream = Stream(data, pipeline, batch_size=1, references={"styles": tmp_path / "split"})
    drawn = {stream.sample(epoch, "3").applied[0].params["reference"] for epoch in range(12)}
    assert drawn == {"a", "b"}


def test_lack_of_references_is_told_before_anything_is_scanned(data: Dataset, styles: Dataset) -> None:
    with pytest.raises(PipelineError) as caught:
        Stream("/nowhere", PIPELINE, references={"styles": styles})
    (problem,) = caught.value.problems
    assert problem.loc == ("transforms", 2, "OneOf", "transforms", 1, "OverlayElements", "references")
    assert "`OverlayElements` takes images of the dataset `signs`, which is missing" in problem.msg
    with pytest.raises(PipelineError):
        Stream(data, PIPELINE)


def test_references_that_nothing_takes_or_that_are_no_dataset_are_refused(data: Dataset, signs: Path) -> None:
    bound: references.References = {"styles": signs, "signs": signs, "style": signs}
    with pytest.raises(CallError, match="'style', which no transform uses; did you mean `styles`"):
        Stream(data, PIPELINE, references=bound)
    with pytest.raises(CallError, match="use none"):
        references.take({"styles": signs}, [Pipeline.load("light").spec])
    with pytest.raises(CallError, match="give a mapping of names to datasets"):
        references.take([signs], [PIPELINE.spec])  # type: ignore[arg-type]  # the point
    with pytest.raises(DatasetError):
        references.take({"styles": signs / "nowhere", "signs": signs}, [PIPELINE.spec])


def test_reference_whose_file_changed_refuses_the_record(data: Dataset, tmp_path: Path) -> None:
    one = scan(lay_noise(tmp_path / "one", ["only.jpg"]))
    pipeline = Pipeline.parse("transforms: [{FDA: {references: styles, p: 1}}]")
    stream = Stream(data, pipeline, batch_size=1, references={"styles": one})
    lay_noise(one.root, ["only.jpg"], edition="other")
    with pytest.raises(RecordError, match="3: changed: FDA takes `only`"):
        stream.sample(0, "3")


def test_pipeline_that_is_called_takes_datasets_or_images(styles: Dataset) -> None:
    pipeline = Pipeline.parse("transforms: [{TemplateTransform: {references: styles, img_weight: 0, p: 1}}]")
    image = np.zeros((30, 17, 3), np.uint8)
    of_folder = pipeline(image, key="k", references={"styles": styles})
    there = [augment.decode_image(styles.read(record)) for record in styles]
    assert any(np.array_equal(of_folder, each) for each in there)
    assert np.array_equal(pipeline(image, key="k", references={"styles": there}), of_folder)
    assert np.array_equal(pipeline(image, references={"styles": there[:1]}), there[0])
    with pytest.raises(PipelineError, match="`TemplateTransform` takes images of the dataset `styles`"):
        pipeline(image)
    with pytest.raises(CallError, match=r"augment\.scan reads a folder"):
        pipeline(image, references={"styles": "styles"})
