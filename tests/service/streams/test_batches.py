"""Rules of the batch cache: one rendering for all requests, a bound, no files left behind."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from augment.errors import Reason, StorageError
from augment.render import result_file
from augment.render.one_shot import Copies
from augment.render.pipeline import Pipeline
from augment.render.result_file import Laid
from augment.samples.sample import Refusal
from augment.wire.bundle import Bundle
from service.datasets.registry import Datasets
from service.home import Home, Quota
from service.observe import Metrics
from service.one_shot import OneShot, Options, RequestFiles, pack
from service.settings import Settings
from service.streams.batch_cache import Batches, BatchRequest, Readers
from service.streams.batch_files import CHUNK_BYTES, BatchFiles, FilePart

KIB = 2**10


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    folder = tmp_path / "memory"
    folder.mkdir()
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "home")
    yield home
    home.close()


class Oven:
    """Renderer whose renderings the test starts."""

    def __init__(self, content: bytes = b"x" * KIB) -> None:
        self.content = content
        self.started: list[object] = []
        self.cancelled: list[object] = []
        self.go = asyncio.Event()
        self.error: Exception | None = None
        self.refusals: tuple[Refusal, ...] = ()
        self.has_no_memory: Callable[[Path], bool] = lambda _: False

    def wanted(self, address: object) -> BatchRequest:
        async def produce(path: Path) -> Laid | None:
            self.started.append(address)
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.cancelled.append(address)
                raise
            if self.error is not None:
                raise self.error
            sizes = None if self.has_no_memory(path) else result_file.write(path, [self.content])
            return sizes and Laid(*sizes, self.refusals)

        return BatchRequest(address, produce, len(self.content))


async def content_of(batches: Batches, wanted: BatchRequest) -> bytes:
    async with batches.lease(wanted) as file:
        return b"".join([b"".join(pieces_of(chunk)) async for chunk in file.chunks()])


def pieces_of(chunk: FilePart | bytes) -> Iterable[bytes]:
    return chunk.pieces() if isinstance(chunk, FilePart) else [chunk]


def in_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 120))


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for a condition; ``in_loop`` bounds how long."""
    while not is_so():  # noqa: ASYNC110 - what it waits for sets no event
        await asyncio.sleep(0.001)


async def settle() -> None:
    """Run all tasks that are ready, including those that become ready meanwhile."""
    for _ in range(100):
        await asyncio.sleep(0)


def files_in(*folders: Path) -> int:
    return sum(path.is_file() for folder in folders for path in folder.rglob("*"))


def outcomes(metrics: Metrics) -> dict[str, float]:
    lines = metrics.text().decode().splitlines()
    found = (line.split('outcome="')[1].split('"} ') for line in lines if "batch_cache_total{" in line)
    return {outcome: float(count) for outcome, count in found}


def test_batch_is_rendered_once_for_all_who_wait(home: Home, memory: Path) -> None:
    async def scenario() -> None:
        metrics, oven = Metrics(), Oven(bytes(range(256)) * (CHUNK_BYTES // 100))
        batches = Batches(BatchFiles(home, memory), 2**30, metrics)
        asking = [asyncio.create_task(content_of(batches, oven.wanted("a"))) for _ in range(5)]
        await until(lambda: sum(outcomes(metrics).values()) == 5)
        oven.go.set()
        assert set(await asyncio.gather(*asking)) == {oven.content}
        assert await content_of(batches, oven.wanted("a")) == oven.content
        assert oven.started == ["a"]
        assert outcomes(metrics) == {"miss": 1, "shared": 4, "hit": 1}
        batches.close()
        assert files_in(memory) == 0

    in_loop(scenario)


def test_batch_is_cancelled_when_the_last_waiter_leaves_and_not_before(home: Home, memory: Path) -> None:
    async def scenario() -> None:
        metrics, oven = Metrics(), Oven()
        batches = Batches(BatchFiles(home, memory), 2**30, metrics)
        first, second = (asyncio.create_task(content_of(batches, oven.wanted("a"))) for _ in range(2))
        await until(lambda: oven.started == ["a"] and sum(outcomes(metrics).values()) == 2)
        first.cancel()
        await settle()
        assert first.cancelled()
        assert not oven.cancelled
        second.cancel()
        await until(lambda: oven.cancelled == ["a"])
        await until(lambda: files_in(memory) == 0)
        oven.go.set()
        assert await content_of(batches, oven.wanted("a")) == oven.content, "who comes later is not told"
        assert oven.started == ["a", "a"]

    in_loop(scenario)


def test_batches_stay_within_their_bound_and_the_least_recently_used_goes_first(home: Home, memory: Path) -> None:
    async def scenario() -> None:
        oven = Oven()
        oven.go.set()
        batches = Batches(BatchFiles(home, memory), 3 * KIB, Metrics())
        for address in "abcabd":
            await content_of(batches, oven.wanted(address))
        assert files_in(memory) == 3
        oven.started.clear()
        for address in "abd":
            await content_of(batches, oven.wanted(address))
        assert oven.started == []
        await content_of(batches, oven.wanted("c"))
        assert oven.started == ["c"]

    in_loop(scenario)


def test_batch_that_is_read_is_never_removed_and_always_counted(home: Home, memory: Path) -> None:
    async def scenario() -> None:
        oven = Oven()
        oven.go.set()
        batches = Batches(BatchFiles(home, memory), 2 * KIB, Metrics())
        async with batches.lease(oven.wanted("a")) as file:
            for address in "bcde":
                await content_of(batches, oven.wanted(address))
            assert file.path.exists()
            assert files_in(memory) == 2
        oven.started.clear()
        await content_of(batches, oven.wanted("a"))
        assert oven.started == []

    in_loop(scenario)


def test_failure_reaches_all_who_wait_and_is_not_kept(home: Home, memory: Path) -> None:
    async def scenario() -> None:
        metrics, oven = Metrics(), Oven()
        oven.error = StorageError("no disk")
        batches = Batches(BatchFiles(home, memory), 2**30, metrics)
        asking = [asyncio.create_task(content_of(batches, oven.wanted("a"))) for _ in range(3)]
        await until(lambda: sum(outcomes(metrics).values()) == 3)
        oven.go.set()
        results = await asyncio.gather(*asking, return_exceptions=True)
        assert [str(result) for result in results] == ["no disk"] * 3
        assert files_in(memory) == 0
        oven.error = None
        assert await content_of(batches, oven.wanted("a")) == oven.content

    in_loop(scenario)


@pytest.mark.parametrize(("reason", "num_rendered"), [(Reason.UNREADABLE, 2), (Reason.UNDECODABLE, 1)])
def test_batch_without_a_record_that_may_come_back_is_not_kept(
    home: Home, memory: Path, reason: Reason, num_rendered: int
) -> None:
    async def scenario() -> None:
        oven = Oven()
        oven.go.set()
        oven.refusals = (Refusal("a", reason, ""),)
        batches = Batches(BatchFiles(home, memory), 2**30, Metrics())
        for _ in range(2):
            await content_of(batches, oven.wanted("a"))
        assert len(oven.started) == num_rendered

    in_loop(scenario)


def test_batch_goes_to_the_disk_where_memory_is_full(home: Home, memory: Path) -> None:
    async def scenario() -> None:
        oven = Oven(bytes(range(256)) * (3 * CHUNK_BYTES // 200))
        oven.go.set()
        oven.has_no_memory = lambda path: path.is_relative_to(memory)
        batches = Batches(BatchFiles(home, memory), 2**30, Metrics())
        assert await content_of(batches, oven.wanted("a")) == oven.content
        assert files_in(memory) == 0
        assert files_in(home.path / "tmp") == 1
        oven.has_no_memory = lambda _: True
        with pytest.raises(StorageError, match="AUGMENT_BATCH_CACHE_BYTES"):
            await content_of(batches, oven.wanted("b"))

    in_loop(scenario)


def test_what_nobody_reads_goes_where_a_rendering_finds_no_room(home: Home, memory: Path) -> None:
    async def scenario() -> None:
        oven = Oven()
        oven.go.set()
        batches = Batches(BatchFiles(home, memory), 2**30, Metrics())
        for address in "abc":
            await content_of(batches, oven.wanted(address))
        oven.has_no_memory = lambda _: files_in(memory, home.path / "tmp") > 3
        async with batches.lease(oven.wanted("a")):
            assert await content_of(batches, oven.wanted("d")) == oven.content
            oven.started.clear()
            for address in "ad":
                await content_of(batches, oven.wanted(address))
            assert oven.started == [], "what is read stays, and what was made is kept"
            oven.has_no_memory = lambda _: files_in(memory, home.path / "tmp") > 1
            with pytest.raises(StorageError, match="AUGMENT_BATCH_CACHE_BYTES"):
                await content_of(batches, oven.wanted("e"))
        assert await content_of(batches, oven.wanted("e")) == oven.content, "it recovers by itself"
        assert files_in(memory, home.path / "tmp") == 1

    in_loop(scenario)


def test_what_nobody_reads_goes_where_images_are_larger_than_expected(home: Home, memory: Path) -> None:
    class FullOfIdle:
        """Files without room while an idle batch is in memory."""

        def submit(self, _: object) -> "Future[Any]":
            future: Future[Any] = Future()
            if files_in(memory) > 2:  # the image and its result
                future.set_exception(StorageError("there is no room"))
            else:
                future.set_result(Copies((), {}))
            return future

    async def scenario() -> None:
        oven = Oven()
        oven.go.set()
        files, metrics = BatchFiles(home, memory), Metrics()
        batches = Batches(files, 2**30, metrics)
        workers: Any = FullOfIdle()
        datasets = Datasets(home, Quota(home, 2**30), workers, Settings())
        oneshot = OneShot(files, datasets, workers, metrics, Settings())
        options = Options(Pipeline.load("light"), 0, 1, "jpeg", 90)
        images = RequestFiles(files, 1, KIB)
        images.begin("cat")
        await content_of(batches, oven.wanted("a"))
        assert len(await oneshot.render(images, options)) == 1
        async with batches.lease(oven.wanted("b")):
            with pytest.raises(StorageError, match="no room"):
                await oneshot.render(images, options)
        images.close()
        assert files_in(memory) == 1, "what was read"

    in_loop(scenario)


@pytest.mark.parametrize("kind", list(Bundle))
def test_a_disk_that_is_full_when_results_are_packed_is_a_storage_error(kind: Bundle) -> None:
    options = Options(Pipeline.load("light"), 0, 1, "jpeg", 90)
    with pytest.raises(StorageError, match="cannot be packed: No space left"):
        pack(kind, [], options, Path("/dev/full"))


def test_what_nobody_reads_goes_where_an_image_finds_no_room(home: Home, memory: Path) -> None:
    async def scenario() -> None:
        oven = Oven()
        oven.go.set()
        files = BatchFiles(home, memory)
        batches = Batches(files, 2**30, Metrics())
        for address in "abc":
            await content_of(batches, oven.wanted(address))
        files.new(2 * KIB)
        assert files_in(memory) == 4
        files.new(2**60)
        assert files_in(memory) == 1

    in_loop(scenario)


def test_what_a_killed_predecessor_left_is_removed_and_others_files_are_not(tmp_path: Path, memory: Path) -> None:
    first, other = Home(tmp_path / "first"), Home(tmp_path / "other")
    BatchFiles(first, memory).new(0)
    BatchFiles(other, memory).new(0)
    first.close()
    again = Home(tmp_path / "first")
    files = BatchFiles(again, memory)
    assert files_in(memory) == 1
    files.close()
    again.close()
    other.close()


def test_reader_is_rendered_for_ahead_and_only_so_far(home: Home, memory: Path) -> None:
    async def scenario() -> None:
        oven = Oven()
        oven.go.set()
        batches = Batches(BatchFiles(home, memory), 2**30, Metrics())
        readers = Readers(batches, num_workers=2)
        reading = readers.read(oven.wanted, range(3, 100))
        async for _ in reading:
            break
        await until(lambda: len(oven.started) >= 5)
        await settle()
        assert oven.started == [3, 4, 5, 6, 7], "the one that is read, and two for each worker"
        await reading.aclose()
        assert readers.num_readers == 0

    in_loop(scenario)


def test_reader_that_leaves_stops_what_is_rendered_for_him_alone(home: Home, memory: Path) -> None:
    async def scenario() -> None:
        oven = Oven()
        batches = Batches(BatchFiles(home, memory), 2**30, Metrics())
        readers = Readers(batches, num_workers=2)
        leaving = asyncio.create_task(anext(readers.read(oven.wanted, range(100))))
        staying = asyncio.create_task(content_of(batches, oven.wanted(1)))
        await until(lambda: len(oven.started) == 5)
        await settle()
        leaving.cancel()
        await until(lambda: len(oven.cancelled) == 4)
        assert sorted(str(address) for address in oven.cancelled) == ["0", "2", "3", "4"]
        oven.go.set()
        assert await staying == oven.content

    in_loop(scenario)


def test_readers_share_the_bound_so_that_none_renders_what_another_pushes_out(home: Home, memory: Path) -> None:
    async def scenario() -> None:
        oven = Oven()
        oven.go.set()
        batches = Batches(BatchFiles(home, memory), 6 * KIB, Metrics())
        readers = Readers(batches, num_workers=8)
        stalled = readers.read(lambda index: oven.wanted(("stalled", index)), range(50))
        await anext(stalled)
        await asyncio.sleep(0.02)
        keys = [index async for index in _indices(readers.read(oven.wanted, range(50)))]
        assert len(keys) == 50
        assert len(oven.started) - sum(address in range(50) for address in oven.started) <= 6
        assert sum(address in range(50) for address in oven.started) == 50, "nothing was rendered twice"
        await stalled.aclose()

    async def _indices(reading: Any) -> Any:
        index = 0
        async for _ in reading:
            yield index
            await asyncio.sleep(0)
            index += 1

    in_loop(scenario)
