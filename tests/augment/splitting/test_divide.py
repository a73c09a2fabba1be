"""Division of a dataset before it is augmented, and writing it with its splits."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augment.cli import app
from augment.errors import CallError, DatasetError
from augment.expansion.expand import expand_dataset
from augment.scanning.scan import scan
from augment.splitting.divide import divide_dataset
from tests.augment.folders_for_tests import lay, pattern


def scene(seed: int, size: int = 64) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    return Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)


def png(seed: int, size: int = 64) -> bytes:
    file = io.BytesIO()
    scene(seed, size).save(file, "png")
    return file.getvalue()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Write two classes of 20 and 10 images, one of them twice in two sizes and under another class."""
    files: dict[str, bytes | None] = {f"{'cat' if i < 20 else 'dog'}/p{i // 5}_{i:02}.png": png(i) for i in range(30)}
    return lay(tmp_path / "data", files)


def divided(dataset_root: Path, **options: object) -> dict[str, str]:
    division = divide_dataset(scan(dataset_root), **options)  # type: ignore[arg-type]
    return {row[0]: row[1] for row in division.rows()}


def test_every_class_has_its_share(data: Path) -> None:
    division = divide_dataset(scan(data))
    assert division.counts == {"train": 18, "val": 6, "test": 6}
    assert division.class_counts() == {"cat": [12, 4, 4], "dog": [6, 2, 2]}
    assert divide_dataset(scan(data), validation=False).counts == {"train": 21, "test": 9}


def test_near_duplicates_stay_on_one_side_and_are_reported(data: Path) -> None:
    for i in range(10):
        lay(data, {f"dog/copy of {i}.png": png(i, size=50)})
    dataset = scan(data)
    division = divide_dataset(dataset)
    rows = {row[0]: row for row in division.rows()}
    for i in range(10):
        mine, other = rows[f"dog/copy of {i}"], rows[f"cat/p{i // 5}_{i:02}"]
        assert mine[1] == other[1]
        assert mine[3] == other[3] == other[0]
        assert mine[4] == other[0]
        assert int(mine[5]) <= 6
    assert len(division.near.pairs) == 10
    alone = divide_dataset(dataset, max_distance=None)
    assert not len(alone.near.pairs)
    assert any(
        alone.assigned[dataset.find(f"dog/copy of {i}")] != alone.assigned[dataset.find(f"cat/p{i // 5}_{i:02}")]
        for i in range(10)
    )


def test_equal_images_stay_together_though_no_image_is_looked_at(data: Path) -> None:
    lay(data, {f"cat/again {i}.png": png(i) for i in range(20)})
    rows = divided(data, max_distance=None)
    assert all(rows[f"cat/again {i}"] == rows[f"cat/p{i // 5}_{i:02}"] for i in range(20))


def test_groups_by_a_pattern_never_straddle(data: Path) -> None:
    rows = divided(data, group_by=r"/(p\d)_")
    by_group: dict[str, set[str]] = {}
    for key, name in rows.items():
        by_group.setdefault(key.split("/")[1][:2], set()).add(name)
    assert all(len(names) == 1 for names in by_group.values())
    assert {next(iter(names)) for names in by_group.values()} == {"train", "val", "test"}


def test_groups_by_folder_are_the_folders_of_keys(tmp_path: Path) -> None:
    data = lay(
        tmp_path / "data", {f"cat/{person}/{i}.png": png(10 * person + i) for person in range(6) for i in range(4)}
    )
    rows = divided(data, group_by="folder")
    assert all(len({rows[f"cat/{person}/{i}"] for i in range(4)}) == 1 for person in range(6))
    assert len(set(rows.values())) == 3


def test_groups_by_a_column_are_read_from_what_is_said_of_images(tmp_path: Path) -> None:
    lines = [json.dumps({"file_name": f"{i}.png", "patient": i // 4, "text": "a"}) for i in range(19)]
    lines.append(json.dumps({"file_name": "19.png", "text": "a"}))
    files: dict[str, bytes | None] = {f"{i}.png": png(i) for i in range(20)}
    data = lay(tmp_path / "data", files | {"metadata.jsonl": "\n".join(lines).encode()})
    division = divide_dataset(scan(data), group_by="column:patient")
    rows = {row[0]: row[1] for row in division.rows()}
    assert all(len({rows[str(4 * patient + i)] for i in range(4)}) == 1 for patient in range(4))
    assert division.num_nameless == 1
    with pytest.raises(DatasetError, match=r"no such column; it has .*patient.*did you mean `patient`"):
        divided(data, group_by="column:patents")


@pytest.mark.parametrize(
    ("group_by", "message"),
    [
        ("(p", "is not a regular expression"),
        ("p[0-9]", "a pattern with 0 groups; put exactly one pair"),
        ("(p)([0-9])", "a pattern with 2 groups; put exactly one pair"),
        ("column:", "without a name"),
    ],
)
def test_group_that_is_none_is_refused(data: Path, group_by: str, message: str) -> None:
    with pytest.raises(CallError, match=message):
        divided(data, group_by=group_by)


def test_pattern_that_finds_nothing_is_refused(data: Path) -> None:
    with pytest.raises(DatasetError, match=r"finds nothing in the keys .*the first is 'cat/p0_00'"):
        divided(data, group_by="^(patient[0-9]+)")


def test_dataset_with_splits_is_refused(tmp_path: Path) -> None:
    data = lay(tmp_path / "data", {f"{name}/cat/{i}.png": png(i) for i, name in enumerate(("train", "val"))})
    with pytest.raises(DatasetError, match="has the splits train, val already"):
        divided(data)


def test_too_few_records_or_groups_are_refused(tmp_path: Path) -> None:
    data = lay(tmp_path / "data", {"1.png": png(1), "2.png": png(2)})
    with pytest.raises(DatasetError, match="2 records, too few for the splits train, val, test"):
        divided(data)
    lay(data, {"3.png": png(1, 50)})
    with pytest.raises(DatasetError, match="belong to 2 groups, too few for the 3 splits"):
        divided(data)


def test_ten_more_images_move_few_others(data: Path) -> None:
    before = divided(data)
    lay(data, {f"cat/new {i}.png": png(100 + i) for i in range(10)})
    after = divided(data)
    assert sum(after[key] != name for key, name in before.items()) <= 10
    assert divided(data) == after
    assert divided(data, seed=1) != after


def annotated(root: Path) -> Path:
    """Write a COCO dataset in which every fourth image also has the rare class."""
    images = [{"id": i, "file_name": f"{i:02}.png", "width": 64, "height": 64} for i in range(24)]
    boxes = [
        {"id": 100 * i + n, "image_id": i, "category_id": n, "bbox": [1, 2, 30, 20], "area": 600, "iscrowd": 0}
        for i in range(24)
        for n in ([1, 2] if i % 4 == 0 else [1])
    ]
    document = {
        "images": images,
        "annotations": boxes,
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "tram"}],
    }
    files: dict[str, bytes | None] = {f"{i:02}.png": png(i) for i in range(24)}
    return lay(root, files | {"annotations.json": json.dumps(document).encode()})


def test_detection_is_divided_by_the_rarest_class_in_the_image(tmp_path: Path) -> None:
    division = divide_dataset(scan(annotated(tmp_path / "data")), ratios="50,25,25")
    assert division.class_counts() == {"car": [9, 5, 4], "tram": [3, 1, 2]} or division.class_counts() == {
        "car": [9, 4, 5],
        "tram": [3, 2, 1],
    }


@pytest.mark.parametrize("name", ["coco", "csv", "imagefolder", "parquet", "voc", "webdataset", "yolo"])
def test_divided_dataset_is_written_by_every_format_that_holds_boxes(tmp_path: Path, name: str) -> None:
    dataset = scan(annotated(tmp_path / "data"))
    division = divide_dataset(dataset)
    summary = division.expansion(tmp_path / "out", output_format=name).run()
    assert summary.num_refused == 0
    written = scan(tmp_path / "out")
    assert (written.format, written.splits) == (name, division.counts)
    for part, number in division.counts.items():
        view = written.choose(part)
        mine = [dataset.record(int(i)) for i in np.flatnonzero(division.assigned == division.ratios.names.index(part))]
        assert len(mine) == number
        assert {view.read(record) for record in view} == {dataset.read(record) for record in mine}
    assert division.expansion(tmp_path / "out", output_format=name).run().nothing_to_do


def test_images_with_masks_are_divided_with_them(tmp_path: Path) -> None:
    def mask(i: int) -> bytes:
        file = io.BytesIO()
        Image.new("L", (64, 64), i % 3).save(file, "png")
        return file.getvalue()

    files: dict[str, bytes | None] = {f"images/{i}.png": png(i) for i in range(10)}
    data = lay(tmp_path / "data", files | {f"masks/{i}.png": mask(i) for i in range(10)})
    division = divide_dataset(scan(data))
    division.expansion(tmp_path / "out").run()
    written = scan(tmp_path / "out")
    assert (written.splits, set(written.targets)) == (division.counts, {"mask"})
    assert {written.read_mask(record) for record in written} == {mask(i) for i in range(3)}


def test_expanding_what_was_divided_augments_training_alone(data: Path, tmp_path: Path) -> None:
    divide_dataset(scan(data)).expansion(tmp_path / "divided").run()
    summary = expand_dataset(tmp_path / "divided", tmp_path / "out", "flip-rotate-crop", copies=2)
    assert (summary.num_rendered, summary.num_copied) == (36, 12)
    assert scan(tmp_path / "out").splits == {"test": 6, "train": 36, "val": 6}


def test_what_the_scan_refused_is_told_where_the_dataset_is_written(data: Path, tmp_path: Path) -> None:
    lay(data, {"cat/notes.dat": b"no image"})
    summary = divide_dataset(scan(data)).expansion(tmp_path / "out").run()
    assert [each.key for each in summary.refusals] == ["cat/notes.dat"]


def test_changed_dataset_is_brought_up_to_date(data: Path, tmp_path: Path) -> None:
    divide_dataset(scan(data)).expansion(tmp_path / "out").run()
    lay(data, {f"cat/new {i}.png": png(100 + i) for i in range(3)})
    division = divide_dataset(scan(data))
    summary = division.expansion(tmp_path / "out", update=True).run()
    assert summary.num_kept >= 20
    assert scan(tmp_path / "out").splits == division.counts


def run(*arguments: object) -> int:
    return app.run([str(argument) for argument in (*arguments, "--workers", 0)])


def test_command_writes_the_dataset_and_a_table(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lay(data, {"dog/copy.png": png(3, 50)})
    out = tmp_path / "out"
    assert run("split", data, out, "--dry-run") == 0
    assert not out.exists()
    told = capsys.readouterr().out
    assert "nothing was written" in told
    assert "cat/p0_03 and dog/copy" in told
    assert run("split", data, out) == 0
    told = capsys.readouterr().out
    assert "31 images written" in told
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 31
    written = scan(out)
    assert all(written.find(f"{row['split']}/{row['key']}") is not None for row in rows)
    assert run("split", data, out) == 0
    assert "0 images written" in capsys.readouterr().out
    assert run("split", data, out, "--seed", 1) == 2 + 1
    assert "error" in capsys.readouterr().err


def test_command_tells_in_json(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("split", data, tmp_path / "out", "--json", "--ratios", "80,10,10", "--no-near-duplicates") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["splits"] == {"train": 24, "val": 3, "test": 3}
    assert document["classes"][0] == {"class": "cat", "splits": {"train": 16, "val": 2, "test": 2}}
    assert document["written"] == 30
    assert document["num_near_duplicates"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--ratios", "60,20"), "add up to 100"),
        (("--ratios", "70,30", "--no-validation"), "give only --ratios with two numbers"),
        (("--group-by", "x"), "a pattern with 0 groups"),
        (("--max-distance", "40"), "max_distance is 40"),
        (("--seed", "-1"), "seed is -1"),
    ],
)
def test_command_refuses_an_option_before_it_scans(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    (tmp_path / "data").mkdir()
    assert run("split", tmp_path / "data", tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err


def test_command_refuses_an_output_inside_of_the_dataset(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lay(data, {"flat.png": pattern()})
    assert run("split", data, data / "out") == 3
    assert "error" in capsys.readouterr().err
