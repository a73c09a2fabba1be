"""Registry of a home's datasets: registered by path or uploaded, scanned in worker processes, found by name.

    register -> pending.json -> [unpack ->] scan -> dataset.json        (registration.py has the files)

Scans have separate worker processes, so that a scan of a million files does not delay rendering. Pipelines refer to
these datasets by name; ``check``, ``entries`` and ``reading`` look the names up.
"""

import asyncio
import logging
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from anyio import to_thread

from augment.datasets.dataset import Dataset
from augment.errors import DatasetError, problems_below
from augment.pipelines.spec import PipelineSpec
from augment.scanning.scan_task import ScanReport, ScanTask
from augment.transforms.runtime import compiler
from augment.validation import did_you_mean, quoted
from augment.workers import files
from augment.workers.task import Workers
from service import problems
from service.background import Background, run_blocking
from service.datasets import unpack
from service.datasets.registration import DatasetEntry, DatasetFolder, Pending, RegistrationRequest
from service.errors import ConflictError, ForbiddenError, NoRoomError, NotFoundError, ServiceError
from service.home import Home, Quota, Reservation, checked_name, storing
from service.settings import Settings

_UNPACKED_RATIO = 2
_UNPACKED_BYTES = 2**20
"""First reservation for an archive: ``_UNPACKED_RATIO`` times its size plus ``_UNPACKED_BYTES``."""

_log = logging.getLogger(__name__)


class Datasets:
    """Datasets by name. Plain methods are thread-safe and may block; call coroutines on the event loop."""

    def __init__(self, home: Home, quota: Quota, scanners: Workers, settings: Settings) -> None:
        self.quota = quota
        self.users: list[Callable[[str], str | None]] = []
        """Functions that return the user of a dataset's name, or None. Called from any thread before it is deleted or
        replaced."""
        self._home = home
        self._scanners = scanners
        self._settings = settings
        self._roots = tuple(Path(os.path.realpath(root)) for root in settings.data_roots)
        self._entries: dict[str, DatasetEntry] = {}
        self._pending: dict[str, Pending] = {}
        self._leaving: set[str] = set()
        self._opened: dict[str, Dataset] = {}
        self._readings: Counter[str] = Counter()
        """Number of readers of each generation."""
        self._lock = threading.Lock()
        self._background = Background("registration of dataset", self._run, self._fail, _log)

    async def open(self) -> None:
        """Read the home, and continue the registrations that the last service left unfinished."""
        await to_thread.run_sync(self._read_home)
        for name, pending in self._pending.items():
            if pending.error is None:
                self._background.submit(name)

    async def aclose(self) -> None:
        """Stop the registrations under way; the next service continues them."""
        await self._background.aclose()

    def names(self) -> list[str]:
        """Return all names in order, including datasets that are being scanned."""
        return sorted(self._entries.keys() | self._pending.keys())

    def get(self, name: str) -> Dataset:
        """Return the whole dataset of a name. Raises NotFoundError, or ConflictError if it is not ready."""
        return self.open_entry(self.entry(name))

    def open_entry(self, entry: DatasetEntry) -> Dataset:
        """Return the dataset of an entry. Raises ConflictError if the name now has another one."""
        with self._lock:
            self._check_current(entry)
            known = self._opened.get(entry.generation)
            if known is None:
                known = self._opened[entry.generation] = Dataset.open(self.manifest(entry))
            return known

    @asynccontextmanager
    async def reading(self, entry: DatasetEntry) -> AsyncIterator[None]:
        """Keep an entry's files while the block runs, even if its name is deleted or replaced meanwhile.

        Raises ConflictError if it was deleted or replaced before.
        """
        generation = entry.generation
        with self._lock:
            self._check_current(entry)
            self._readings[generation] += 1
        try:
            yield
        finally:
            with self._lock:
                self._readings[generation] -= 1
                current = self._entries.get(entry.name)
                is_over = not self._readings[generation] and (current is None or current.generation != generation)
                if not self._readings[generation]:
                    del self._readings[generation]
            if is_over:
                await to_thread.run_sync(self._folder(entry.name).drop, generation)

    def entry(self, name: str) -> DatasetEntry:
        """Return the entry of a name. Raises NotFoundError, or ConflictError if it is not ready."""
        entry = self._entries.get(name)
        if entry is not None:
            return entry
        pending = self._pending.get(name)
        if pending is None:
            hint = did_you_mean(name, self._entries) or "; GET /v1/datasets lists them"
            raise NotFoundError(f"there is no dataset {quoted(name, 100)}{hint}")
        if pending.error is None:
            raise ConflictError(f"dataset {name!r} is being scanned; GET /v1/datasets/{name} shows its progress")
        raise ConflictError(f"dataset {name!r} was refused: {pending.error['detail']}; register it again")

    def describe(self, name: str) -> dict[str, Any]:
        """Return the document of a name that clients see. Raises NotFoundError."""
        entry, pending = self._entries.get(name), self._pending.get(name)
        if entry is None and pending is None:
            self.entry(name)
        under_way = None if pending is None else self._describe_pending(pending)
        if entry is None:
            return {"name": name, **(under_way or {})}
        described = asdict(entry) | {"state": "ready", "path": None if entry.uploaded else entry.root}
        del described["generation"], described["root"]
        return described | ({} if under_way is None else {"update": under_way})

    def confined(self, path: str) -> str:
        """Return the folder of a request, links resolved. Raises ForbiddenError if it is not below a data root."""
        if not self._roots:
            raise ForbiddenError(
                "this service cannot register folders by path: set AUGMENT_DATA_ROOTS, or upload an archive"
            )
        if "\0" in path or not Path(path).is_absolute():
            raise DatasetError(f"the path {quoted(path, 200)} is refused; give an absolute one")
        resolved = Path(os.path.realpath(path))
        if not any(resolved.is_relative_to(root) for root in self._roots):
            raise ForbiddenError(
                f"{quoted(path, 200)} is not below any of AUGMENT_DATA_ROOTS; add its root, or upload an archive"
            )
        return str(resolved)

    def check_free(self, name: str) -> None:
        """Raise ConflictError while a registration or a deletion of this name is under way."""
        pending = self._pending.get(checked_name(name))
        if name in self._leaving:
            raise ConflictError(f"dataset {name!r} is being deleted; try again in a second")
        if pending is not None and pending.error is None:
            raise ConflictError(
                f"dataset {name!r} is being scanned; wait for it (GET /v1/datasets/{name}) or delete it"
            )

    async def register(
        self, wanted: RegistrationRequest, archive: Path | None = None
    ) -> tuple[DatasetEntry, bool] | None:
        """Scan a folder or an uploaded archive, and register it under its name.

        Returns the dataset, and True if it is new. Returns None if the scan takes longer than AUGMENT_SCAN_WAIT_S; it
        then continues, and ``describe`` shows its progress. A repeated request waits for the same scan.
        """
        name = checked_name(wanted.name)
        async with self._background.accepting:
            pending = self._pending.get(name)
            if pending is None or pending.error is not None or archive is not None or pending.wanted != wanted:
                pending = await self._begin(wanted, archive)
            task = self._background.task(name)
        if task is None:
            raise ConflictError(f"dataset {name!r} was deleted while it was scanned; register it again")
        await asyncio.wait({task}, timeout=self._settings.scan_wait_s)
        if not task.done() and pending.error is None:
            pending.acknowledged = True
            return None
        if task.cancelled():
            raise ConflictError(f"dataset {name!r} was deleted while it was scanned; register it again")
        return await asyncio.shield(task)

    async def delete(self, name: str) -> None:
        """Delete a dataset, and its files if they were uploaded. Raises ConflictError while a job uses it."""
        async with self._background.accepting:
            if name not in self._pending:
                self.entry(name)
            self._check_unused(name)
            self._leaving.add(name)
        try:
            await self._background.stop(name)
            await run_blocking(self._remove, name)
            self._pending.pop(name, None)
        finally:
            self._leaving.discard(name)

    async def _begin(self, wanted: RegistrationRequest, archive: Path | None) -> Pending:
        """Store a registration, and start it."""
        name = wanted.name
        self.check_free(name)
        await self._background.ended(name)  # the previous one may still be storing its error
        pending = self._pending[name] = Pending(wanted)
        try:
            await run_blocking(self._folder(name).begin, pending, archive)
        except Exception as error:
            await self._fail(name, problems.kept(error, name))
            raise
        self._background.submit(name)
        return pending

    async def _run(self, name: str) -> tuple[DatasetEntry, bool]:
        pending = self._pending[name]
        report, root = await self._scan(pending)
        settled = await run_blocking(self._settle, pending, report, root)
        del self._pending[name]
        return settled

    async def _fail(self, name: str, problem: Mapping[str, Any]) -> None:
        pending = self._pending[name]
        pending.error = problem
        if not pending.acknowledged:
            del self._pending[name]
        await run_blocking(self._folder(name).fail, pending, self._entries.get(name), tuple(self._readings))

    async def _scan(self, pending: Pending) -> tuple[ScanReport, Path]:
        inside = self._folder(pending.wanted.name).path / pending.generation
        files = inside / "files"
        if pending.wanted.path is not None:
            root, within = Path(pending.wanted.path), self._roots
        else:
            root, within = files / await self._unpack(inside), ()
        task = ScanTask(
            root=root,
            format=pending.wanted.format,
            sink=inside / "manifest.arrow",
            progress=inside / "progress.json",
            within=within,
            max_pixels=self._settings.max_pixels,
            max_files=self._settings.max_files,
            timeout_s=self._settings.record_timeout_s,
            bad_annotations=pending.wanted.bad_annotations,
            ignore=tuple(pending.wanted.ignore),
        )
        try:
            report = await asyncio.wrap_future(self._scanners.submit(task))
        except DatasetError as error:
            if pending.wanted.path is not None:
                raise
            raise DatasetError(
                str(error).replace(str(root), "the archive")
            ) from error  # the client does not know the folder
        if report.outside:
            raise ForbiddenError(
                f"links lead out of AUGMENT_DATA_ROOTS: {', '.join(report.outside)}; remove them, or replace them by "
                "copies of their targets"
            )
        return report, root

    async def _unpack(self, inside: Path) -> str:
        """Unpack the upload, and return the dataset's folder, relative to the unpacked files.

        Room is reserved first. Images hardly grow when they are unpacked. If an archive needs more room, the attempt is
        repeated with a larger reservation, so that no upload reserves all that its limits allow.
        """
        archive, files = inside / "upload", inside / "files"
        wanted = _UNPACKED_RATIO * archive.stat().st_size + _UNPACKED_BYTES
        while True:
            with Reservation(self.quota, files) as kept:
                await run_blocking(self.quota.grow, kept, 1, wanted)
                limits = unpack.ArchiveLimits(self._settings.max_files, kept.num_bytes, self._settings.max_unpack_ratio)
                task = unpack.UnpackTask(archive, files, inside / "progress.json", limits)
                try:
                    return (await asyncio.wrap_future(self._scanners.submit(task))).folder
                except NoRoomError:
                    if kept.num_bytes < wanted:  # the home is full
                        raise
            wanted *= _UNPACKED_RATIO**2

    def _settle(self, pending: Pending, report: ScanReport, root: Path) -> tuple[DatasetEntry, bool]:
        """Store the name's dataset; blocks. Raises ConflictError if the name has another one that must stay."""
        name, folder = pending.wanted.name, self._folder(pending.wanted.name)
        current, inside = self._entries.get(name), folder.path / pending.generation
        is_upload = pending.wanted.path is None
        scanned = {each.name: getattr(report, each.name) for each in fields(DatasetEntry) if hasattr(report, each.name)}
        entry = DatasetEntry(
            name=name,
            generation=pending.generation,
            root=str(root.relative_to(inside)) if is_upload else str(root),
            uploaded=is_upload,
            **scanned | {"splits": dict(report.splits)},
        )
        is_same = current is not None and (current.digest, current.format) == (entry.digest, entry.format)
        if current is not None and is_same and ((is_upload and current.uploaded) or current.root == entry.root):
            if not is_upload:  # the same files in the same folder; their times may be new
                with storing(f"dataset {name} cannot be kept"):
                    (inside / "manifest.arrow").replace(self.manifest(current))
                entry = replace(entry, generation=current.generation)
            else:
                entry = current
        elif current is not None:
            if not is_same and not pending.wanted.replace:
                raise ConflictError(
                    f"dataset {name!r} has other content (digest {current.digest}, this is {entry.digest}); register "
                    "it under another name, or send replace: true"
                )
            self._check_unused(name)
        folder.settle(entry)
        with self._lock:
            self._entries[name] = entry
            self._opened.clear()
            held = tuple(self._readings)
        folder.sweep(entry, None, held)
        return entry, not is_same

    def _check_unused(self, name: str) -> None:
        if (user := next(filter(None, (uses(name) for uses in self.users)), None)) is not None:
            raise ConflictError(f"dataset {name!r} is in use by {user}; wait for it or cancel it")

    def _remove(self, name: str) -> None:
        folder = self._folder(name)
        folder.forget()  # after a kill the rest is removed at start
        with self._lock:
            self._entries.pop(name, None)
            self._opened.clear()
            held = tuple(self._readings)
        folder.sweep(None, None, held)

    def _check_current(self, entry: DatasetEntry) -> None:
        current = self._entries.get(entry.name)
        if (current is None or current.generation != entry.generation) and entry.generation not in self._readings:
            raise ConflictError(f"dataset {entry.name!r} was deleted or replaced just now; try again")

    def _describe_pending(self, pending: Pending) -> dict[str, Any]:
        if pending.error is not None:
            return {"state": "failed", "error": dict(pending.error)}
        inside = self._folder(pending.wanted.name).path / pending.generation
        progress = files.read(inside / "progress.json")
        return {"state": "scanning", "progress": progress or {"stage": "waiting", "done": 0, "total": None}}

    def _read_home(self) -> None:
        for path in sorted((self._home.path / "datasets").iterdir()):
            folder = DatasetFolder(path)
            try:
                checked_name(path.name)
                entry, pending = folder.read()
            except (ServiceError, OSError, ValueError, KeyError, TypeError) as error:
                _log.error("dataset %s cannot be read (%s); register it again", path.name, error)
                continue
            folder.sweep(entry, pending)
            if entry is not None:
                self._entries[path.name] = entry
            if pending is not None:
                self._pending[path.name] = pending

    def _folder(self, name: str) -> DatasetFolder:
        return DatasetFolder(self._home.folder("datasets", name))

    def manifest(self, entry: DatasetEntry) -> Path:
        """Return the path of an entry's manifest."""
        return self._folder(entry.name).path / entry.generation / "manifest.arrow"


_REMEDY = "register it under this name (POST /v1/datasets)"


def check(datasets: Datasets, pipeline: PipelineSpec, place: tuple[str | int, ...] = ()) -> None:
    """Raise PipelineError if the pipeline refers to an unknown dataset; ``place`` is its place in the request."""
    with problems_below(*place):
        compiler.check_references(pipeline, datasets.names(), remedy=_REMEDY)


def entries(datasets: Datasets, pipelines: Iterable[PipelineSpec]) -> dict[str, DatasetEntry]:
    """Return the entries that these pipelines refer to. Raises NotFoundError, or ConflictError if one is not ready."""
    names: set[str] = set().union(*map(compiler.references_of, pipelines))
    return {name: datasets.entry(name) for name in sorted(names)}


@asynccontextmanager
async def reading(datasets: Datasets, held: Iterable[DatasetEntry]) -> AsyncIterator[None]:
    """Keep the files of several entries while the block runs, as ``Datasets.reading`` does for one."""
    async with AsyncExitStack() as stack:
        for entry in held:
            await stack.enter_async_context(datasets.reading(entry))
        yield
