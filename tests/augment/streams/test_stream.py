"""A batch is a function of (stream, epoch, index) alone, and its rows are samples."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.datasets.dataset import Dataset
from augment.errors import CallError, DatasetError, PipelineError, Reason
from augment.images.encode import encode_image
from augment.render.pipeline import Pipeline
from augment.samples.sample import Batch
from augment.scanning.scan import scan
from augment.streams.spec import BatchSlice, StreamSpec
from augment.streams.stream import Stream
from augment.transforms.donors.source import REPLACEMENTS
from augment.workers.pool import LocalWorkers
from tests.augment.wire.wire_for_tests import arrow_bytes

PIPELINE = Pipeline.parse("""
transforms:
  - RandomResizedCrop: {size: [16, 24], scale: [0.3, 1.0]}
  - HorizontalFlip: {p: 0.5}
  - OneOf: {p: 0.8, transforms: [{GaussNoise: {}}, {ColorJitter: {}}]}
""")
SAME_SIZE_KEPT = Pipeline.parse("transforms: [HorizontalFlip, {GaussNoise: {p: 0.5}}]")


def write_images(folder: Path, names: list[str], *, size: tuple[int, int] = (40, 50)) -> None:
    for i, name in enumerate(names):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(i).integers(0, 256, (4, 5, 3), dtype=np.uint8)
        image = np.kron(noise, np.ones((size[0] // 4, size[1] // 5, 1), np.uint8))
        path.write_bytes(encode_image(image, "png"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_images(folder, [f"{kind}/{i:02}" for kind in ("cat", "dog") for i in range(11)])
    return folder


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return scan(folder)


@pytest.fixture(scope="module")
def workers() -> Iterator[LocalWorkers]:
    with LocalWorkers(3) as workers:
        yield workers


def encoded(batches: Iterator[Batch] | list[Batch], stream: Stream) -> bytes:
    layout = stream.layout(0)
    return arrow_bytes(list(batches), layout)


def test_stream_gives_each_record_once_an_epoch(dataset: Dataset) -> None:
    stream = Stream(dataset, PIPELINE, batch_size=5, drop_last=False)
    batches = list(stream.batches(epoch=2))
    keys = [key for batch in batches for key in batch.keys]
    assert sorted(keys) == sorted(dataset.keys(range(22)))
    assert [len(batch) for batch in batches] == [5, 5, 5, 5, 2]
    assert np.concatenate([batch.positions for batch in batches]).tolist() == list(range(22))
    images = [np.asarray(batch.images) for batch in batches]
    assert all(one.shape[1:] == (16, 24, 3) and one.dtype == np.uint8 for one in images)
    assert all(
        dataset.classes[label] == key.split("/")[0]
        for batch in batches
        for key, label in zip(batch.keys, np.asarray(batch.labels), strict=True)
    )


def test_stream_epochs_differ_in_order_and_pixels(dataset: Dataset) -> None:
    stream = Stream(dataset, PIPELINE, batch_size=22)
    first, second = stream.batch(0, 0), stream.batch(1, 0)
    assert first.keys != second.keys
    key = first.keys[0]
    assert not np.array_equal(first.images[0], second.images[second.keys.index(key)])


@pytest.mark.parametrize("pipeline", [PIPELINE, SAME_SIZE_KEPT, Pipeline.parse("transforms: [{RandomScale: {p: 1}}]")])
def test_stream_bytes_are_equal_for_any_number_of_workers(
    dataset: Dataset, pipeline: Pipeline, workers: LocalWorkers
) -> None:
    alone = Stream(dataset, pipeline, batch_size=4, seed=9, drop_last=False)
    expected = encoded(alone.batches(3), alone)
    with Stream(dataset, pipeline, batch_size=4, seed=9, drop_last=False, workers=workers) as many:
        assert encoded(many.batches(3), many) == expected
        assert encoded(many.batches(3), many) == expected
    with (
        LocalWorkers(1) as one,
        Stream(dataset, pipeline, batch_size=4, seed=9, drop_last=False, workers=one) as single,
    ):
        assert encoded(single.batches(3), single) == expected


def test_stream_batch_does_not_depend_on_what_was_asked_before(dataset: Dataset) -> None:
    wanted = [(epoch, index) for epoch in (0, 1, 7) for index in (0, 2, 4)]
    fresh = {place: Stream(dataset, PIPELINE, batch_size=4).batch(*place) for place in wanted}
    used = Stream(dataset, PIPELINE, batch_size=4)
    for place in [*reversed(wanted), *wanted]:
        assert encoded([used.batch(*place)], used) == encoded([fresh[place]], used)


def test_stream_rows_are_samples(dataset: Dataset) -> None:
    stream = Stream(dataset, PIPELINE, batch_size=6, seed=4)
    batch = stream.batch(5, 1)
    for image, key in zip(batch.images, batch.keys, strict=True):
        rendered = stream.sample(5, key)
        assert np.array_equal(rendered.sample.image, image)
        assert rendered.applied[0].name == "RandomResizedCrop"


def test_stream_started_in_the_middle_is_the_tail_of_the_whole(dataset: Dataset) -> None:
    stream = Stream(dataset, PIPELINE, batch_size=4)
    whole = list(stream.batches(1))
    assert encoded(stream.batches(1, start=3), stream) == encoded(whole[3:], stream)
    assert encoded(stream.batches(1, start=1, stop=2), stream) == encoded(whole[1:2], stream)


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_stream_ranks_joined_are_the_global_batch(dataset: Dataset, world_size: int) -> None:
    stream = Stream(dataset, PIPELINE, batch_size=4, drop_last=False)
    for index in range(stream.num_batches):
        whole = stream.batch(0, index)
        parts = [stream.batch(0, index, rank=rank, world_size=world_size) for rank in range(world_size)]
        assert all(len(part) for part in parts)
        parts = [part for part in parts if part.is_padding is not None and not part.is_padding.any()]
        assert np.array_equal(np.concatenate([part.images for part in parts]), whole.images)
        assert list(itertools.chain.from_iterable(part.keys for part in parts)) == whole.keys


@given(st.integers(1, 500), st.integers(1, 64), st.integers(1, 8), st.booleans())
def test_positions_of_ranks_cover_each_batch_once(
    num_records: int, share: int, world_size: int, drop_last: bool
) -> None:
    batch_size = share * world_size
    if drop_last and num_records < batch_size:
        return
    spec = StreamSpec("e", "d", None, ("p",), 0, batch_size, True, drop_last, num_records)
    places = [
        position
        for index in range(spec.num_batches)
        for rank in range(world_size)
        for position in spec.positions(BatchSlice(0, index, rank, world_size))
        if not spec.is_padding(BatchSlice(0, index, rank, world_size))
    ]
    assert places == list(range(spec.num_batches * batch_size if drop_last else num_records))


def test_stream_reader_that_leaves_lets_nobody_write_into_a_file_that_follows(
    dataset: Dataset, workers: LocalWorkers, tmp_path: Path
) -> None:
    slow = Pipeline.parse("transforms: [{ElasticTransform: {p: 1}}, {GaussNoise: {p: 1}}]")
    with Stream(dataset, slow, batch_size=2, workers=workers) as stream:
        for _ in range(20):
            reader = stream.batches(0)
            next(reader)
            del reader  # closes it
            others = [(tmp_path / str(i)).open("w+b") for i in range(8)]  # they take the numbers that are free now
            list(stream.batches(1, stop=1))
            assert all(other.seek(0, 2) == 0 for other in others)
            for other in others:
                other.close()


def test_stream_id_names_everything_the_batches_depend_on(dataset: Dataset, folder: Path) -> None:
    base = Stream(dataset, PIPELINE, batch_size=4)
    assert Stream(scan(folder), Pipeline.parse(PIPELINE.spec.to_json()), batch_size=4).id == base.id
    others = [
        Stream(dataset, PIPELINE, batch_size=2),
        Stream(dataset, PIPELINE, batch_size=4, seed=1),
        Stream(dataset, PIPELINE, batch_size=4, shuffle=False),
        Stream(dataset, PIPELINE, batch_size=4, drop_last=False),
        Stream(dataset, SAME_SIZE_KEPT, batch_size=4),
    ]
    assert len({base.id, *(other.id for other in others)}) == 6


def test_stream_shape_is_decided_for_all_batches(dataset: Dataset, tmp_path: Path) -> None:
    assert Stream(dataset, PIPELINE, batch_size=4).image_shape == (16, 24, 3)
    assert Stream(dataset, SAME_SIZE_KEPT, batch_size=4).image_shape == (40, 50, 3)
    write_images(tmp_path, ["a", "b"])
    write_images(tmp_path, ["c"], size=(80, 20))
    mixed = Stream(scan(tmp_path), SAME_SIZE_KEPT, batch_size=3)
    assert mixed.image_shape is None
    assert sorted(image.shape for image in mixed.batch(0, 0).images) == [(40, 50, 3), (40, 50, 3), (80, 20, 3)]
    assert mixed.batch(0, 0).labels is None


def break_image(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


def test_stream_replaces_a_refused_record_by_the_next_and_says_so(tmp_path: Path) -> None:
    write_images(tmp_path, [f"p{i}" for i in range(12)])
    break_image(tmp_path / "p3.png")
    break_image(tmp_path / "p7.png")
    stream = Stream(scan(tmp_path), PIPELINE, batch_size=4)
    wanted = Stream(scan(tmp_path), PIPELINE, batch_size=4, seed=0)
    assert stream.id == wanted.id
    order = [
        key for batch in stream.batches(0) for key in (r or k for k, r in zip(batch.keys, batch.replaces, strict=True))
    ]
    assert sorted(order) == sorted(f"p{i}" for i in range(12))
    for batch in stream.batches(0):
        for position, key, replaced in zip(batch.positions, batch.keys, batch.replaces, strict=True):
            if replaced is None:
                continue
            assert replaced in {"p3", "p7"}
            following = [order[(position + step) % 12] for step in range(1, REPLACEMENTS + 1)]
            assert key == next(other for other in following if other not in {"p3", "p7"})
            assert {refusal.reason for refusal in batch.refusals} == {Reason.UNDECODABLE}
            assert replaced in {refusal.key for refusal in batch.refusals}


def test_stream_of_broken_records_only_is_an_error_that_names_one(tmp_path: Path) -> None:
    write_images(tmp_path, [f"p{i}" for i in range(4)])
    for path in tmp_path.iterdir():
        break_image(path)
    stream = Stream(scan(tmp_path), PIPELINE, batch_size=2)
    with pytest.raises(DatasetError, match=r"record p\d is refused .*remove broken records"):
        stream.batch(0, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 23}, "drop_last"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**64}, "seed is"),
    ],
)
def test_stream_refuses_arguments_out_of_range(dataset: Dataset, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(CallError, match=message):
        Stream(dataset, PIPELINE, **arguments)


def test_stream_refuses_places_that_do_not_exist(dataset: Dataset) -> None:
    stream = Stream(dataset, PIPELINE, batch_size=4)
    with pytest.raises(CallError, match="epoch is -1; it must be an integer in"):
        stream.batch(-1, 0)
    with pytest.raises(CallError, match="batches 0 to 4"):
        stream.batch(0, 5)
    with pytest.raises(CallError, match="must divide"):
        stream.batch(0, 0, rank=0, world_size=3)
    with pytest.raises(CallError, match="ranks are 0 to 1"):
        stream.batch(0, 0, rank=2, world_size=2)
    with pytest.raises(CallError, match="start <= stop"):
        stream.batches(0, start=4, stop=2)


def test_rows_of_images_that_are_too_small_are_replaced_however_many_there_are(tmp_path: Path) -> None:
    """Nine of ten consecutive records are too small, but only those that fit count as one of eight replacements."""
    write_images(tmp_path, [f"tiny{i}" for i in range(36)], size=(4, 40))
    write_images(tmp_path, [f"good{i}" for i in range(2)], size=(24, 25))
    stream = Stream(
        tmp_path, Pipeline.parse("transforms: [{RandomCrop: {height: 16, width: 16, p: 0.5}}]"), batch_size=19
    )
    assert "36 of 38 images are too small" in stream.notices[0]
    for epoch in range(2):
        for batch in stream.batches(epoch):
            assert {key[:4] for key in batch.keys} == {"good"}
            assert sum(replaced is not None for replaced in batch.replaces) >= 17
            assert {refusal.reason for refusal in batch.refusals} == {Reason.NOT_RENDERABLE}


def test_stream_of_which_no_image_fits_is_refused_by_the_name_of_the_smallest(tmp_path: Path) -> None:
    write_images(tmp_path, ["a"], size=(8, 40))
    write_images(tmp_path, ["b"], size=(40, 5))
    crop = Pipeline.parse("transforms: [{CenterCrop: {height: 16, width: 16}}]")
    with pytest.raises(PipelineError, match=r"`CenterCrop` cannot take `b` \(40 x 5\): it crops 16 x 16"):
        Stream(tmp_path, crop, batch_size=1)


def test_stream_refuses_a_pipeline_that_cannot_hold_for_the_dataset(dataset: Dataset) -> None:
    with pytest.raises(PipelineError, match="100"):
        Stream(dataset, Pipeline.parse("transforms: [{RandomCrop: {height: 100, width: 100, p: 1}}]"), batch_size=4)
