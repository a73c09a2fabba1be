"""Batches as tar: members by WebDataset's conventions, equal bytes for equal batches, joined at any batch."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from augment.errors import CallError
from augment.samples.sample import Applied, Batch, Provenance
from augment.wire import tar


def batch_of(num_rows: int, *, index: int = 0, with_labels: bool = True) -> Batch:
    images = np.random.default_rng(index).integers(0, 256, (num_rows, 5, 7, 3), dtype=np.uint8)
    positions = np.arange(num_rows, dtype=np.int64) + index * num_rows
    return Batch(
        epoch=3,
        index=index,
        images=images,
        keys=[f"cat/ü.{position}" for position in positions],
        positions=positions,
        labels=positions % 2 if with_labels else None,
        replaces=[None if position % 3 else "cat/broken" for position in positions],
        provenance=[Provenance(f"{position:032x}", (Applied("HorizontalFlip", {"p": 1}),)) for position in positions],
    )


def joined(*batches: Batch, image_format: str = "png") -> bytes:
    members = [part for batch in batches for part in tar.batch_members(batch, image_format)]
    return b"".join(members) + tar.STREAM_END


def test_tar_members_follow_webdataset_and_hold_the_batch() -> None:
    batch = batch_of(3, index=2)
    with tarfile.open(fileobj=io.BytesIO(joined(batch))) as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    assert list(members) == [
        f"000003-{position:012d}.{kind}" for position in (6, 7, 8) for kind in ("png", "cls", "json")
    ]
    for row, position in enumerate(batch.positions):
        name = f"000003-{position:012d}"
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(members[f"{name}.png"]))), batch.images[row])
        assert int(members[f"{name}.cls"]) == position % 2
        assert json.loads(members[f"{name}.json"]) == {
            "epoch": 3,
            "position": position,
            "key": batch.keys[row],
            "replaces": batch.replaces[row],
            "is_padding": False,
            "render_key": f"{position:032x}",
            "applied": [{"name": "HorizontalFlip", "params": {"p": 1}}],
        }


def test_tar_tells_no_time_and_no_owner_and_is_equal_each_time() -> None:
    assert joined(batch_of(2)) == joined(batch_of(2))
    with tarfile.open(fileobj=io.BytesIO(joined(batch_of(2)))) as archive:
        for member in archive:
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")


def test_tar_batches_can_be_joined_and_a_cut_one_lacks_its_end() -> None:
    both = joined(batch_of(2), batch_of(2, index=1))
    with tarfile.open(fileobj=io.BytesIO(both)) as archive:
        names = archive.getnames()
    assert len(names) == len(set(names)) == 12
    assert both == joined(batch_of(2))[: -len(tar.STREAM_END)] + joined(batch_of(2, index=1))
    assert len(both) % tarfile.BLOCKSIZE == 0


def test_tar_holds_arrays_and_jpeg_as_asked_and_no_class_where_there_is_none() -> None:
    batch = batch_of(1, with_labels=False)
    with tarfile.open(fileobj=io.BytesIO(joined(batch, image_format="npy"))) as archive:
        assert archive.getnames() == ["000003-000000000000.npy", "000003-000000000000.json"]
        array = np.load(io.BytesIO(archive.extractfile(archive.getnames()[0]).read()))  # type: ignore[union-attr]
    assert np.array_equal(array, batch.images[0])
    with tarfile.open(fileobj=io.BytesIO(joined(batch, image_format="jpg"))) as archive:
        assert Image.open(archive.extractfile(archive.getnames()[0])).format == "JPEG"  # type: ignore[arg-type]


def test_tar_refuses_other_formats_and_names_those_there_are() -> None:
    with pytest.raises(CallError, match="'webp'; in a tar it must be one of png, jpg, npy"):
        joined(batch_of(1), image_format="webp")
