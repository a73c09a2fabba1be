"""Repeats and views: the record and draw of each row, and the inverse from a view to its original."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augment.datasets.dataset import Dataset
from augment.errors import CallError, PipelineError
from augment.images.encode import encode_image
from augment.pipelines.spec import PipelineSpec
from augment.render.pipeline import Pipeline
from augment.samples.sample import Batch, Sample
from augment.scanning.scan import scan
from augment.streams.stream import Stream
from augment.transforms.catalogue import catalogue
from augment.transforms.resolve import resolve
from augment.transforms.runtime.compiler import Compiled
from augment.workers.pool import LocalWorkers
from tests.augment.streams.test_stream import write_images
from tests.augment.transforms.catalogue_cases import MOVING, POLICIES, node

CROP = Pipeline.parse("""
transforms:
  - RandomResizedCrop: {size: [16, 24], scale: [0.3, 1.0]}
  - HorizontalFlip: {p: 0.5}
""")
LOCAL = Pipeline.parse("transforms: [{RandomResizedCrop: {size: [8, 8], scale: [0.1, 0.4]}}]")
VIEWS = [{"pipeline": CROP, "count": 2}, {"pipeline": LOCAL, "count": 3}]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("photos")
    write_images(folder, [f"{kind}/{i:02}" for kind in ("cat", "dog") for i in range(7)])
    return scan(folder)


@pytest.fixture(scope="module")
def workers() -> Iterator[LocalWorkers]:
    with LocalWorkers(3) as workers:
        yield workers


def by_key(batches: Iterator[Batch]) -> dict[str, list[np.ndarray]]:
    found: dict[str, list[np.ndarray]] = {}
    for batch in batches:
        for key, image in zip(batch.keys, batch.images, strict=True):
            found.setdefault(key, []).append(image)
    return found


def test_repeats_of_an_epoch_are_the_plain_streams_next_epochs(dataset: Dataset) -> None:
    plain = Stream(dataset, CROP, batch_size=6, seed=3, drop_last=False)
    repeated = Stream(dataset, CROP, batch_size=6, seed=3, drop_last=False, repeats=3)
    assert (repeated.num_batches, repeated.num_records) == (7, 14)
    epochs = [by_key(plain.batches(epoch)) for epoch in (6, 7, 8)]
    rows = by_key(repeated.batches(2))
    assert set(rows) == set(dataset.keys(range(14)))
    for key, images in rows.items():
        assert all(np.array_equal(image, epoch[key][0]) for image, epoch in zip(images, epochs, strict=True))


def test_repeats_stand_side_by_side_in_the_order_of_the_epoch(dataset: Dataset) -> None:
    plain = Stream(dataset, CROP, batch_size=2, seed=3).batch(1, 0)
    repeated = Stream(dataset, CROP, batch_size=6, seed=3, repeats=3).batch(1, 0)
    assert repeated.keys == [key for key in plain.keys for _ in range(3)]
    assert repeated.positions.tolist() == list(range(6))


def test_repeats_have_addresses_of_their_own(dataset: Dataset) -> None:
    stream = Stream(dataset, CROP, batch_size=6, seed=3, repeats=3)
    batch = stream.batch(1, 0)
    for row, key in enumerate(batch.keys):
        rendered = stream.sample(1, key, repeat=row % 3)
        assert np.array_equal(rendered.sample.image, batch.images[row])
        assert rendered.render_key == batch.provenance[row].render_key
    assert len({each.render_key for each in batch.provenance}) == 6


def test_refused_record_is_replaced_in_each_of_its_repeats_by_the_same_one(tmp_path: Path) -> None:
    write_images(tmp_path, [f"{i}" for i in range(5)])
    dataset = scan(tmp_path)
    stream = Stream(dataset, CROP, batch_size=10, repeats=2)
    first = stream.batch(0, 0).keys[0]
    (tmp_path / f"{first}.png").unlink()
    batch = stream.batch(0, 0)
    assert batch.replaces == [first, first, *[None] * 8]
    assert batch.keys[:2] == batch.keys[2:4]
    assert [refusal.key for refusal in batch.refusals] == [first]
    assert np.array_equal(np.asarray(batch.images)[:2], np.asarray(batch.images)[2:4]), "of the same draws"


def test_views_are_the_samples_of_their_numbers(dataset: Dataset) -> None:
    stream = Stream(dataset, views=VIEWS, batch_size=4, seed=3)
    batch = stream.batch(2, 1)
    assert [np.asarray(view.images).shape[1:3] for view in batch.views] == [(16, 24)] * 2 + [(8, 8)] * 3
    for number, view in enumerate(batch.views):
        assert view.keys == batch.keys
        for row, key in enumerate(batch.keys):
            rendered = stream.sample(2, key, view=number)
            assert np.array_equal(rendered.sample.image, view.images[row])
            assert rendered.render_key == view.provenance[row].render_key
    assert len({each.render_key for view in batch.views for each in view.provenance}) == 20


def test_views_are_the_same_with_workers_and_cut_for_ranks(dataset: Dataset, workers: LocalWorkers) -> None:
    options: dict[str, Any] = {"views": VIEWS, "batch_size": 4, "seed": 3, "repeats": 2}
    here = Stream(dataset, **options)
    with Stream(dataset, workers=workers, **options) as there:
        assert here.id == there.id
        for one, other in zip(here.batches(1), there.batches(1), strict=True):
            for ours, theirs in zip(one.views, other.views, strict=True):
                assert np.array_equal(ours.images, theirs.images)
                assert np.array_equal(ours.inverses, theirs.inverses)  # type: ignore[arg-type]  # both are there
                assert list(ours.provenance) == list(theirs.provenance)
    whole, ranks = here.batch(1, 0), [here.batch(1, 0, rank=rank, world_size=2) for rank in (0, 1)]
    for number, view in enumerate(whole.views):
        parts = [np.asarray(rank.views[number].images) for rank in ranks]
        assert np.array_equal(np.concatenate(parts), view.images)


def test_mixed_batches_are_cut_for_ranks_after_they_are_mixed(dataset: Dataset) -> None:
    stream = Stream(dataset, CROP, batch_size=4, seed=3, mix={"OneOf": {"transforms": ["MixUp", "CutMix"]}})
    for index in range(3):
        whole, ranks = stream.batch(0, index), [stream.batch(0, index, rank=r, world_size=2) for r in (0, 1)]
        assert np.array_equal(np.concatenate([np.asarray(part.images) for part in ranks]), whole.images)
        weights = [np.asarray(part.label_weights) for part in ranks]
        assert np.array_equal(np.concatenate(weights), np.asarray(whole.label_weights))
        assert np.allclose(np.sum(np.asarray(whole.label_weights), axis=1), 1, atol=1e-6)


def test_sample_of_a_mixed_stream_is_not_mixed(dataset: Dataset) -> None:
    plain, mixed = Stream(dataset, CROP, batch_size=4), Stream(dataset, CROP, batch_size=4, mix="MixUp")
    key = plain.batch(0, 0).keys[0]
    assert np.array_equal(plain.sample(0, key).sample.image, mixed.sample(0, key).sample.image)
    assert not np.array_equal(plain.batch(0, 0).images, mixed.batch(0, 0).images)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pipeline": CROP, "views": VIEWS}, "both given"),
        ({}, "or `views`, a list of them"),
        ({"views": []}, "views is"),
        ({"views": "dino"}, "views is 'dino'"),
        ({"views": [{"pipeline": CROP, "count": 0}]}, r"views\.0\.count"),
        ({"views": [{"pipeline": CROP, "counts": 2}]}, "views.0 has 'counts'"),
        ({"views": [{"pipeline": CROP, "count": 65}]}, "64"),
        ({"views": [CROP] * 65}, "VIEWS_MAX"),
        ({"views": [CROP, 5]}, r"views\.1\.pipeline is 5"),
        ({"views": [{"count": 2}]}, r"views\.0\.pipeline is None"),
        ({"pipeline": CROP, "references": {5: "folder"}}, "the name of references is 5"),
        ({"pipeline": CROP, "repeats": 0}, "repeats is 0"),
        ({"pipeline": CROP, "repeats": 3}, "must divide batch_size, which is 4"),
        ({"pipeline": CROP, "repeats": 2, "batch_size": 30}, "an epoch has only 28 rows"),
    ],
)
def test_what_no_stream_can_be_is_refused(dataset: Dataset, options: dict[str, Any], words: str) -> None:
    with pytest.raises(CallError, match=words.replace("(", r"\(")):
        Stream(dataset, **{"batch_size": 4, **options})


def test_problem_of_a_views_pipeline_has_its_place(dataset: Dataset) -> None:
    with pytest.raises(PipelineError) as caught:
        Stream(dataset, views=[CROP, {"pipeline": "simclrr"}], batch_size=4)
    assert caught.value.problems[0].loc == ("views", 1, "pipeline")


# ------------------------------------------------------------------------------------------------------- the way back


def places(height: int, width: int) -> np.ndarray:
    """Return an image whose colours encode each pixel's position: red counts columns, green rows."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(width) * 2
    image[..., 1] = np.arange(height)[:, np.newaxis] * 2
    image[..., 2] = 255
    return image


@pytest.mark.parametrize("name", [name for name in MOVING if name not in POLICIES])
@pytest.mark.parametrize("draw", [1, 2])
def test_matrix_leads_from_each_pixel_to_the_one_it_shows(name: str, draw: int) -> None:
    height, width = 61, 83
    fixed = {"border_mode": 0} if "border_mode" in catalogue()[name].schema["properties"] else {}
    spec = PipelineSpec((node(name, **fixed), node("HorizontalFlip")))
    given = Sample(places(height, width))
    if catalogue()[name].requires:
        mask = np.zeros((height, width), np.uint8)
        mask[20:40, 30:60] = 1
        given.mask, given.boxes = mask, np.array([[30, 20, 60, 40]], np.float32)
        given.box_labels = np.array([1])
    made = Compiled(spec, points=True)(given, seed=0, draw=draw, view=0, key="k")
    if made.matrix is None:
        return  # a distortion: no matrix says it
    back = np.linalg.inv(made.matrix)
    rows, columns = np.indices(made.sample.image.shape[:2])
    ahead = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ back.T
    x, y = ahead[..., 0] / ahead[..., 2], ahead[..., 1] / ahead[..., 2]
    seen = (x > 3) & (x < width - 4) & (y > 3) & (y < height - 4) & (made.sample.image[..., 2] == 255)
    shown = made.sample.image / 2
    away = np.hypot(shown[..., 0] - x, shown[..., 1] - y)[seen]
    assert seen.any()
    assert np.quantile(away, 0.98) < 1.5, "what resampling and a dilation may shift"


@pytest.mark.parametrize("name", POLICIES)
def test_matrix_of_a_policy_is_where_keypoints_went(name: str) -> None:
    """The other operations of a policy change the colours that the test above reads."""
    points = np.array([[5, 5], [40, 10], [20, 50], [70, 30]], np.float32)
    transform = Compiled(PipelineSpec((node(name, **({"geometric": False} if name == "AugMix" else {})),)), points=True)
    for draw in range(20):
        made = transform(Sample(places(61, 83), keypoints=points), seed=0, draw=draw, view=0, key="k")
        assert made.matrix is not None
        there = np.column_stack([points, np.ones(4)]) @ made.matrix.T
        assert np.allclose(there[:, :2], np.asarray(made.sample.keypoints), atol=1e-3)


def test_distortions_have_no_matrix() -> None:
    spec = resolve({"transforms": [{"ElasticTransform": {"alpha": 40, "sigma": 4, "p": 1}}]})
    made = Compiled(spec, points=True)(Sample(places(40, 50)), seed=0, draw=0, view=0, key="k")
    assert made.matrix is None


def test_inverse_counts_the_pixels_of_the_original_where_less_of_it_is_decoded(tmp_path: Path) -> None:
    large = np.kron(places(75, 100), np.ones((8, 8, 1), np.uint8))
    (tmp_path / "one.jpg").write_bytes(encode_image(large, "jpeg", 95))
    view = Pipeline.parse("transforms: [{Resize: {height: 75, width: 100}}, HorizontalFlip]")
    batch = Stream(tmp_path, views=[view], batch_size=1).batch(0, 0)
    assert batch.source_sizes is not None
    assert batch.inverses is not None
    assert batch.source_sizes.tolist() == [[600, 800]]
    row, column = 30, 20
    x, y, _ = batch.inverses[0] @ (column, row, 1)
    red, green, _ = np.asarray(batch.images)[0, row, column] / 2
    assert x == pytest.approx(red * 8 + 3.5, abs=8)
    assert y == pytest.approx(green * 8 + 3.5, abs=8)
