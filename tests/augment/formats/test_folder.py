"""Folder format: recognition of layouts, and paths of outputs."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.datasets.dataset import Dataset
from augment.errors import DatasetError, Reason
from augment.formats.folder import ClassFolders
from augment.formats.format import Output
from augment.scanning.scan import scan
from tests.augment.folders_for_tests import lay, lay_images, pattern


def keys_of(dataset: Dataset) -> list[str]:
    return dataset.keys(range(dataset.num_records))


def labels_of(dataset: Dataset) -> dict[str, str | None]:
    return {record.key: None if record.label is None else dataset.classes[record.label] for record in dataset}


def refused(dataset: Dataset) -> dict[str, Reason]:
    return {refusal.key: refusal.reason for refusal in dataset.refused}


# --------------------------------------------------------------------------------------------------------- layouts


def test_flat_folder_has_no_classes_and_no_splits(tmp_path: Path) -> None:
    dataset = scan(lay_images(tmp_path, "b.png", "a.png", "c d.png"))
    assert (dataset.classes, dataset.splits) == ((), {})
    assert keys_of(dataset) == ["a", "b", "c d"]
    assert {record.label for record in dataset} == {None}
    assert dataset.num_unlabelled == 0


def test_class_is_the_first_folder_however_deep_an_image_lies(tmp_path: Path) -> None:
    dataset = scan(lay_images(tmp_path, "dog/1.png", "cat/2020/may/1.png", "cat/1.png"))
    assert dataset.classes == ("cat", "dog")
    assert labels_of(dataset) == {"cat/1": "cat", "cat/2020/may/1": "cat", "dog/1": "dog"}


def test_one_class_folder_is_one_class(tmp_path: Path) -> None:
    assert scan(lay_images(tmp_path, "cat/1.png")).classes == ("cat",)


def test_folder_without_an_image_is_no_class(tmp_path: Path) -> None:
    lay_images(tmp_path, "cat/1.png")
    lay(tmp_path, {"ant": None, "docs/read.txt": b"words", "hidden-only/.x": b""})
    dataset = scan(tmp_path)
    assert dataset.classes == ("cat",)
    assert dataset.notices == ("docs/read.txt was not read",)
    assert not refused(dataset)


def test_classes_are_in_the_order_of_their_bytes(tmp_path: Path) -> None:
    names = ["Zebra", "ant", "ära", "😀", "\uffee"]
    dataset = scan(lay_images(tmp_path, *(f"{name}/1.png" for name in names)))
    assert dataset.classes == tuple(sorted(names, key=str.encode))


def test_image_beside_class_folders_has_no_class(tmp_path: Path) -> None:
    dataset = scan(lay_images(tmp_path, "cat/1.png", "montage.png"))
    assert labels_of(dataset) == {"cat/1": "cat", "montage": None}
    assert (dataset.num_unlabelled, dataset.first_unlabelled) == (1, "montage")


def test_splits_are_named_as_their_folders(tmp_path: Path) -> None:
    dataset = scan(lay_images(tmp_path, "train/cat/1.png", "train/dog/1.png", "Val/cat/1.png", "test/cat/2.png"))
    assert dataset.splits == {"Val": 1, "test": 1, "train": 2}
    assert dataset.classes == ("cat", "dog")
    assert keys_of(dataset.choose("train")) == ["cat/1", "dog/1"]
    assert keys_of(dataset) == ["Val/cat/1", "test/cat/2", "train/cat/1", "train/dog/1"]


def test_splits_may_hold_flat_images(tmp_path: Path) -> None:
    dataset = scan(lay_images(tmp_path, "train/1.png", "test/1.png"))
    assert (dataset.splits, dataset.classes) == ({"test": 1, "train": 1}, ())


def test_class_that_one_split_lacks_keeps_its_label_in_the_others(tmp_path: Path) -> None:
    dataset = scan(lay_images(tmp_path, "train/ant/1.png", "train/cat/1.png", "test/cat/1.png"))
    assert [record.label for record in dataset.choose("test")] == [1]


def test_a_folder_called_train_among_others_is_a_class(tmp_path: Path) -> None:
    dataset = scan(lay_images(tmp_path, "bus/1.png", "car/1.png", "train/1.png"))
    assert (dataset.classes, dataset.splits) == (("bus", "car", "train"), {})


def test_splits_beside_other_folders_are_ambiguous(tmp_path: Path) -> None:
    lay_images(tmp_path, "train/1.png", "test/1.png", "extra/1.png")
    with pytest.raises(DatasetError, match=r"splits test, train and the folders extra: move"):
        scan(tmp_path)


def test_image_beside_splits_is_refused_and_other_files_are_no_images(tmp_path: Path) -> None:
    lay_images(tmp_path, "train/1.png", "test/1.png", "montage.png")
    lay(tmp_path, {"README.md": b"# words"})
    dataset = scan(tmp_path)
    assert refused(dataset) == {"montage.png": Reason.MISPLACED}
    assert dataset.num_records == 2


def test_litter_and_hidden_files_are_left_out_in_silence(tmp_path: Path) -> None:
    lay_images(
        tmp_path, "cat/1.png", ".hidden/1.png", "cat/.thumb.png", "__MACOSX/cat/1.png", "cat/@eaDir/1.png/thumb.png"
    )
    lay(tmp_path, {"cat/Thumbs.db": b"x", ".DS_Store": b"x", "Desktop.ini": b"x", "cat/._1.png": b"x"})
    dataset = scan(tmp_path)
    assert (keys_of(dataset), dataset.refused) == (["cat/1"], ())


def test_state_of_an_expansion_is_left_out_in_its_root_only(tmp_path: Path) -> None:
    lay_images(tmp_path, "cat/1__0.png")
    lay(tmp_path, {"expansion.json": b"{}", "manifest-00000.parquet": b"PAR1", "cat/expansion.json": b"{}"})
    assert scan(tmp_path).notices == ("cat/expansion.json was not read",)


# ----------------------------------------------------------------------------------------------------------- links


def test_links_are_followed(tmp_path: Path) -> None:
    elsewhere = lay_images(tmp_path / "elsewhere", "x/1.png", "2.png")
    root = lay(tmp_path / "data", {"dog": None})
    (root / "cat").symlink_to(elsewhere / "x", target_is_directory=True)
    (root / "dog" / "2.png").symlink_to(elsewhere / "2.png")
    dataset = scan(root)
    assert keys_of(dataset) == ["cat/1", "dog/2"]
    assert dataset.read(dataset.record(1)) == (elsewhere / "2.png").read_bytes()


def test_folder_may_be_linked_twice(tmp_path: Path) -> None:
    root = lay_images(tmp_path, "cat/1.png")
    (root / "feline").symlink_to("cat", target_is_directory=True)
    assert keys_of(scan(root)) == ["cat/1", "feline/1"]


def test_link_that_leads_back_is_refused(tmp_path: Path) -> None:
    root = lay_images(tmp_path, "cat/1.png")
    (root / "cat" / "up").symlink_to(root, target_is_directory=True)
    (root / "cat" / "here").symlink_to(".", target_is_directory=True)
    (root / "self.png").symlink_to("self.png")
    dataset = scan(root)
    assert keys_of(dataset) == ["cat/1"]
    assert refused(dataset) == dict.fromkeys(["cat/here", "cat/up", "self.png"], Reason.UNREADABLE)


def test_path_too_long_for_the_system_is_refused(tmp_path: Path) -> None:
    root = lay_images(tmp_path, "cat/1.png")
    descriptor = os.open(root / "cat", os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=descriptor)
        inner = os.open("d" * 250, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)
    dataset = scan(root)
    assert keys_of(dataset) == ["cat/1"]
    assert [(refusal.reason, refusal.detail) for refusal in dataset.refused] == [
        (Reason.UNREADABLE, "a folder: file name too long")
    ]


# ------------------------------------------------------------------------------------------------------------ keys


def test_names_that_differ_in_their_extension_keep_it(tmp_path: Path) -> None:
    dataset = scan(lay_images(tmp_path, "a.jpg", "a.png", "a.jpg.png", "b.png", "sub/a.png"))
    assert keys_of(dataset) == ["a.jpg", "a.jpg.png", "a.png", "b", "sub/a"]


def test_key_avoids_the_name_of_a_refused_file(tmp_path: Path) -> None:
    lay_images(tmp_path, "a.png", "note.png")
    lay(tmp_path, {"a": b"words", "note.dat": b"words"})
    dataset = scan(tmp_path)
    assert keys_of(dataset) == ["a.png", "note"]
    assert set(refused(dataset)) == {"a", "note.dat"}


def test_collisions_count_within_a_split_only(tmp_path: Path) -> None:
    dataset = scan(lay_images(tmp_path, "train/a.jpg", "test/a.png"))
    assert keys_of(dataset.choose("train")) == keys_of(dataset.choose("test")) == ["a"]


def test_keys_are_in_the_order_of_their_bytes_across_folders(tmp_path: Path) -> None:
    names = ["a/1.png", "a-b/1.png", "a.b/1.png", "a0.png", "a.png", "é/1.png", "😀.png", "\uffee.png"]
    dataset = scan(lay_images(tmp_path, *names))
    assert keys_of(dataset) == sorted((name.removesuffix(".png") for name in names), key=str.encode)


# --------------------------------------------------------------------------------------------------------- outputs

parts = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8)
some_keys = st.lists(parts, min_size=1, max_size=3).map("/".join)


def path_of(key: str, copy: int | None, extension: str = "jpg", split: str | None = None) -> str:
    class_name = key.partition("/")[0] if "/" in key else None
    return ClassFolders().image_path(Output(key, split, copy, extension, 1, 1, class_name))


@given(first=st.tuples(some_keys, st.integers(0, 99)), second=st.tuples(some_keys, st.integers(0, 99)))
def test_two_copies_never_share_a_path(first: tuple[str, int], second: tuple[str, int]) -> None:
    assert (path_of(*first) == path_of(*second)) == (first == second)


def test_output_lies_beside_its_siblings() -> None:
    assert path_of("cat/1", 3) == "cat/1__3.jpg"
    assert path_of("cat/1", None) == "cat/1.jpg"
    assert path_of("cat/1.png", None, "") == "cat/1.png"


def test_output_of_a_dataset_of_another_format_lies_in_its_class() -> None:
    output = Output("images/1", "train", 0, "jpg", 1, 1)
    assert ClassFolders().image_path(replace(output, class_name="cat")) == "train/cat/images/1__0.jpg"
    assert ClassFolders().image_path(output) == "train/images__1__0.jpg"
    for name in ("n/a", "..", ".cat", ""):
        with pytest.raises(DatasetError, match="cannot be the name of a folder; rename"):
            ClassFolders().image_path(replace(output, class_name=name))


def test_outputs_of_all_splits_are_a_dataset_with_splits(tmp_path: Path) -> None:
    dataset = scan(lay_images(tmp_path / "in", "val/cat/1.png", "test/cat/1.png"))
    for split in dataset.splits:
        for record in dataset.choose(split):
            lay(tmp_path / "out", {path_of(record.key, 0, "png", split): pattern()})
    assert scan(tmp_path / "out").splits == {"test": 1, "val": 1}
