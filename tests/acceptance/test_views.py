"""Views and repeats over HTTP: in every format, for every reader, and mapped back by the inverse maps."""

import io
import json
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

import augment
from augment.client import Client
from augment.images.decode import decode_image
from augment.images.encode import encode_image
from augment.images.masks import decode_mask, encode_mask
from augment.samples.sample import Batch
from augment.wire import arrow
from tests.acceptance.servers_for_tests import Server
from tests.augment.wire.wire_for_tests import read_npz

T = TypeVar("T")

HEIGHT, WIDTH, NUM_CLASSES = 72, 96, 3
NUM_RECORDS, BATCH_SIZE = 12, 4
GLOBAL = {
    "transforms": [
        {"RandomResizedCrop": {"size": [48, 48], "scale": [0.4, 1.0]}},
        {"HorizontalFlip": {}},
        {"ToGray": {}},
    ]
}
LOCAL = {"transforms": [{"RandomResizedCrop": {"size": [24, 24], "scale": [0.05, 0.4]}}, {"ColorJitter": {}}]}
VIEWS = [{"pipeline": GLOBAL, "count": 2}, {"pipeline": LOCAL, "count": 6}]
"""Views of DINO: Caron et al. 2021, appendix."""

STRAIGHT = {"transforms": [{"Rotate": {"limit": [-20, 20], "p": 1}}, {"HorizontalFlip": {}}]}
CORNERS = {"transforms": [{"RandomCrop": {"height": 40, "width": 56}}, {"Resize": {"height": 60, "width": 84}}]}
TESTING = [{"pipeline": {"transforms": []}}, {"pipeline": STRAIGHT, "count": 2}, {"pipeline": CORNERS, "count": 3}]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images with masks of two shapes."""
    root = tmp_path_factory.mktemp("data")
    for folder in ("images", "masks"):
        (root / "pairs" / folder).mkdir(parents=True)
    generator = np.random.default_rng(9)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for number in range(NUM_RECORDS):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        top, left = generator.integers(4, 30), generator.integers(4, 50)
        mask[top : top + 28, left : left + 30] = 1
        mask[((x - left - 20) / 16) ** 2 + ((y - top - 18) / 12) ** 2 < 1] = 2
        image = np.stack([mask * 90, (x * 2).astype(np.uint8), (y * 3).astype(np.uint8)], axis=-1)
        (root / "pairs" / "images" / f"{number:02}.png").write_bytes(encode_image(image, "png"))
        (root / "pairs" / "masks" / f"{number:02}.png").write_bytes(encode_mask(mask))
    return root


@pytest.fixture(scope="module")
def server(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("served") / "home", data_roots=data, workers=3) as running:
        running.register(data / "pairs", "pairs")
        yield running


@pytest.fixture(scope="module")
def declared(server: Server) -> dict[str, Any]:
    status, document = server.post("/v1/streams", asked(views=VIEWS))
    assert status == 201, document
    return dict(document)


def asked(**fields: Any) -> dict[str, Any]:
    return {"dataset": "pairs", "batch_size": BATCH_SIZE, "seed": 5, **fields}


def here(data: Path, **options: Any) -> augment.Stream:
    """Return the same stream without a service."""
    if "views" in options:
        options["views"] = [view | {"pipeline": taken(view["pipeline"])} for view in options["views"]]
    return augment.Stream(data / "pairs", batch_size=BATCH_SIZE, seed=5, **options)


def taken(pipeline: Any) -> augment.Pipeline:
    return augment.Pipeline.parse(json.dumps(pipeline))


def assert_same(one: Batch, other: Batch) -> None:
    assert len(one.views) == len(other.views)
    for mine, yours in zip(one.views, other.views, strict=True):
        assert mine.keys == yours.keys
        for name in ("positions", "images", "masks", "inverses", "source_sizes"):
            assert np.array_equal(getattr(mine, name), getattr(yours, name), equal_nan=name == "inverses"), name


def test_views_are_told_when_the_stream_is_declared(declared: dict[str, Any]) -> None:
    assert [(view["count"], view["image_shape"]) for view in declared["views"]] == [(2, [48, 48, 3]), (6, [24, 24, 3])]
    assert declared["image_shape"] == [48, 48, 3]
    assert declared["repeats"] == 1


def test_views_are_those_of_the_library_in_every_format(server: Server, data: Path, declared: dict[str, Any]) -> None:
    expected = here(data, views=VIEWS).batch(1, 2)
    assert len(expected.views) == 8
    assert expected.other_views[1].images[0].shape == (24, 24, 3)
    address = f"/v1/streams/{declared['id']}/batches/1/2"
    (read,) = arrow.read_batches(server.get(address))
    assert_same(read, expected)
    assert_same(read_npz(server.get(f"{address}?format=npz")), expected)
    with tarfile.open(fileobj=io.BytesIO(server.get(f"{address}?format=tar"))) as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    for row, position in enumerate(expected.positions):
        name = f"000001-{position:012d}"
        said = json.loads(files[f"{name}.json"])
        assert said["source_size"] == [HEIGHT, WIDTH]
        for number, view in enumerate(expected.views):
            middle = f".{number}" if number else ""
            assert np.array_equal(decode_image(files[f"{name}{middle}.png"]), view.images[row])
            assert np.array_equal(decode_mask(files[f"{name}{middle}.mask.png"]), view.masks[row])  # type: ignore[index]
            assert said["views"][number]["render_key"] == view.provenance[row].render_key
            assert said["views"][number]["inverse"] == view.inverses[row].tolist()  # type: ignore[index]


def test_ranks_joined_are_the_whole_in_every_view(server: Server, declared: dict[str, Any]) -> None:
    with Client(server.url) as client:
        stream = client.stream(**asked(views=VIEWS))
        assert stream.id == declared["id"]
        (whole, *_) = stream.epoch(2)
        halves = [next(iter(stream.epoch(2, rank=rank, world_size=2))) for rank in range(2)]
    for rank, half in enumerate(halves):
        assert_same(half, whole.rows(rank * BATCH_SIZE // 2, (rank + 1) * BATCH_SIZE // 2))


@pytest.mark.long
def test_views_are_the_same_bytes_with_one_and_three_workers(
    server: Server, data: Path, declared: dict[str, Any], tmp_path: Path
) -> None:
    address = f"/v1/streams/{declared['id']}/batches"
    paths = [f"{address}?epoch=3", f"{address}/0/1?format=npz", f"{address}?format=tar&rank=1&world_size=2"]
    with Server(tmp_path / "home", data_roots=data, workers=1) as other:
        other.register(data / "pairs", "pairs")
        status, document = other.post("/v1/streams", asked(views=VIEWS))
        assert (status, document["id"]) == (201, declared["id"])
        assert [other.get(path) for path in paths] == [server.get(path) for path in paths]


def test_repeats_are_the_epochs_of_the_plain_stream_side_by_side(server: Server) -> None:
    options: dict[str, Any] = {"dataset": "pairs", "pipeline": GLOBAL, "seed": 5}
    with Client(server.url) as client:
        plain = client.stream(**options, batch_size=BATCH_SIZE)
        repeated = client.stream(**options, batch_size=3 * BATCH_SIZE, repeats=3)
        assert repeated.num_batches == plain.num_batches
        assert repeated.document["repeats"] == 3
        epochs: list[dict[str, NDArray[np.uint8]]] = [{} for _ in range(6)]
        for epoch, rows in enumerate(epochs):
            for batch in plain.epoch(epoch):
                rows |= dict(zip(batch.keys, batch.images, strict=True))
        for epoch in (0, 1):
            seen = []
            for batch in repeated.epoch(epoch):
                for row, (key, image) in enumerate(zip(batch.keys, batch.images, strict=True)):
                    assert key == batch.keys[row - row % 3]
                    assert np.array_equal(image, epochs[3 * epoch + row % 3][key])
                    seen.append(key)
            assert sorted(seen) == sorted(list(epochs[0]) * 3)


def test_predicted_masks_come_back_as_one_for_each_image(server: Server, data: Path) -> None:
    truths = {path.stem: decode_mask(path.read_bytes()) for path in (data / "pairs" / "masks").iterdir()}
    with Client(server.url) as client:
        stream = client.stream(**asked(views=TESTING, shuffle=False, drop_last=False))
        for batch in stream.epoch(0):
            merged = client.merge([{"masks": scores(view)} for view in batch.views], batch)
            assert merged.masks is not None
            assert merged.coverage is not None
            for row, key in enumerate(batch.keys):
                assert merged.masks[row].shape == (NUM_CLASSES, HEIGHT, WIDTH)
                assert (merged.coverage[row] >= 1).all()
                assert (merged.masks[row].argmax(axis=0) == truths[key]).mean() > 0.98


def scores(view: Batch) -> list[NDArray[np.float64]]:
    """Return the prediction of a perfect model for a view: its own mask, class by class."""
    classes = np.arange(NUM_CLASSES)[:, np.newaxis, np.newaxis]
    return [(mask == classes).astype(float) for mask in masks_of(view)]


def test_predicted_boxes_come_back_as_one_for_each_object(server: Server, data: Path) -> None:
    flipped = [{"pipeline": {"transforms": [{"D4": {"p": 1}}]}, "count": 4}]
    truths = {path.stem: box_about(decode_mask(path.read_bytes())) for path in (data / "pairs" / "masks").iterdir()}
    with Client(server.url) as client:
        stream = client.stream(**asked(views=flipped))
        batch = next(iter(stream.epoch(1)))
        found = [[box_about(mask)[np.newaxis] for mask in masks_of(view)] for view in batch.views]
        merged = stream.merge([{"boxes": boxes, "scores": [[0.9]] * BATCH_SIZE} for boxes in found], batch)
    for key, boxes, sure in zip(batch.keys, some(merged.boxes), some(merged.scores), strict=True):
        assert np.allclose(boxes, [truths[key]], atol=1e-4)
        assert np.allclose(sure, [0.9])


def masks_of(view: Batch) -> list[NDArray[Any]]:
    assert view.masks is not None
    return list(view.masks)


def some(values: T | None) -> T:
    """Return a value that is not None."""
    assert values is not None
    return values


def box_about(mask: NDArray[np.integer]) -> NDArray[np.float64]:
    y, x = np.nonzero(mask)
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1], np.float64)


def test_bare_pyarrow_and_webdataset_read_all_views(server: Server, data: Path, declared: dict[str, Any]) -> None:
    import webdataset

    expected = list(here(data, views=VIEWS).batches(0))
    address = f"{server.url}/v1/streams/{declared['id']}/batches"
    with urllib.request.urlopen(address, timeout=60) as answer, pa.ipc.open_stream(answer) as reader:  # noqa: S310
        assert json.loads(reader.schema.metadata[b"augment"])["num_views"] == 8
        for batch, record_batch in zip(expected, reader, strict=True):
            for number, view in enumerate(batch.other_views, start=1):
                assert np.array_equal(record_batch.column(f"image_{number}").to_numpy_ndarray(), view.images)
                assert np.array_equal(record_batch.column(f"inverse_{number}").to_numpy_ndarray(), view.inverses)  # type: ignore[arg-type]
    url = f"{address}?format=tar".replace("://", "://any:key@")
    samples = list(webdataset.WebDataset(url, shardshuffle=False).decode("rgb8"))
    rows = [(batch, row) for batch in expected for row in range(len(batch))]
    for sample, (batch, row) in zip(samples, rows, strict=True):
        assert sample["json"]["key"] == batch.keys[row]
        assert np.array_equal(sample["png"], batch.images[row])
        assert np.array_equal(sample["7.png"], batch.other_views[6].images[row])


@pytest.mark.frameworks
def test_torch_has_a_key_for_each_view(server: Server) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from augment.client.torch import StreamDataset

    with Client(server.url) as client:
        batch = next(iter(StreamDataset(client.stream(**asked(views=VIEWS)))))
    assert batch["image"].shape == (BATCH_SIZE, 48, 48, 3)
    assert batch["image_7"].shape == (BATCH_SIZE, 24, 24, 3)
    assert batch["inverse_7"].dtype == torch.float64
    assert batch["source_size"].tolist() == [[HEIGHT, WIDTH]] * BATCH_SIZE
