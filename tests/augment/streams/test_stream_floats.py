"""Streams of floats: the values that the client would compute from the pixels, in the requested type and layout."""

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from augment.datasets.dataset import Dataset
from augment.errors import CallError, DatasetError, PipelineError
from augment.images.encode import encode_image
from augment.normalize.section import parse
from augment.render.pipeline import Pipeline
from augment.scanning.scan import scan
from augment.streams.stream import Stream
from augment.wire import arrow, npz, tar
from augment.workers.pool import LocalWorkers
from tests.augment.folders_for_tests import lay
from tests.augment.wire.wire_for_tests import arrow_bytes, read_npz

PIPELINE = Pipeline.parse("transforms: [{RandomCrop: {height: 8, width: 6}}, {HorizontalFlip: {p: 0.5}}]")
NORMALISED = Pipeline.parse(
    "{transforms: [{RandomCrop: {height: 8, width: 6}}], normalize: {method: standard, mean: 0.2, std: 0.1}}"
)
KEPT = Pipeline.parse("transforms: [{HorizontalFlip: {p: 0.5}}]")
IMAGENET = {"method": "standard", "statistics": "imagenet"}


def pattern(seed: int, height: int = 10, width: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    files: dict[str, bytes | None] = {
        f"train/{kind}/{i}.png": encode_image(pattern(i + len(kind), 10 + i), "png")
        for kind in ("a", "bc")
        for i in range(4)
    }
    files |= {"val/a/x.png": encode_image(pattern(77), "png")}
    return scan(lay(tmp_path_factory.mktemp("floats") / "data", files))


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUGMENT_HOME", str(tmp_path / "state"))


def stream(dataset: Dataset, pipeline: Any = PIPELINE, **options: Any) -> Stream:
    return Stream(dataset, pipeline, **{"batch_size": 3, "seed": 5, "drop_last": False, **options})


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("pipeline", [PIPELINE, KEPT])
def test_floats_are_those_that_the_section_makes_of_the_pixels(
    dataset: Dataset, dtype: str, layout: str, pipeline: Pipeline
) -> None:
    plain = stream(dataset, pipeline, normalize=IMAGENET)
    floats = stream(dataset, pipeline, normalize=IMAGENET, dtype=dtype, layout=layout)
    assert floats.image_shape == plain.image_shape
    for one, other in zip(plain.batches(1), floats.batches(1), strict=True):
        for pixels, made in zip(one.images, other.images, strict=True):
            expected = parse(IMAGENET).apply(pixels).astype(dtype)
            if dtype == "float16":  # rounded once, not twice
                exact = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
                expected = exact.astype(np.float16)
            np.testing.assert_array_equal(made.transpose(1, 2, 0) if layout == "NCHW" else made, expected)
        shown = floats.denormalise(other.images)
        assert all((a == b).all() for a, b in zip(shown, one.images, strict=True))
        if dtype == "float32" and layout == "NHWC":
            assert all((a == b).all() for a, b in zip(plain.normalize(one.images), other.images, strict=True))


def test_option_counts_then_the_pipeline_then_nought_to_one(dataset: Dataset) -> None:
    pixels = stream(dataset, NORMALISED).batch(0, 0).images
    assert isinstance(pixels, np.ndarray)
    for options, section in (
        ({}, {"method": "standard", "mean": 0.2, "std": 0.1}),
        ({"normalize": {"method": "log"}}, {"method": "log"}),
    ):
        made = stream(dataset, NORMALISED, dtype="float32", **options)
        assert made.normalization == parse(section).canonical()
        np.testing.assert_array_equal(made.batch(0, 0).images, parse(section).apply(pixels))
    plain = stream(dataset, dtype="float32")
    assert plain.normalization == parse({"method": "min_max"}).canonical()
    assert stream(dataset).normalization is None


@pytest.mark.parametrize("options", [{"dtype": "float32", "layout": "NCHW"}, {"dtype": "float16"}, {"layout": "NCHW"}])
@pytest.mark.parametrize("pipeline", [PIPELINE, KEPT])
def test_floats_travel_on_every_wire(dataset: Dataset, options: dict[str, Any], pipeline: Pipeline) -> None:
    made = stream(dataset, pipeline, normalize={"method": "standard", "statistics": "image"}, **options)
    batch = made.batch(0, 1)
    form = made.spec.pixel_format
    layout = made.layout(0)
    (there,) = arrow.read_batches(arrow_bytes([batch], layout))
    field = arrow.schema_of(layout).field("image")
    if made.image_shape is not None:
        assert (
            field.type.value_type == {"uint8": pa.uint8(), "float32": pa.float32(), "float16": pa.float16()}[form.dtype]
        )
        assert list(field.type.dim_names) == list(form.dim_names)
        assert tuple(field.type.shape) == form.shape(made.image_shape)
    again = read_npz(npz.to_bytes(batch))
    whole = io.BytesIO(b"".join([*tar.batch_members(batch, "npy", pixel_format=form), tar.STREAM_END]))
    with tarfile.open(fileobj=whole) as archive:
        files = [archive.extractfile(each) for each in archive if each.name.endswith(".npy")]
        in_tar = [np.load(io.BytesIO(file.read())) for file in files if file is not None]
    for images in (there.images, again.images, in_tar):
        for one, other in zip(batch.images, images, strict=True):
            assert other.dtype == np.dtype(form.dtype)
            np.testing.assert_array_equal(one, other)
    with pytest.raises(CallError, match=f"are {form.dtype} {form.layout}: ask for image_format npy"):
        list(tar.batch_members(batch, "png", pixel_format=form))


def test_floats_are_equal_for_any_number_of_workers(dataset: Dataset) -> None:
    with LocalWorkers(1) as one, LocalWorkers(3) as three:
        for options in (
            {"dtype": "float32", "layout": "NCHW", "normalize": {"method": "standard", "statistics": "dataset"}},
            {"dtype": "float16", "normalize": {"method": "min_max", "input": "image_channels"}},
        ):
            alone = stream(dataset, **options)
            expected = arrow_bytes(list(alone.batches(2)), alone.layout(2))
            for workers in (one, three):
                with stream(dataset, workers=workers, **options) as many:
                    assert arrow_bytes(list(many.batches(2)), many.layout(2)) == expected


def test_each_view_has_its_own_section(dataset: Dataset) -> None:
    views = [{"pipeline": NORMALISED}, {"pipeline": KEPT, "count": 2}]
    made = stream(dataset, None, views=views, dtype="float32", layout="NCHW")
    assert [each["method"] for each in made.normalization] == ["standard", "min_max", "min_max"]
    plain = stream(dataset, None, views=views)
    pairs = list(zip(plain.batch(0, 0).views, made.batch(0, 0).views, strict=True))
    assert len(pairs) == 3
    for view, (pixels, floats) in enumerate(pairs):
        for one, other in zip(pixels.images, floats.images, strict=True):
            expected = parse(made.normalization[view]).apply(one)
            np.testing.assert_array_equal(other.transpose(1, 2, 0), expected)
        shown = made.denormalise(floats.images, view=view)
        assert all((a == b).all() for a, b in zip(shown, pixels.images, strict=True))
    sections = [{"method": "gamma"}, None, {"method": "log"}]
    given = stream(dataset, None, views=views, normalize=sections).normalization
    assert [each and each["method"] for each in given] == ["gamma", None, "log"]
    with pytest.raises(CallError, match="has 2 sections for 3 views"):
        stream(dataset, None, views=views, normalize=sections[:2])


def test_rows_that_are_mixed_are_the_same_as_floats(dataset: Dataset) -> None:
    mix = {"MixUp": {"alpha": 0.8}}
    plain = stream(dataset, mix=mix, normalize=IMAGENET)
    floats = stream(dataset, mix=mix, normalize=IMAGENET, dtype="float32")
    assert plain.id != floats.id
    for one, other in zip(plain.batches(0), floats.batches(0), strict=True):
        np.testing.assert_array_equal(plain.normalize(one.images), other.images)


def test_statistics_of_the_dataset_become_numbers_of_the_split(dataset: Dataset) -> None:
    pipeline = Pipeline.parse(
        "{transforms: [{RandomCrop: {height: 8, width: 6}}], normalize: {method: standard, statistics: dataset}}"
    )
    train, val = stream(dataset, pipeline), stream(dataset, pipeline, split="val", batch_size=1)
    pixels = np.concatenate([pattern(i + n, 10 + i).reshape(-1, 3) for n in (1, 2) for i in range(4)]) / 255
    np.testing.assert_allclose(train.normalization["mean"], pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(train.normalization["std"], pixels.std(axis=0), rtol=1e-12)
    assert train.metadata(0)["normalize"] == train.normalization
    assert val.normalization != train.normalization
    written = {key: train.normalization[key] for key in ("method", "mean", "std")}
    assert stream(dataset, pipeline, normalize=written).id == train.id
    assert stream(dataset, pipeline, normalize=IMAGENET).id != train.id


def test_dataset_of_one_colour_cannot_be_divided_by_its_deviation(tmp_path: Path) -> None:
    flat = lay(tmp_path / "flat", {f"{i}.png": encode_image(np.full((9, 9, 3), 7, np.uint8), "png") for i in range(3)})
    with pytest.raises(DatasetError, match="are 0, 0, 0 in red, green and blue"):
        stream(scan(flat), normalize={"method": "standard", "statistics": "dataset"})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dtype": "float64"}, CallError, "dtype is 'float64'; it is one of"),
        ({"layout": "CHW"}, CallError, "layout is 'CHW'"),
        ({"normalize": "imagenet"}, CallError, "normalize is 'imagenet'; give a section such as"),
        ({"normalize": {"method": "standrad"}}, PipelineError, "did you mean `standard`?"),
        ({"normalize": {"method": "standard", "std": 1e-6}, "dtype": "float16"}, PipelineError, "use dtype float32"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        Stream("/nowhere", PIPELINE, **options)
    assert message in str(caught.value)


def test_stream_says_what_it_cannot_normalise(dataset: Dataset) -> None:
    images = stream(dataset).batch(0, 0).images
    with pytest.raises(CallError, match="has no `normalize` section"):
        stream(dataset).normalize(images)
    with pytest.raises(CallError, match="are float32, normalised already"):
        stream(dataset, dtype="float32").normalize(images)


def test_ids_tell_formats_apart(dataset: Dataset) -> None:
    options: list[dict[str, Any]] = [
        {}, {"dtype": "float32"}, {"dtype": "float16"}, {"layout": "NCHW"}, {"normalize": IMAGENET},
        {"dtype": "float32", "normalize": IMAGENET}, {"dtype": "float32", "layout": "NCHW"},
    ]  # fmt: skip
    ids = [stream(dataset, **each).id for each in options]
    assert len(set(ids)) == len(ids)
    assert stream(dataset, dtype="float32", normalize={"method": "min_max"}).id == ids[1]
    assert len({stream(dataset, **each).spec.pixels_id for each in options}) == 1
