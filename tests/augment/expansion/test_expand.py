"""Output of an expansion, in new folders and in folders that already hold some of it."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from augment.errors import OutputError
from augment.expansion import folder, manifest, spec
from augment.expansion.expand import expand_dataset
from augment.render.pipeline import Pipeline
from augment.render.renderer import Renderer
from augment.scanning.scan import scan
from augment.workers.pool import LocalWorkers
from tests.augment.expansion.expansions_for_tests import (
    NAMES,
    PIPELINE,
    broken,
    content,
    flip_a_bit,
    identities,
    lay_noise,
    rows,
)

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_expand_writes_each_copy_and_original_under_its_key(data: Path, out: Path) -> None:
    summary = expand_dataset(data, out, PIPELINE, copies=2, seed=7, include_originals=True)
    images = {str(path.relative_to(out)) for path in out.rglob("*.jpg")}
    keys = [name.removesuffix(".jpg") for name in NAMES]
    assert images == {*NAMES, *(f"{key}__{copy}.jpg" for key in keys for copy in range(2))}
    assert (summary.num_rendered, summary.num_originals, summary.num_kept, summary.num_refused) == (32, 16, 0, 0)
    assert summary.size_bytes == sum(path.stat().st_size for path in out.rglob("*.jpg"))
    for name in NAMES:
        assert (out / name).read_bytes() == (data / name).read_bytes()


def test_copy_is_the_draw_of_a_stream(data: Path, out: Path) -> None:
    """Copy k on disk is epoch k online: rendered from its address alone, outside of any expansion."""
    expand_dataset(data, out, PIPELINE, copies=3, seed=7, image_format="png")
    renderer = Renderer(scan(data), PIPELINE.spec, seed=7)
    place = renderer.dataset.find("dog/3")
    assert place is not None
    rendered = renderer.render(renderer.dataset.record(place), draw=2)
    from augment.images.decode import decode_image

    assert (decode_image((out / "dog/3__2.png").read_bytes()) == rendered.sample.image).all()


def test_manifest_has_the_provenance_of_each_output(data: Path, out: Path) -> None:
    (data / "cat/broken.jpg").write_bytes(broken("broken"))
    (data / "cat/notes.dat").write_text("no image")
    expand_dataset(data, out, PIPELINE, copies=2, seed=7, include_originals=True)
    found = rows(out)
    assert [row["key"] for row in found] == sorted(str(row["key"]) for row in found)
    by_status: dict[str, list[dict[str, Any]]] = {"rendered": [], "original": [], "refused": []}
    for row in found:
        by_status[str(row["status"])].append(row)
    assert [len(some) for some in by_status.values()] == [32, 16, 2]
    renderer = Renderer(scan(data), PIPELINE.spec, seed=7)
    for row in by_status["rendered"]:
        record = renderer.dataset.record(renderer.dataset.find(row["key"]) or 0)
        file = out / row["path"]
        assert row["render_key"] == renderer.address(record, draw=row["copy"]).render_key
        assert row["record_digest"] == record.digest
        assert (row["size_bytes"], row["height"], row["width"]) == (file.stat().st_size, 24, 32)
        assert row["class"] == row["key"].partition("/")[0] == renderer.dataset.classes[row["label"]]
        assert all({"name", "params"} == applied.keys() for applied in json.loads(row["applied"]))
    assert any(json.loads(row["applied"]) for row in by_status["rendered"])
    assert all(row["copy"] is None and row["render_key"] is None for row in by_status["original"])
    refused = {row["key"]: (row["reason"], row["path"], row["copy"]) for row in by_status["refused"]}
    assert refused == {"cat/broken": ("undecodable", None, None), "cat/notes.dat": ("format", None, None)}


def test_manifest_digest_is_what_b2sum_prints(data: Path, out: Path) -> None:
    expand_dataset(data, out, PIPELINE)
    row = rows(out)[0]
    printed = subprocess.run(["b2sum", "-l", "128", out / str(row["path"])], capture_output=True, text=True, check=True)
    assert printed.stdout.split()[0] == row["digest"]


def test_folder_tells_nothing_of_where_when_and_how(
    data: Path, out: Path, tmp_path: Path, one_worker: LocalWorkers
) -> None:
    """The same dataset elsewhere, the same folder elsewhere, other workers: the same bytes, names included."""
    expand_dataset(data, out, PIPELINE, copies=2)
    moved = shutil.copytree(data, tmp_path / "elsewhere" / "moved")
    again = tmp_path / "deep" / "er" / "out"
    expand_dataset(moved, again, PIPELINE, copies=2, workers=one_worker)
    assert content(again) == content(out)
    assert str(tmp_path).encode() not in b"".join(data or b"" for data in content(out).values())


def test_bytes_do_not_depend_on_the_number_of_workers(
    data: Path, tmp_path: Path, one_worker: LocalWorkers, three_workers: LocalWorkers
) -> None:
    (data / "dog/broken.jpg").write_bytes(broken("broken"))
    found = []
    for name, workers in [("none", None), ("one", one_worker), ("three", three_workers)]:
        expand_dataset(data, tmp_path / name, PIPELINE, copies=3, workers=workers)
        found.append(content(tmp_path / name))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) > 16 * 3


@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
def test_image_format_decides_the_files(data: Path, out: Path, image_format: str) -> None:
    from PIL import Image

    expand_dataset(data, out, PIPELINE, image_format=image_format)
    with Image.open(out / str(rows(out)[0]["path"])) as image:
        assert image.format == image_format.upper()


def test_quality_of_png_is_no_part_of_the_description(data: Path, out: Path) -> None:
    expand_dataset(data, out, PIPELINE, image_format="png", quality=90)
    assert expand_dataset(data, out, PIPELINE, image_format="png", quality=50).nothing_to_do


def test_same_command_again_does_nothing(data: Path, out: Path) -> None:
    expand_dataset(data, out, PIPELINE, copies=2)
    before = identities(out)
    summary = expand_dataset(data, out, PIPELINE, copies=2)
    assert summary.nothing_to_do
    assert summary.num_kept == 32
    assert identities(out) == before


@pytest.mark.parametrize(
    "harm",
    [
        lambda out: (out / "cat/3__1.jpg").unlink(),
        lambda out: (out / "cat/3__1.jpg").write_bytes(b"cut"),
        lambda out: flip_a_bit(out / "cat/3__1.jpg"),
        lambda out: (out / "cat/3__1.jpg").write_bytes((out / "cat/2__1.jpg").read_bytes()),
        lambda out: shutil.rmtree(out / "dog"),
        lambda out: (out / "manifest-00002.parquet").unlink(),
        lambda out: (out / "manifest-00002.parquet").write_bytes(b"PAR1 no manifest PAR1"),
        lambda out: (out / "manifest-00002.parquet").write_bytes((out / "manifest-00001.parquet").read_bytes()[:-9]),
    ],
    ids=[
        "file gone",
        "file cut",
        "bit flipped",
        "another's bytes",
        "class gone",
        "part gone",
        "part damaged",
        "part cut",
    ],
)
def test_what_is_missing_is_made_again(data: Path, out: Path, harm: Callable[[Path], object]) -> None:
    expand_dataset(data, out, PIPELINE, copies=2)
    whole, before = content(out), identities(out)
    harm(out)
    summary = expand_dataset(data, out, PIPELINE, copies=2)
    assert content(out) == whole
    assert summary.num_kept + summary.num_rendered == 32
    after = identities(out)
    assert sum(before[name] != after[name] for name in before) == summary.num_rendered < 32


def test_file_is_read_again_only_where_it_changed_since_its_part(
    data: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expand_dataset(data, out, PIPELINE, copies=2)
    late = 0.05  # the kernel's clock of files moves some milliseconds at a time
    for part in sorted(out.glob("manifest-*")):  # the same parts, later than all images
        time.sleep(late)
        part.rename(out / "elsewhere").rename(part)
    seen: list[str] = []
    read = folder.read_bytes

    def seeing(root: Path, path: str) -> bytes | None:
        seen.append(path)
        return read(root, path)

    monkeypatch.setattr(folder, "read_bytes", seeing)
    assert expand_dataset(data, out, PIPELINE, copies=2).nothing_to_do
    assert seen == []
    path = out / "dog/5__1.jpg"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    flip_a_bit(path)
    os.utime(path, ns=times)  # as if it had never been touched
    assert expand_dataset(data, out, PIPELINE, copies=2).num_rendered == 1
    assert "dog/5__1.jpg" in seen


def test_known_refusals_are_not_tried_again(data: Path, out: Path) -> None:
    (data / "cat/broken.jpg").write_bytes(broken("broken"))
    whole = expand_dataset(data, out, PIPELINE)
    (out / "cat/0__0.jpg").unlink()
    again = expand_dataset(data, out, PIPELINE)
    assert (again.num_rendered, again.num_refused) == (1, 1)
    assert again.refusals == whole.refusals


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 8}, "seed is 7 there and 8 here"),
        ({"copies": 3}, "copies is 2 there and 3 here"),
        ({"image_format": "png"}, 'image_format is that of each original there and "png" here'),
        ({"include_originals": True}, "include_originals is false there and true here"),
        ({"pipeline": Pipeline.parse("transforms: [{VerticalFlip: {}}]")}, "pipeline is "),
    ],
)
@pytest.mark.parametrize("update", [False, True])
def test_another_description_is_refused(
    data: Path, out: Path, changed: dict[str, Any], named: str, update: bool
) -> None:
    expand_dataset(data, out, PIPELINE, copies=2, seed=7)
    whole = content(out)
    arguments = {"pipeline": PIPELINE, "copies": 2, "seed": 7, **changed}
    with pytest.raises(OutputError, match="another output folder") as caught:
        expand_dataset(data, out, update=update, **arguments)
    assert named in str(caught.value)
    assert content(out) == whole


def test_description_of_a_later_revision_is_refused(data: Path, out: Path) -> None:
    expand_dataset(data, out, PIPELINE)
    described = json.loads((out / "expansion.json").read_text())
    (out / "expansion.json").write_text(json.dumps(described | {"revision": 99}))
    with pytest.raises(OutputError, match="revision 99"):
        expand_dataset(data, out, PIPELINE)


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"revision": 3, "seed": 0}', b"not json", b'{"\xff": 1}'])
def test_damaged_description_is_refused(data: Path, out: Path, text: bytes) -> None:
    out.mkdir()
    (out / "expansion.json").write_bytes(text)
    with pytest.raises(OutputError, match=r"expansion\.json is not an expansion's description"):
        expand_dataset(data, out, PIPELINE)


@pytest.mark.parametrize(
    "forged",
    [{"shard_size": 0}, {"parts": []}, {"copies": "4"}, {"format": "x"}, {"image_format": "x"}, {"shares": [{"x": 1}]}],
)
def test_forged_description_is_refused(data: Path, out: Path, forged: dict[str, object]) -> None:
    expand_dataset(data, out, PIPELINE)
    described = json.loads((out / "expansion.json").read_text())
    (out / "expansion.json").write_text(json.dumps(described | forged))
    with pytest.raises(OutputError, match=r"expansion\.json is not an expansion's description"):
        expand_dataset(data, out, PIPELINE, update=True)


def test_forged_manifest_leads_nowhere_else(data: Path, out: Path, tmp_path: Path) -> None:
    """An update removes what the old manifest names: never outside of the folder."""
    precious = tmp_path / "precious.jpg"
    precious.write_bytes(b"mine")
    expand_dataset(data, out, PIPELINE)
    described = spec.ExpansionSpec.from_json((out / "expansion.json").read_text(), "")
    forged = manifest.Row("cat/0", manifest.Status.RENDERED, copy=0, path="../precious.jpg", size_bytes=4)
    manifest.write_part(out, 0, described.id, [*(manifest.read_part(out, 0, described.id) or ()), forged])
    lay_noise(data, ["cat/new.jpg"])
    with pytest.raises(OutputError, match="is outside of it"):
        expand_dataset(data, out, PIPELINE, update=True)
    assert precious.read_bytes() == b"mine"
