"""Decoded images are cached, and no result depends on the cache."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from augment.errors import RecordError
from augment.images import cache
from augment.images.cache import CachePlace, DecodedCache
from augment.render.pipeline import Pipeline
from augment.scanning.scan import scan
from augment.streams.batch import BatchRenderer
from augment.streams.spec import BatchSlice
from augment.streams.stream import Stream
from augment.workers.task import InProcessGuard
from tests.augment.folders_for_tests import LONG_AGO_S, lay, pattern

PIPELINE = Pipeline.parse("transforms: [{RandomCropKeepSize: {}}, {ColorJitter: {}}, {Posterize: {}}]")


def noise(seed: int, shape: tuple[int, ...] = (60, 80, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def never() -> np.ndarray:
    raise AssertionError("it is kept")


@pytest.mark.parametrize("shape", [(60, 80, 3), (4, 5, 3), (70, 90), (1, 1), (1000, 700, 3)])
def test_what_was_made_is_found(tmp_path: Path, shape: tuple[int, ...]) -> None:
    kept = DecodedCache(CachePlace(tmp_path, 2**24))
    made = kept.array(b"a", lambda: noise(1, shape))
    found = kept.array(b"a", never)
    assert found.shape == shape
    assert np.array_equal(found, made)
    assert not found.flags.writeable


def test_views_stay_what_they_were_while_others_are_written(tmp_path: Path) -> None:
    kept = DecodedCache(CachePlace(tmp_path, 2**26))
    kept.array(b"0", lambda: noise(0))
    kept.array(b"small", lambda: noise(1, (3, 3, 3)))
    first, small = kept.array(b"0", never), kept.array(b"small", never)
    for number in range(1, 300):
        kept.array(str(number).encode(), lambda number=number: noise(number))  # type: ignore[misc]
    assert np.array_equal(first, noise(0))
    assert np.array_equal(small, noise(1, (3, 3, 3)))


def test_full_cache_keeps_what_it_has_and_takes_no_more(tmp_path: Path) -> None:
    kept = DecodedCache(CachePlace(tmp_path, 2**18))
    for number in range(40):
        assert np.array_equal(kept.array(bytes([number]), lambda number=number: noise(number)), noise(number))  # type: ignore[misc]
    assert np.array_equal(kept.array(bytes([0]), never), noise(0))
    assert sum(512 * each.stat().st_blocks for each in tmp_path.iterdir() if each.name != "lock.mdb") <= 2**18
    with pytest.raises(AssertionError, match="it is kept"):
        kept.array(bytes([39]), never)


def test_what_cannot_be_made_is_not_kept(tmp_path: Path) -> None:
    kept = DecodedCache(CachePlace(tmp_path, 2**20))

    def broken() -> np.ndarray:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        kept.array(b"a", broken)
    assert np.array_equal(kept.array(b"a", lambda: noise(1)), noise(1))


def test_folder_that_cannot_be_written_costs_no_image(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    kept = DecodedCache(CachePlace(tmp_path / "file" / "folder", 2**20))
    assert np.array_equal(kept.array(b"a", lambda: noise(1)), noise(1))


def test_forked_child_does_without(tmp_path: Path) -> None:
    kept = DecodedCache(CachePlace(tmp_path, 2**20))
    kept.array(b"a", lambda: noise(1))
    child = os.fork()
    if child == 0:
        equal = np.array_equal(kept.array(b"a", lambda: noise(2)), noise(2))
        os._exit(0 if equal else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert np.array_equal(kept.array(b"a", never), noise(1))


WRITER = """
import sys
import numpy as np
from pathlib import Path
from augment.images.cache import CachePlace, DecodedCache

kept = DecodedCache(CachePlace(Path(sys.argv[1]), 2**28))
print("ready", flush=True)
for number in range(int(sys.argv[2]), 10_000):
    made = np.random.default_rng(number).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    kept.array(str(number).encode(), lambda: made)
"""


def test_killed_writer_leaves_no_half_image_and_no_lock(tmp_path: Path) -> None:
    kept = DecodedCache(CachePlace(tmp_path, 2**28))
    for start in (0, 50):
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(start)], stdout=subprocess.PIPE)
            for _ in range(2)
        ]
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        for number in range(start, start + 50):
            assert np.array_equal(kept.array(str(number).encode(), lambda number=number: noise(number)), noise(number))  # type: ignore[misc]
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.wait(10)
            assert writer.stdout is not None
            writer.stdout.close()
    for number in range(200):
        assert np.array_equal(kept.array(str(number).encode(), lambda number=number: noise(number)), noise(number))  # type: ignore[misc]


@pytest.fixture
def folder(tmp_path: Path, files_are_settled: None) -> Path:  # noqa: ARG001 - images of young files are not kept
    files: dict[str, bytes | None] = {f"{i}.png": pattern(40 * i, height=40, width=50) for i in range(5)}
    files["large.jpg"] = pattern(7, height=400, width=500, image_format="jpeg")
    return lay(tmp_path / "photos", files)


def renderer(folder: Path, manifest: Path, place: CachePlace | None, pipeline: Pipeline = PIPELINE) -> BatchRenderer:
    dataset = scan(folder, sink=manifest)
    stream = Stream(dataset, pipeline, batch_size=3)
    sources = stream.sources(manifest, {}, cache=place)
    return BatchRenderer([source.renderer() for source in sources], stream.spec, stream.image_shapes)


def test_bytes_do_not_depend_on_what_is_kept(folder: Path, tmp_path: Path) -> None:
    small = Pipeline.parse("transforms: [{Resize: {height: 30, width: 40}}, {Equalize: {mode: pil}}]")
    for number, pipeline in enumerate((PIPELINE, small)):
        manifest = tmp_path / f"manifest-{number}.arrow"
        plain = renderer(folder, manifest, None, pipeline)
        cached = renderer(folder, manifest, CachePlace(tmp_path / "decoded", 2**24), pipeline)
        for place in (BatchSlice(0, 0), BatchSlice(0, 1), BatchSlice(1, 0), BatchSlice(1, 1), BatchSlice(1, 0)):
            one, other = plain.render(place, InProcessGuard()), cached.render(place, InProcessGuard())
            assert one.keys == other.keys
            assert all(np.array_equal(a, b) for a, b in zip(one.images, other.images, strict=True))
            assert [row.render_key for row in one.provenance] == [row.render_key for row in other.provenance]


def test_second_epoch_reads_nothing(folder: Path, tmp_path: Path) -> None:
    cached = renderer(folder, tmp_path / "manifest.arrow", CachePlace(tmp_path / "decoded", 2**24))
    first = [cached.render(BatchSlice(0, index), InProcessGuard()) for index in (0, 1)]
    stages = cached.renderers[0].stages
    assert "read" in stages.take()
    again = [cached.render(BatchSlice(0, index), InProcessGuard()) for index in (0, 1)]
    assert "read" not in stages.take()
    for one, other in zip(first, again, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.images, other.images, strict=True))


@pytest.mark.parametrize("change", ["other bytes", "other time", "gone"])
def test_changed_file_is_refused_though_its_image_is_kept(folder: Path, tmp_path: Path, change: str) -> None:
    cached = renderer(folder, tmp_path / "manifest.arrow", CachePlace(tmp_path / "decoded", 2**24))
    record = cached.renderers[0].dataset.record(0)
    cached.renderers[0].decode(record)
    if change == "gone":
        record.path.unlink()
    else:
        record.path.write_bytes(pattern(200, height=40, width=50) + b"\0" * (change == "other bytes"))
        os.utime(record.path, (LONG_AGO_S + 5, LONG_AGO_S + 5))
    with pytest.raises(RecordError):
        cached.renderers[0].decode(record)


def test_names_tell_records_sizes_and_decoders_apart() -> None:
    names = {cache.name_of(digest * 16, eighths) for digest in ("ab", "ac") for eighths in (1, 8)}
    assert len(names) == 4
    assert all(len(name) <= 511 for name in names), "the longest key of LMDB"


NO_ROOM = """
import gc, os, resource, signal, sys
import numpy as np
from pathlib import Path
from augment.images.cache import CachePlace, DecodedCache

def noise(seed, side=200):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)

folder = Path(sys.argv[1])
kept = DecodedCache(CachePlace(folder, 2**26))
kept.array(b"0", lambda: noise(0))
view = kept.array(b"0", None)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**17, 2**17))  # what a full disk is to a writer: one image has room
for seed in range(1, 9):
    assert np.array_equal(kept.array(str(seed).encode(), lambda: noise(seed)), noise(seed))
gc.collect()
assert np.array_equal(view, noise(0)), "what was handed out stays"
print("alive")
"""


def test_write_that_fails_leaves_what_was_handed_out(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_ROOM, str(tmp_path / "decoded")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


@pytest.mark.harden
def test_killed_writers_do_not_take_more_of_the_disk_than_there_is(tmp_path: Path) -> None:
    """The disk reserved by a killed process counts, although it cannot be used."""
    max_bytes = 2**22
    for start in range(0, 300, 20):
        writer = subprocess.Popen([sys.executable, "-c", FILLER, str(tmp_path), str(max_bytes), str(start)])
        assert writer.wait(30) == -signal.SIGKILL
    taken = sum(512 * each.stat().st_blocks for each in tmp_path.iterdir() if each.name != "lock.mdb")
    assert taken <= max_bytes
    kept = DecodedCache(CachePlace(tmp_path, max_bytes))
    assert np.array_equal(kept.array(b"0", never), noise(0))


FILLER = """
import os, signal, sys
import numpy as np
from pathlib import Path
from augment.images.cache import CachePlace, DecodedCache

kept = DecodedCache(CachePlace(Path(sys.argv[1]), int(sys.argv[2])))
for number in range(int(sys.argv[3]), int(sys.argv[3]) + 20):
    made = np.random.default_rng(number).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    kept.array(str(number).encode(), lambda: made)
os.kill(os.getpid(), signal.SIGKILL)
"""
