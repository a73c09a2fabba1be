"""Output names that collide, and foreign files at paths of outputs: refused, and not changed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from augment.errors import DatasetError, OutputError
from augment.expansion.expand import Expansion, expand_dataset
from augment.expansion.progress import Progress
from tests.augment.expansion.expansions_for_tests import PIPELINE, content, lay_noise

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_original_that_would_lie_on_a_copy_is_refused(tmp_path: Path, out: Path) -> None:
    data = lay_noise(tmp_path / "data", ["cat/1.jpg", "cat/1__0.jpg"])
    with pytest.raises(DatasetError, match="the original of record cat/1__0 and a copy of record cat/1 would both be"):
        expand_dataset(data, out, PIPELINE, include_originals=True)
    assert expand_dataset(data, out, PIPELINE).num_rendered == 2
    assert {path.name for path in out.rglob("*.jpg")} == {"1__0.jpg", "1__0__0.jpg"}


def test_original_that_keeps_its_extension_is_seen_on_a_copy(tmp_path: Path, out: Path) -> None:
    """Two files of one name keep their extensions in their keys: the name of the copy is then the whole key."""
    data = lay_noise(tmp_path / "data", ["cat/1.jpg", "cat/1__0.jpg", "cat/1__0.jpeg"])
    with pytest.raises(DatasetError, match=r"the original of record cat/1__0\.jpg and a copy of record cat/1"):
        expand_dataset(data, out, PIPELINE, include_originals=True)


def test_class_folder_that_is_called_like_a_copy_is_refused(tmp_path: Path, out: Path) -> None:
    data = lay_noise(tmp_path / "data", ["1.jpg", "1__0.jpg/2.jpg"])
    with pytest.raises(DatasetError, match=r"the folder of record 1__0\.jpg/2 has the name of a copy of record 1"):
        expand_dataset(data, out, PIPELINE)


@pytest.mark.parametrize("name", ["expansion.json", "manifest-00000.parquet", "manifest-123456.parquet"])
def test_class_folder_that_is_called_like_a_file_of_an_expansion_is_refused(
    name: str, tmp_path: Path, out: Path
) -> None:
    data = lay_noise(tmp_path / "data", ["cat/1.jpg", f"{name}/2.jpg"])
    with pytest.raises(DatasetError, match=rf"the folder {name} of record {name}/2 has the name of a file that an exp"):
        expand_dataset(data, out, PIPELINE)
    assert not out.exists()
    deeper = lay_noise(tmp_path / "deeper", [f"cat/{name}/2.jpg"])
    assert expand_dataset(deeper, out, PIPELINE).num_rendered == 1


def test_original_that_is_called_like_a_file_of_an_expansion_is_refused(tmp_path: Path, out: Path) -> None:
    data = lay_noise(tmp_path / "data", ["train/1.jpg", "train/expansion.json"])
    lines = "".join(f'{{"file_name": "{name}", "label": "cat"}}\n' for name in ("1.jpg", "expansion.json"))
    (data / "train" / "metadata.jsonl").write_text(lines)
    with pytest.raises(DatasetError, match="the original of record expansion has the name of a file that an expansion"):
        expand_dataset(data, out, PIPELINE, split="train", include_originals=True)
    assert expand_dataset(data, out, PIPELINE, split="train").num_rendered == 2


def _file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"mine")


@pytest.mark.parametrize(
    ("lay", "told"),
    [
        (lambda out: _file(out / "cat/new__0.jpg"), "a file cat/new__0.jpg"),
        (lambda out: _file(out / "cat/new.jpg"), "a file cat/new.jpg"),
        (lambda out: _file(out / "owl"), "a file owl"),
        (lambda out: (out / "cat/new__1.jpg").mkdir(), "a folder cat/new__1.jpg"),
        (lambda out: (out / "cat/new__0.jpg").symlink_to(out / "nowhere"), "a file cat/new__0.jpg"),
    ],
    ids=["copy", "original", "folder", "folder at a copy", "link"],
)
def test_update_leaves_alone_what_others_laid_where_outputs_go(
    data: Path, out: Path, lay: Callable[[Path], object], told: str
) -> None:
    expand_dataset(data, out, PIPELINE, copies=2, include_originals=True)
    lay_noise(data, ["cat/new.jpg", "owl/1.jpg"])
    lay(out)
    before = content(out)
    expected = f"holds {told} that this expansion did not write, at the path of an output; move it elsewhere or remove"
    with pytest.raises(OutputError, match=expected):
        Expansion(data, out, PIPELINE, copies=2, include_originals=True, update=True).plan()
    with pytest.raises(OutputError, match=expected):
        expand_dataset(data, out, PIPELINE, copies=2, include_originals=True, update=True)
    assert content(out) == before


def test_files_of_others_beside_outputs_are_in_nobodys_way(data: Path, out: Path) -> None:
    expand_dataset(data, out, PIPELINE, copies=2)
    for name in ("cat/0__2.jpg", "cat/nobody__0.jpg", "cat/0__0.png", "cat/0.jpg", "notes/0__0.jpg"):
        _file(out / name)
    (out / "empty").mkdir()
    lay_noise(data, ["cat/new.jpg"])
    assert expand_dataset(data, out, PIPELINE, copies=2, update=True).num_rendered == 2
    assert (out / "cat/0.jpg").read_bytes() == b"mine"


def test_class_that_lies_on_another_disk_stays_there(data: Path, out: Path, tmp_path: Path) -> None:
    """A user may put a link in the place of a class folder."""
    expand_dataset(data, out, PIPELINE)
    (out / "cat").rename(tmp_path / "large disk")
    (out / "cat").symlink_to(tmp_path / "large disk")
    lay_noise(data, ["cat/new.jpg"])
    assert expand_dataset(data, out, PIPELINE, update=True).num_rendered == 1
    assert (tmp_path / "large disk/new__0.jpg").is_file()


def test_run_that_goes_on_leaves_alone_what_others_laid_where_outputs_go(data: Path, out: Path, tmp_path: Path) -> None:
    """No manifest names the outputs of unfinished shards, so a file there is compared."""

    def stop(progress: Progress) -> None:
        if progress.done >= 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        expand_dataset(data, out, PIPELINE, copies=2, progress=stop)
    mine = out / "dog/7__1.jpg"
    _file(mine)
    with pytest.raises(OutputError, match=r"holds a file dog/7__1\.jpg that this expansion did not write"):
        expand_dataset(data, out, PIPELINE, copies=2)
    assert mine.read_bytes() == b"mine"
    mine.unlink()
    expand_dataset(data, out, PIPELINE, copies=2)
    expand_dataset(data, tmp_path / "fresh", PIPELINE, copies=2)
    assert content(out) == content(tmp_path / "fresh")


def test_update_over_a_damaged_part_knows_its_files_by_their_bytes(data: Path, out: Path, tmp_path: Path) -> None:
    expand_dataset(data, out, PIPELINE, copies=2)
    (out / "manifest-00001.parquet").write_bytes(b"PAR1 no manifest PAR1")
    lay_noise(data, ["dog/new.jpg"])
    expand_dataset(data, out, PIPELINE, copies=2, update=True)
    expand_dataset(data, tmp_path / "fresh", PIPELINE, copies=2)
    assert content(out) == content(tmp_path / "fresh")
