"""Mixed streams over HTTP, read as trainers read them: the same bytes from any service, for any number of ranks."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augment.client import Client
from augment.render.pipeline import Pipeline
from augment.samples.sample import Batch
from augment.streams.stream import Stream
from augment.wire import arrow
from tests.acceptance.servers_for_tests import Server
from tests.augment.streams.test_stream import write_images
from tests.augment.wire.wire_for_tests import read_npz

PIPELINE = {"transforms": [{"RandomResizedCrop": {"size": [24, 32], "scale": [0.3, 1.0]}}, {"HorizontalFlip": {}}]}
MIX = {"OneOf": {"transforms": [{"MixUp": {"alpha": 0.8}}, {"CutMix": {"per": "row"}}]}}
OPTIONS: dict[str, Any] = {"batch_size": 4, "seed": 11, "drop_last": False, "mix": MIX}
FORMATS = ("arrow", "tar", "npz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "photos"
    write_images(folder, [f"{kind}/{i}" for kind in ("cat", "dog", "eel") for i in range(3)])
    return folder


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("one") / "home", data_roots=folder.parent, workers=3) as running:
        running.register(folder)
        yield running


@pytest.fixture(scope="module")
def stream_id(server: Server) -> str:
    return server.declare(PIPELINE, **OPTIONS)


@pytest.fixture(scope="module")
def here(folder: Path) -> list[Batch]:
    """The epoch's batches without a service."""
    stream = Stream(folder, Pipeline.parse(json.dumps(PIPELINE)), **OPTIONS)
    return list(stream.batches(epoch=2))


@pytest.mark.long
def test_one_worker_and_three_send_the_same_bytes(server: Server, stream_id: str, folder: Path, tmp_path: Path) -> None:
    with Server(tmp_path / "home", data_roots=folder.parent, workers=1) as other:
        other.register(folder)
        assert other.declare(PIPELINE, **OPTIONS) == stream_id
        for form in ("arrow", "tar"):
            path = f"/v1/streams/{stream_id}/batches?epoch=2&format={form}"
            assert other.get(path) == server.get(path)
        for index in range(3):
            path = f"/v1/streams/{stream_id}/batches/2/{index}?format=npz"
            assert other.get(path) == server.get(path)


@pytest.mark.parametrize("form", FORMATS)
def test_each_format_is_the_librarys_batch_with_its_weights(
    server: Server, stream_id: str, here: list[Batch], form: str
) -> None:
    for batch in here:
        content = server.get(f"/v1/streams/{stream_id}/batches/2/{batch.index}?format={form}&image_format=npy")
        weights = np.asarray(batch.label_weights)
        if form == "tar":
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                read = {each.name.partition(".")[2]: [] for each in archive}  # type: ignore[var-annotated]
                for each in archive:
                    read[each.name.partition(".")[2]].append(archive.extractfile(each).read())  # type: ignore[union-attr]
            described = [json.loads(each) for each in read["json"]]
            assert [each["label_weights"] for each in described] == weights.tolist()
            assert [each.get("mixed") for each in described] == [
                each.as_json().get("mixed") for each in batch.provenance
            ]
            assert [int(each) for each in read["cls"]] == np.asarray(batch.labels).tolist()
            images = [np.load(io.BytesIO(each)) for each in read["npy"]]
        else:
            there = next(arrow.read_batches(content)) if form == "arrow" else read_npz(content)
            assert np.array_equal(np.asarray(there.label_weights), weights)
            images = list(there.images)
        assert np.array_equal(images, batch.images)
        assert np.allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert any(each.mixed is not None for batch in here for each in batch.provenance)


def test_ranks_joined_are_the_whole_batch(server: Server, stream_id: str, here: list[Batch]) -> None:
    with Client(server.url) as client:
        stream = client.stream(dataset="photos", pipeline=PIPELINE, **OPTIONS)
        assert stream.id == stream_id
        assert stream.document["mix"]["OneOf"]["transforms"][0] == {"MixUp": {"alpha": 0.8, "per": "batch", "p": 1.0}}
        ranks = [list(stream.epoch(2, rank=rank, world_size=2)) for rank in range(2)]
    for batch, slices in zip(here, zip(*ranks, strict=True), strict=True):
        parts = [part for part in slices if not np.asarray(part.is_padding).any()]
        assert np.array_equal(np.concatenate([np.asarray(part.images) for part in parts]), batch.images)
        weights = np.concatenate([np.asarray(part.label_weights) for part in parts])
        assert np.array_equal(weights, np.asarray(batch.label_weights))


@pytest.mark.frameworks
@pytest.mark.frameworks
def test_torch_has_the_weights(server: Server, here: list[Batch]) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from augment.client.torch import StreamDataset

    with Client(server.url) as client:
        dataset = StreamDataset(client.stream(dataset="photos", pipeline=PIPELINE, **OPTIONS))
        dataset.set_epoch(2)
        found = list(dataset)
    for batch, tensors in zip(here, found, strict=True):
        assert tensors["label_weights"].dtype == torch.float32
        assert np.array_equal(tensors["label_weights"].numpy(), np.asarray(batch.label_weights))
