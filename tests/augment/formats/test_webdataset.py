"""WebDataset shards: the ``webdataset`` package and this format read each other's files; hostile ones are refused."""

import gc
import io
import json
import tarfile
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from PIL import Image

from augment.errors import DatasetError, Reason
from augment.formats.format import Output, OutputDataset, Packed
from augment.images import masks
from augment.samples.annotations import Annotations
from augment.scanning.scan import FORMATS, recognised, scan, shard_format
from tests.augment.folders_for_tests import grown, lay, listed, pattern
from tests.augment.formats.packing_for_tests import header, octal, pack, padded, tar_of

END = bytes(1024)
PNG = pattern(7)


def shard(root: Path, members: Mapping[str, bytes], name: str = "shard-000000.tar") -> Path:
    return lay(root, {name: tar_of(members, tar_format=tarfile.GNU_FORMAT)})


# ------------------------------------------------------------------------------------------- the package as judge


def test_shards_of_the_package_are_read(tmp_path: Path) -> None:
    pixels = [np.full((10, 20, 3), 10 * i, np.uint8) for i in range(7)]
    for split, some in (("train", pixels[:5]), ("val", pixels[5:])):
        with webdataset.ShardWriter(str(tmp_path / f"{split}-%06d.tar"), maxcount=2, verbose=0) as writer:
            for i, image in enumerate(some):
                said = {"boxes": [[1, 2, 5, 6]], "box_labels": ["1"], "url": f"https://example.org/{i}"}
                sample = {"__key__": f"a/{i:04d}", "png": image, "cls": i % 3, "json": said, "txt": "a grey wall"}
                writer.write(sample | {"seg.png": np.full((10, 20), 1, np.uint8)})
    dataset = scan(tmp_path)
    assert (dataset.format, dataset.splits, dataset.num_refused) == ("webdataset", {"train": 5, "val": 2}, 0)
    assert dataset.classes == ("0", "1", "2")
    assert dataset.keys(range(7)) == [f"{split}/a/{i:04d}" for split, n in (("train", 5), ("val", 2)) for i in range(n)]
    for record, image in zip(dataset, pixels, strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(dataset.read(record)))), image)
        assert masks.decode_mask(dataset.read_mask(record)).tolist() == [[1] * 20] * 10
        number = int(record.key[-1])
        assert record.label == number % 3
        assert json.loads(record.annotations or "") == {
            "boxes": [[1, 2, 5, 6]],
            "box_labels": ["1"],
            "extra": {"txt": "a grey wall", "url": f"https://example.org/{number}"},
        }


def test_the_package_reads_ours_every_sample_once(tmp_path: Path) -> None:
    said = Annotations(boxes=((1.0, 2.0, 5.5, 6.0),), box_labels=("dog",), extra={"txt": "ein Hünd"})
    outputs = [
        Packed(
            Output(f"k.{i}/a.{i}", None, 0, "png", 8, 8, "dog" if i else None, said, has_mask=True),
            pattern(i),
            masks.encode_mask(np.full((8, 8), i, np.uint8)),
        )
        for i in range(7)
    ]
    pack(
        tmp_path,
        "webdataset",
        outputs,
        OutputDataset(("cat", "dog"), (), frozenset({"label", "mask", "boxes"}), (), "coco"),
    )
    urls = [str(path) for path in sorted(tmp_path.glob("*.tar"))]
    assert [Path(url).name for url in urls] == ["shard-000000.tar", "shard-000001.tar", "shard-000002.tar"]
    samples = read_by_the_package(urls, "pil")
    assert [sample["__key__"] for sample in samples] == [f"k.{i}/a%2E{i}__0" for i in range(7)]
    for i, sample in enumerate(samples):
        assert sample["png"].getpixel((0, 0)) == (i, 0, 255)
        assert sample["cls"] == (1 if i else -1)
        assert sample["json"] == {"boxes": [[1, 2, 5.5, 6]], "box_labels": ["dog"]}
        assert sample["txt"] == "ein Hünd"
        assert np.asarray(sample["mask.png"]).max() == i
    assert [sample["png"].shape for sample in read_by_the_package(urls, "rgb")] == [(8, 8, 3)] * 7


def read_by_the_package(urls: list[str], decoding: str) -> list[dict[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves closing its files to the garbage collector
        samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode(decoding))
        gc.collect()
    return samples


# ----------------------------------------------------------------------------------------------------- what counts


def test_members_of_a_sample_need_not_lie_together(tmp_path: Path) -> None:
    shard(tmp_path, {"b.cls": b"1", "a.PNG": PNG, "./b.jpg": pattern(1, image_format="jpeg"), "a.cls": b" 0\n"})
    dataset = scan(tmp_path)
    assert {record.key: record.label for record in dataset} == {"a": 0, "b": 1}


def test_an_image_under_a_longer_extension_counts_where_it_is_alone(tmp_path: Path) -> None:
    shard(tmp_path, {"a.input.jpg": PNG, "a.cls": b"0", "b.png": PNG, "b.depth.png": PNG, "b.npy": b"", "c": b""})
    dataset = scan(tmp_path)
    assert dataset.keys(range(2)) == ["a", "b"]
    assert dataset.source.summary.details == {"left_out": {"depth.png": 1, "npy": 1, "": 1}}


def test_hidden_members_and_those_of_the_package_are_left_out_in_silence(tmp_path: Path) -> None:
    shard(tmp_path, {"a.png": PNG, "._a.png": b"", "x/.b.png": b"", "__meta__/x.png": b"", "__note__": b""})
    dataset = scan(tmp_path)
    assert (dataset.num_records, dataset.num_refused) == (1, 0)


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["0", "2", "11"], tuple(map(str, range(12)))),
        (["dog", "cat", "dog"], ("cat", "dog")),
        (["1", "dog", "1"], ("1", "dog")),
    ],
)
def test_classes_without_a_list_are_indices_or_names(
    values: list[str], classes: tuple[str, ...], tmp_path: Path
) -> None:
    shard(
        tmp_path,
        {f"{i}{kind}": data for i, v in enumerate(values) for kind, data in {".png": PNG, ".cls": v.encode()}.items()},
    )
    dataset = scan(tmp_path)
    assert dataset.classes == classes
    assert [classes[record.label] for record in dataset if record.label is not None] == values


@pytest.mark.parametrize(
    "files",
    [
        {"classes.txt": b"cat\ndog\r\n\n"},
        {"dataset_info.json": b'{"classes": ["cat", "dog"]}', "classes.txt": b"others"},
        {"dataset_info.json": b'{"features": {"cls": {"names": ["cat", "dog"], "_type": "ClassLabel"}}, "splits": {}}'},
    ],
)
def test_a_list_of_classes_names_indices(files: dict[str, bytes | None], tmp_path: Path) -> None:
    shard(
        lay(tmp_path, files), {"a.png": PNG, "a.cls": b"1", "b.png": PNG, "b.cls": b"cat", "c.png": PNG, "c.cls": b"-1"}
    )
    dataset = scan(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert [record.label for record in dataset] == [1, 0, None]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "not JSON"),
        (b'{"classes": "cat"}', "classes is not a list of names"),
        (b'{"classes": ["a", "a"]}', "has 'a' twice"),
        (b'{"classes": ["\\ud800"]}', "half of a surrogate pair"),
        (b'{"keypoint_names": [1]}', "keypoint_names is not a list"),
        (b"[]", "does not hold an object"),
        (b"\xff", "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_list_of_classes_that_is_none_is_refused(data: bytes, words: str, tmp_path: Path) -> None:
    shard(lay(tmp_path, {"dataset_info.json": data}), {"a.png": PNG})
    with pytest.raises(DatasetError, match=words):
        scan(tmp_path)


def test_one_name_in_two_shards_of_a_split_takes_the_shard_before_it(tmp_path: Path) -> None:
    shard(tmp_path, {"1.png": PNG, "2.png": PNG}, "train/a.tar")
    shard(tmp_path, {"1.png": PNG, "3.png": PNG}, "train/b.tar")
    shard(tmp_path, {"1.png": PNG}, "val/a.tar")
    shard(tmp_path, {"a.tar/1.png": PNG, "a.tar/4.png": PNG}, "train/c.tar")
    keys = {"train/2", "train/3", "train/a.tar/4", "train/a.tar/1", "train/b.tar/1", "train/c.tar/a.tar/1", "val/1"}
    dataset = scan(tmp_path)
    assert set(dataset.keys(range(dataset.num_records))) == keys


# --------------------------------------------------------------------------------------------------------- refusals


def test_members_that_cannot_be_used_are_refused_by_name(tmp_path: Path) -> None:
    odd = {
        b"../up.png": b"0",
        b"/root.png": b"0",
        b"a/../b.png": b"0",
        b"\xff.png": b"0",
        b"link.png": b"2",
        b"hard.png": b"1",
        b"pipe.png": b"6",
    }
    data = b"".join(header(name, kind=kind) for name, kind in odd.items())
    nul = b"16 path=n\0l.png\n"
    data += header(b"pax", octal(len(nul)), kind=b"x") + padded(nul) + header(b"nul.png")
    data += header(b"good.png", octal(len(PNG))) + padded(PNG)
    lay(tmp_path, {"train-0.tar": data + END})
    dataset = scan(tmp_path)
    assert dataset.keys(range(dataset.num_records)) == ["train/good"]
    found = {each.key: (each.reason, each.detail.partition(";")[0]) for each in dataset.refused}
    outside, link = "its name leads out of the tar", "it is a symbolic link, not a file"
    assert found == {
        "train/train-0.tar/../up.png": (Reason.UNREADABLE, outside),
        "train/train-0.tar//root.png": (Reason.UNREADABLE, outside),
        "train/train-0.tar/a/../b.png": (Reason.UNREADABLE, outside),
        "train/train-0.tar/\\xff.png": (Reason.UNREADABLE, "its name is not UTF-8"),
        "train/train-0.tar/link.png": (Reason.UNREADABLE, link),
        "train/train-0.tar/hard.png": (Reason.UNREADABLE, link.replace("symbolic", "hard")),
        "train/train-0.tar/pipe.png": (Reason.UNREADABLE, "it is a named pipe, not a file"),
        "train/train-0.tar/n\\x00l.png": (Reason.UNREADABLE, "its name holds a NUL"),
    }


def test_a_name_longer_than_any_path_is_refused(tmp_path: Path) -> None:
    shard(tmp_path, {"a.png": PNG, "x" * 5000 + ".png": PNG, "b." + "y" * 5000: b""})
    dataset = scan(tmp_path)
    assert dataset.keys(range(dataset.num_records)) == ["a"]
    assert [each.detail.partition(",")[0] for each in dataset.refused] == [
        "its name has 5002 bytes",
        "its name has 5004 bytes",
    ]
    assert max(len(each.key) for each in dataset.refused) < 4200


@pytest.mark.parametrize("format_name", ["webdataset", "parquet"])
def test_messages_are_one_line_whatever_a_shard_is_called(format_name: str, tmp_path: Path) -> None:
    suffix = {"webdataset": ".tar", "parquet": ".parquet"}[format_name]
    lay(tmp_path, {f"a\nb\x1b{suffix}": b"x" * 2000})
    with pytest.raises(DatasetError) as caught:
        scan(tmp_path, format=format_name)
    assert str(caught.value).isprintable()


def test_samples_that_are_ambiguous_are_refused_by_name(tmp_path: Path) -> None:
    twice = header(b"a.png", octal(len(PNG))) + padded(PNG)
    both = tar_of({"b.png": PNG, "b.jpg": PNG, "c.cls": b"1", "d.left.png": PNG, "d.right.png": PNG, "e.png": PNG})
    lay(tmp_path, {"x.tar": twice * 2 + both})
    dataset = scan(tmp_path)
    assert dataset.keys(range(dataset.num_records)) == ["e"]
    assert {each.key: each.detail.partition(";")[0] for each in dataset.refused} == {
        "x.tar/a": "the tar has a.png twice",
        "x.tar/b": "the sample has several images (jpg, png)",
        "x.tar/c": "the sample has no image, only cls",
        "x.tar/d": "the sample has several images (left.png, right.png)",
    }


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"a.json": b"{"}, "not JSON"),
        ({"a.json": b"[" * 100_000}, "nested too deeply"),
        ({"a.json": b"\xff"}, "not UTF-8"),
        ({"a.json": b'{"boxes": 3}'}, "boxes is a list"),
        ({"a.json": b'{"boxes": [[0, 0, 900, 900]]}'}, "box outside"),
        ({"a.json": b'{"x": 1e999}'}, "is too large"),
        ({"a.json": b'{"x": 1, "x": 2}'}, "the key 'x' appears twice"),
        ({"a.json": b'{"x": "\\ud800"}'}, "half of a surrogate pair"),
        ({"a.cls": b"-2"}, "unknown class"),
        ({"a.cls": b"100000"}, "unknown class"),
        ({"a.cls": b" "}, "its .cls is empty"),
        ({"a.cls": b"x" * 2000}, "its .cls has 2000 bytes"),
        ({"a.cls": b"\xff"}, "its .cls is not UTF-8"),
        ({"a.mask.png": b"no mask"}, "mask unreadable"),
        ({"a.mask.png": PNG}, "mask unreadable"),
        ({"a.mask.png": b"", "a.seg.png": b""}, "several masks"),
    ],
)
def test_what_cannot_be_true_of_a_sample_is_refused(members: dict[str, bytes], words: str, tmp_path: Path) -> None:
    shard(tmp_path, {"a.png": PNG, **members, "b.png": PNG})
    with pytest.raises(DatasetError, match=words):
        scan(tmp_path)
    dataset = scan(tmp_path, bad_annotations="leave_out")
    assert dataset.keys(range(dataset.num_records)) == ["b"]
    assert [(each.key, each.reason) for each in dataset.refused] == [("a.png", Reason.ANNOTATION)]


def test_a_shard_that_was_cut_is_refused_with_its_name_and_a_remedy(tmp_path: Path) -> None:
    whole = tar_of({"a.png": PNG, "b.png": PNG})
    for blocks in range(5):
        lay(tmp_path, {"train-000000.tar": whole, "train-000001.tar": whole[: 512 * blocks]})
        with pytest.raises(DatasetError, match=r"train-000001\.tar ends at byte \d+.*it is truncated; fetch"):
            scan(tmp_path)


@pytest.mark.parametrize("name", ["a.tar.gz", "a.TGZ", "a.tar.zst"])
def test_compressed_shards_are_refused_with_the_remedy(name: str, tmp_path: Path) -> None:
    shard(lay(tmp_path, {name: b""}), {"a.png": PNG})
    with pytest.raises(DatasetError, match=r"is compressed.*unpack it to a \.tar"):
        scan(tmp_path, format="webdataset")


def test_a_shard_that_changes_under_the_scan_is_refused(tmp_path: Path) -> None:
    shard(tmp_path, {"a.png": PNG, "a.json": b'{"boxes": []}'})
    listing = listed(FORMATS["webdataset"], tmp_path)
    annotate = listing.groups[0].described[0].annotate
    assert annotate is not None
    assert annotate(8, 8) == Annotations(boxes=())
    (tmp_path / "shard-000000.tar").write_bytes(tar_of({"b.png": PNG, "b.json": b'{"boxes": []}'}))
    with pytest.raises(ValueError, match="written to during the read"):
        annotate(8, 8)


def test_images_beside_a_tar_are_a_folder_of_images(tmp_path: Path) -> None:
    shard(lay(tmp_path, {"cat/1.png": PNG}), {"a.png": PNG})
    assert recognised(grown(tmp_path)).name == "folder"


def test_an_image_without_a_known_extension_gets_that_of_its_format() -> None:
    output = Output("plain", None, None, "", 8, 8)
    outputs = [Packed(output, PNG, None), Packed(replace(output, key="odd.xyz"), pattern(1, image_format="jpeg"), None)]
    file = shard_format("webdataset").pack(
        outputs, OutputDataset((), (), frozenset(), (), "folder"), split=None, index=0
    )
    with tarfile.open(fileobj=io.BytesIO(file.data)) as tar:
        assert tar.getnames() == ["plain.png", "plain.json", "odd%2Exyz.jpg", "odd%2Exyz.json"]
