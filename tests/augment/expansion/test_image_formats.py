"""Copies are encoded like their originals: JPEG as JPEG, lossy WebP as WebP, and all lossless formats losslessly."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from augment.datasets.dataset import Dataset
from augment.errors import CallError, OutputError
from augment.expansion.expand import Expansion, expand_dataset
from augment.expansion.verify import verify_expansion
from augment.images import decode, encode
from augment.scanning.scan import scan
from augment.streams.stream import Stream
from tests.augment.expansion.expansions_for_tests import PIPELINE, content, noise

ORIGINALS: dict[str, tuple[str, dict[str, Any], str]] = {
    "photo.jpg": ("JPEG", {}, "jpeg"),
    "flat.png": ("PNG", {}, "png"),
    "lossy.webp": ("WEBP", {"quality": 80}, "webp"),
    "exact.webp": ("WEBP", {"lossless": True}, "png"),
    "moving.webp": ("WEBP", {"save_all": True, "append_images": [Image.new("RGB", (32, 24))]}, "webp"),
    "old.bmp": ("BMP", {}, "png"),
    "deep.tif": ("TIFF", {}, "png"),
    "drawn.gif": ("GIF", {}, "png"),
    "lying.jpg": ("PNG", {}, "png"),
    "lying.png": ("JPEG", {}, "jpeg"),
}
"""The format and options that Pillow writes, and the format of the copies."""


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """One image of each kind."""
    root = tmp_path / "mixed"
    root.mkdir()
    for number, (name, (image_format, options, _)) in enumerate(ORIGINALS.items()):
        pixels = np.random.default_rng(number).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, image_format, **options)
        (root / name).write_bytes(file.getvalue())
    return root


def key_of(name: str) -> str:
    return name if name.startswith("lying") else name.partition(".")[0]


def test_each_copy_is_encoded_as_its_original(mixed: Path, out: Path) -> None:
    expand_dataset(mixed, out, PIPELINE, copies=2)
    found = {path.name: decode.encoding(path.read_bytes()) for path in out.iterdir() if "__" in path.name}
    assert found == {
        f"{key_of(name)}__{copy}.{encode.EXTENSIONS[kind]}": kind
        for name, (_, _, kind) in ORIGINALS.items()
        for copy in range(2)
    }
    assert verify_expansion(out, mixed).num_mismatches == 0


def test_copies_of_images_that_lost_nothing_are_the_online_epochs_pixels(mixed: Path, out: Path) -> None:
    expand_dataset(mixed, out, PIPELINE, copies=2)
    stream = Stream(mixed, PIPELINE, batch_size=len(ORIGINALS), shuffle=False)
    exact = [key_of(name) for name, (_, _, kind) in ORIGINALS.items() if kind == "png"]
    for epoch in range(2):
        batch = stream.batch(epoch, 0)
        online = dict(zip(batch.keys, batch.images, strict=True))
        for key in exact:
            copy = decode.decode_image((out / f"{key}__{epoch}.png").read_bytes())
            assert np.array_equal(copy, online[key]), key


@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
def test_a_format_that_is_asked_for_is_that_of_all_copies(mixed: Path, out: Path, image_format: str) -> None:
    expand_dataset(mixed, out, PIPELINE, image_format=image_format)
    copies = [path for path in out.iterdir() if "__" in path.name]
    assert len(copies) == len(ORIGINALS)
    assert {path.suffix for path in copies} == {f".{encode.EXTENSIONS[image_format]}"}
    assert {decode.encoding(path.read_bytes()) for path in copies} == {image_format}


def test_plan_counts_the_copies_of_each_format(mixed: Path, out: Path) -> None:
    kinds = [kind for _, _, kind in ORIGINALS.values()]
    expected = {kind: 3 * kinds.count(kind) for kind in ("jpeg", "png", "webp")}
    assert Expansion(mixed, out, PIPELINE, copies=3).plan().image_formats == expected
    asked = Expansion(mixed, out, PIPELINE, copies=3, image_format="webp").plan()
    assert asked.image_formats == {"webp": 3 * len(kinds)}
    assert Expansion(mixed, out, copies=0, include_originals=True).plan().image_formats == {}


def test_folder_of_an_earlier_version_is_never_mixed(mixed: Path, out: Path) -> None:
    """In such a folder all copies are JPEG, according to ``expansion.json``."""
    expand_dataset(mixed, out, PIPELINE, image_format="jpeg")
    before = content(out)
    for update in (False, True):
        with pytest.raises(OutputError, match='image_format is "jpeg" there and that of each original here'):
            expand_dataset(mixed, out, PIPELINE, update=update)
    assert content(out) == before
    assert expand_dataset(mixed, out, PIPELINE, image_format="jpeg").nothing_to_do


def test_manifest_of_an_earlier_version_gives_the_same_folder(mixed: Path, tmp_path: Path) -> None:
    dataset = scan(mixed)
    assert [record.encoding for record in dataset.records(range(2))] == ["tiff", "gif"]
    file = pa.ipc.open_file(dataset.to_buffer())
    columns = [name for name in file.schema.names if name != "encoding"]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(
        sink, pa.schema([file.schema.field(name) for name in columns], file.schema.metadata)
    ) as writer:
        for number in range(file.num_record_batches):
            writer.write_batch(file.get_batch(number).select(columns))
    earlier = Dataset.from_buffer(sink.getvalue())
    assert {record.encoding for record in earlier} == {None}
    assert earlier.digest == dataset.digest
    expand_dataset(dataset, tmp_path / "now", PIPELINE)
    assert Expansion(earlier, tmp_path / "then", PIPELINE).plan().image_formats["webp"] == 2
    expand_dataset(earlier, tmp_path / "then", PIPELINE)
    assert content(tmp_path / "then") == content(tmp_path / "now")


def test_update_replaces_copies_whose_original_has_another_format(mixed: Path, out: Path) -> None:
    expand_dataset(mixed, out, PIPELINE)
    (mixed / "photo.jpg").write_bytes((mixed / "flat.png").read_bytes())
    expand_dataset(mixed, out, PIPELINE, update=True)
    assert sorted(path.name for path in out.glob("photo__*")) == ["photo__0.png"]
    assert verify_expansion(out, mixed).num_mismatches == 0


@pytest.mark.parametrize("output_format", ["webdataset", "parquet"])
def test_packed_copies_are_encoded_as_their_originals(mixed: Path, out: Path, output_format: str) -> None:
    expand_dataset(mixed, out, PIPELINE, output_format=output_format)
    packed = scan(out)
    assert packed.format == output_format
    kinds = {key_of(name): kind for name, (_, _, kind) in ORIGINALS.items()}
    assert {record.key.partition("__")[0]: record.encoding for record in packed} == kinds


def test_quality_is_checked_whatever_the_format(mixed: Path, out: Path) -> None:
    with pytest.raises(CallError, match="quality"):
        expand_dataset(mixed, out, PIPELINE, quality=0)
    (mixed / "more.jpg").write_bytes(noise("more"))
    low, high = (Expansion(mixed, out, PIPELINE, quality=quality).id for quality in (50, 90))
    assert low != high
