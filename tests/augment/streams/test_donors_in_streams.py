"""Mosaic and CopyPaste in streams, expansions and previews of a dataset with objects."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augment.datasets.dataset import Dataset
from augment.errors import PipelineError
from augment.expansion.expand import expand_dataset
from augment.images.encode import encode_image
from augment.render.pipeline import Pipeline
from augment.render.renderer import Renderer
from augment.samples.sample import Batch, Sample
from augment.scanning.scan import scan
from augment.streams.stream import Stream
from augment.workers.pool import LocalWorkers
from tests.augment.folders_for_tests import lay
from tests.augment.transforms.catalogue_cases import some
from tests.augment.transforms.donors_cases import drawn, extent, shows
from tests.augment.wire.wire_for_tests import arrow_bytes

CLASSES = tuple("abcdefgh")
MOSAIC = """
transforms:
  - HorizontalFlip: {p: 0.5}
  - Mosaic: {size: [80, 100], interpolation: 6, area_for_downscale: null}
  - VerticalFlip: {p: 0.5}
"""
COPY_PASTE = """
transforms:
  - CopyPaste: {num_donors: 2, interpolation: 6, area_for_downscale: null, scale_range: [0.5, 1.5], p: 1}
  - Resize: {height: 40, width: 60, interpolation: 6}
boxes: {min_visibility: 0.1}
"""


def patterns(first: int, count: int) -> dict[str, Sample]:
    """Images of two objects each; their numbers start at ``first``."""
    boxes = ((4, 6, 24, 26), (30, 14, 56, 36))
    return {f"{nth:02}": drawn(first + 2 * nth, 40, 60, *boxes).sample for nth in range(count)}


def coco(samples: dict[str, Sample]) -> dict[str, Any]:
    """The images and their objects as Roboflow writes COCO."""
    objects: list[dict[str, Any]] = []
    for place, sample in enumerate(samples.values()):
        for box, label, point in zip(
            some(sample.boxes).tolist(), some(sample.box_labels).tolist(), some(sample.keypoints).tolist(), strict=True
        ):
            left, top, right, bottom = box
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": place,
                    "category_id": label,
                    "bbox": [left, top, right - left, bottom - top],
                    "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
                    "keypoints": [point[0] + 0.5, point[1] + 0.5, 2],
                    "iscrowd": 0,
                }
            )
    return {
        "images": [
            {"id": place, "file_name": f"{key}.png", "height": 40, "width": 60} for place, key in enumerate(samples)
        ],
        "annotations": objects,
        "categories": [{"id": i, "name": name, "keypoints": ["middle"]} for i, name in enumerate(CLASSES)],
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files: dict[str, bytes | None] = {}
    for split, samples in (("train", patterns(0, 6)), ("valid", patterns(12, 2))):
        files[f"{split}/_annotations.coco.json"] = json.dumps(coco(samples)).encode()
        files |= {f"{split}/{key}.png": encode_image(sample.image, "png") for key, sample in samples.items()}
    return lay(tmp_path_factory.mktemp("objects"), files)


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return scan(folder)


@pytest.fixture(scope="module")
def workers() -> Iterator[LocalWorkers]:
    with LocalWorkers(3) as workers:
        yield workers


def each(values: Sequence[np.ndarray] | None) -> Sequence[np.ndarray]:
    """Return the arrays of a batch's rows, which must be present."""
    assert values is not None
    return values


def seen_numbers(image: np.ndarray) -> set[int]:
    return {number for number in range(16) if shows(image, number).any()}


def assert_boxes_match(batch: Batch) -> None:
    """Check that each box surrounds one object of its class's colour."""
    for image, boxes, labels, masks in zip(
        np.asarray(batch.images), each(batch.boxes), each(batch.box_labels), each(batch.instance_masks), strict=True
    ):
        for box, label, mask in zip(boxes, labels, masks, strict=True):
            there = [shows(image, number) & (mask > 0) for number in range(16) if number % 8 == label]
            matches = [np.abs(box - extent(seen)).max() for seen in there if seen.any()]
            assert min(matches) <= 1.0


@pytest.mark.parametrize("text", [MOSAIC, COPY_PASTE])
def test_batches_are_the_same_in_one_process_and_in_three(text: str, dataset: Dataset, workers: LocalWorkers) -> None:
    pipeline = Pipeline.parse(text)
    encoded = []
    for pool in (None, workers):
        stream = Stream(dataset, pipeline, batch_size=3, seed=5, workers=pool)
        encoded.append(arrow_bytes(list(stream.batches(1)), stream.layout(0)))
    assert encoded[0] == encoded[1]


def test_targets_of_a_stream_of_mosaics_are_where_the_pixels_are(dataset: Dataset) -> None:
    stream = Stream(dataset, Pipeline.parse(MOSAIC), batch_size=6)
    for epoch in range(4):
        (batch,) = stream.batches(epoch)
        assert np.asarray(batch.images).shape == (6, 80, 100, 3)
        assert_boxes_match(batch)
        for image, points, visibility in zip(
            np.asarray(batch.images), each(batch.keypoints), each(batch.keypoint_visibility), strict=True
        ):
            assert ((visibility > 0) == np.isfinite(points).all(axis=1)).all()
            for x, y in points[visibility > 0]:
                assert image[round(float(y)), round(float(x)), 2] == 255  # an object


def test_targets_of_a_stream_of_pasted_objects_are_where_the_pixels_are(dataset: Dataset) -> None:
    stream = Stream(dataset, Pipeline.parse(COPY_PASTE.replace("min_visibility: 0.1", "")), batch_size=6)
    counts = set()
    for epoch in range(4):
        (batch,) = stream.batches(epoch)
        assert_boxes_match(batch)
        counts |= {len(boxes) for boxes in each(batch.boxes)}
    assert max(counts) > 2


def test_donors_are_of_the_same_split_alone(dataset: Dataset) -> None:
    pipeline = Pipeline.parse("[Mosaic: {size: [80, 120], num_images: 9, fit_mode: contain, interpolation: 6}]")
    for split, allowed in (("train", set(range(12))), ("valid", set(range(12, 16)))):
        stream = Stream(dataset, pipeline, split=split, batch_size=2)
        found: set[int] = set()
        for epoch in range(3):
            for batch in stream.batches(epoch):
                found |= set().union(*map(seen_numbers, np.asarray(batch.images)))
        assert found == allowed


def test_provenance_names_donors_and_counts_what_was_dropped(dataset: Dataset) -> None:
    renderer = Renderer(dataset.choose("train"), Pipeline.parse(MOSAIC).spec)
    rendered = renderer.render(renderer.dataset.record(2), draw=0)
    (mosaic,) = (one for one in rendered.applied if one.name == "Mosaic")
    assert len(mosaic.params["donors"]) == 3  # type: ignore[arg-type]  # JSON
    assert set(mosaic.params["donors"]) <= set(renderer.dataset.keys(range(6)))  # type: ignore[call-overload]
    assert {"order", "center", "image_0", "image_3"} <= mosaic.params.keys()
    rows = some(rendered.sample.box_rows)
    assert rendered.dropped.get("boxes", 0) == 2 - np.isin([0, 1], rows).sum()
    donors = {key: patterns(0, 6)[key] for key in mosaic.params["donors"]}  # type: ignore[attr-defined]
    shown = set().union(*(set(some(sample.box_rows).tolist()) for sample in (*donors.values(), patterns(0, 6)["02"])))
    assert seen_numbers(rendered.sample.image) <= shown


def test_every_address_depends_on_the_split_where_donors_are_taken(folder: Path, tmp_path: Path) -> None:
    samples = patterns(0, 7)
    files: dict[str, bytes | None] = {"train/_annotations.coco.json": json.dumps(coco(samples)).encode()}
    files |= {f"train/{key}.png": encode_image(sample.image, "png") for key, sample in samples.items()}
    before, after = (scan(root).choose("train") for root in (folder, lay(tmp_path / "more", files)))
    keys = {}
    for name, text in (("with", MOSAIC), ("without", "[HorizontalFlip]")):
        renderers = [Renderer(one, Pipeline.parse(text).spec) for one in (before, after)]
        keys[name] = [one.render(one.dataset.record(0), draw=0).render_key for one in renderers]
    assert keys["with"][0] != keys["with"][1]
    assert keys["without"][0] == keys["without"][1]


def test_boxes_below_the_visibility_that_is_asked_for_go(dataset: Dataset) -> None:
    text = "transforms: [Mosaic: {size: [40, 60]}]\nboxes: {min_visibility: %s}"
    counts = []
    for share in (0, 0.5, 0.999):
        batches = Stream(dataset, Pipeline.parse(text % share), batch_size=6).batches(0)
        counts.append(sum(len(boxes) for batch in batches for boxes in each(batch.boxes)))
    assert counts[0] > counts[1] > counts[2]


@pytest.mark.parametrize("outside", ["keep", "mark", "drop"])
def test_keypoints_that_a_mosaic_hides_are_lost_or_dropped(outside: str, dataset: Dataset) -> None:
    text = f"transforms: [Mosaic: {{size: [40, 60]}}, HorizontalFlip]\nkeypoints: {{outside: {outside}}}"
    (batch,) = Stream(dataset, Pipeline.parse(text), batch_size=6).batches(0)
    points = np.concatenate(each(batch.keypoints))
    lost = np.isnan(points).any(axis=1)
    assert lost.any() == (outside != "drop")
    assert np.array_equal(lost, np.concatenate(each(batch.keypoint_visibility)) == 0)
    inside = (points[~lost] >= -0.5) & (points[~lost] < (59.5, 39.5))
    assert inside.all()


def test_expansion_of_joined_images_is_read_back_with_its_boxes(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pipeline = Pipeline.parse(COPY_PASTE)
    summary = expand_dataset(folder, out, pipeline, split="train", copies=2, image_format="png")
    assert summary.num_rendered == 12
    written = scan(out)
    source = Renderer(scan(folder).choose("train"), pipeline.spec)
    again = Stream(written, Pipeline.parse("[NoOp]"), batch_size=12, shuffle=False)
    (batch,) = again.batches(0)
    assert_boxes_match(batch)
    for key, image, boxes, labels in zip(
        batch.keys, np.asarray(batch.images), each(batch.boxes), each(batch.box_labels), strict=True
    ):
        name, _, copy = key.rpartition("__")
        place = source.dataset.find(name)
        assert place is not None
        rendered = source.render(source.dataset.record(place), draw=int(copy)).sample
        assert np.array_equal(image, rendered.image)
        assert np.allclose(boxes, some(rendered.boxes), atol=0.01)
        assert np.array_equal(labels, some(rendered.box_labels))


def test_expansion_says_what_donors_brought_to_an_image_without_objects(tmp_path: Path) -> None:
    samples = patterns(0, 2) | {"empty": drawn(9, 40, 60).sample}
    said = coco(samples)
    for one in said["annotations"]:
        one["iscrowd"] = one["category_id"] % 2
    files: dict[str, bytes | None] = {"_annotations.coco.json": json.dumps(said).encode()}
    files |= {f"{key}.png": encode_image(sample.image, "png") for key, sample in samples.items()}
    pipeline = Pipeline.parse("[Mosaic: {size: [80, 120], num_images: 9, fit_mode: contain}]")
    expand_dataset(lay(tmp_path / "data", files), tmp_path / "out", pipeline, image_format="png")
    written = json.loads((tmp_path / "out/annotations.json").read_text())
    names = {one["id"]: one["file_name"] for one in written["images"]}
    classes = {one["id"]: one["name"] for one in written["categories"]}
    of_empty = [one for one in written["annotations"] if names[one["image_id"]].startswith("empty")]
    assert len(of_empty) >= 8
    assert all(one["iscrowd"] == CLASSES.index(classes[one["category_id"]]) % 2 for one in written["annotations"])


def test_expansion_renders_every_copy_again_when_the_split_gains_an_image(folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(folder / "valid", data)
    pipelines = {"with": Pipeline.parse(MOSAIC), "without": Pipeline.parse("[HorizontalFlip]")}
    for name, pipeline in pipelines.items():
        assert expand_dataset(data, tmp_path / name, pipeline, image_format="png").num_rendered == 2
    samples = patterns(12, 3)
    lay(data, {"_annotations.coco.json": json.dumps(coco(samples)).encode()})
    lay(data, {"02.png": encode_image(samples["02"].image, "png")})
    rendered = {
        name: expand_dataset(data, tmp_path / name, pipeline, image_format="png", update=True).num_rendered
        for name, pipeline in pipelines.items()
    }
    assert rendered == {"with": 3, "without": 1}


def test_one_image_alone_cannot_be_joined() -> None:
    pipeline = Pipeline.parse("[HorizontalFlip, Mosaic: {size: [40, 60]}]")
    with pytest.raises(PipelineError, match="use it in a stream or an expansion of a dataset") as caught:
        pipeline(patterns(0, 1)["00"])
    assert caught.value.problems[0].loc == ("transforms", 1, "Mosaic")


def test_joining_node_in_a_container_is_refused() -> None:
    with pytest.raises(PipelineError, match="cannot be in a container"):
        Pipeline.parse("[OneOf: {transforms: [Mosaic: {size: [40, 60]}, NoOp]}]")
