"""A dataset on its way into the home: what was asked for, what is known so far, and the files of both.

datasets/NAME/
    dataset.json     the dataset that is ready: which generation, and what its scan found
    pending.json     a registration under way, or the reason why it failed after it was acknowledged
    GENERATION/      manifest.arrow, progress.json; of an upload also the archive, until files/ is made of it

``dataset.json`` is replaced in one step, so that a name holds the whole old dataset or the whole new one; a
generation that neither file names was left by a process that was killed, and is removed at start.
"""

import asyncio
import json
import logging
import uuid
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from augment.scanning import assemble
from service.home import remove, storing, write_json

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RegistrationRequest:
    """What a client asked for; ``path`` is None where it sent an archive."""

    name: str
    path: str | None = None
    format: str | None = None
    replace: bool = False
    bad_annotations: str = assemble.REFUSE
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """A dataset that is ready. ``root`` is relative to its generation where the files were uploaded."""

    name: str
    generation: str
    root: str
    uploaded: bool
    digest: str
    format: str
    num_records: int
    num_refused: int
    classes: tuple[str, ...]
    splits: Mapping[str, int]
    targets: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what ``asdict`` and JSON made of one; TypeError where the fields are others."""
        lists = {name: tuple(value.get(name, ())) for name in ("targets", "notices")}
        return cls(**{**value, "classes": tuple(value["classes"]), **lists})


@dataclass(slots=True)
class Pending:
    """A registration under way, or one that failed. Changed on the event loop only.

    ``acknowledged``: the client was told to come back (202), so a failure is kept for it; else it was told at once.
    """

    wanted: RegistrationRequest
    generation: str = field(default_factory=lambda: uuid.uuid4().hex)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it is written down, or over."""
    acknowledged: bool = False
    error: Mapping[str, Any] | None = None
    task: "asyncio.Task[tuple[DatasetEntry, bool]] | None" = None

    def to_json(self) -> dict[str, Any]:
        """What a later process needs to take it up again."""
        return {"wanted": asdict(self.wanted), "generation": self.generation, "error": self.error}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """As a new process finds it: whoever asked for it was told to come back, or has lost the connection."""
        return cls(RegistrationRequest(**value["wanted"]), value["generation"], acknowledged=True, error=value["error"])


class DatasetFolder:
    """The files of one name. Every method blocks."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, pending: Pending, archive: Path | None) -> None:
        """Write down what was asked for; the archive, if there is one, moves in."""
        inside = self.path / pending.generation
        with storing(f"dataset {self.path.name} cannot be kept"):
            inside.mkdir(parents=True)
            if archive is not None:
                archive.rename(inside / "upload")
        write_json(self.path / "pending.json", pending.to_json())

    def settle(self, entry: DatasetEntry) -> None:
        """The new dataset is the name's from now on; ``sweep`` removes the old one."""
        write_json(self.path / "dataset.json", asdict(entry))

    def forget(self) -> None:
        """The name holds nothing from now on; ``sweep`` removes what it held. StorageError where it still does."""
        with storing(f"dataset {self.path.name} cannot be deleted"):
            for name in ("pending.json", "dataset.json"):
                (self.path / name).unlink(missing_ok=True)

    def fail(self, pending: Pending, current: DatasetEntry | None, held: Collection[str] = ()) -> None:
        """Keep the reason for whoever was told to come back; without an acknowledgement nothing is left."""
        if pending.acknowledged:
            write_json(self.path / "pending.json", pending.to_json())
        else:
            with storing(f"what is left of dataset {self.path.name} cannot be removed"):
                (self.path / "pending.json").unlink(missing_ok=True)
        self.sweep(current, pending if pending.acknowledged else None, held)

    def sweep(self, entry: DatasetEntry | None, pending: Pending | None, held: Collection[str] = ()) -> None:
        """Remove everything that neither belongs to; the generations ``held`` are being read and stay for now.

        What cannot be removed now is removed at the next start.
        """
        try:
            self._sweep(entry, pending, held)
        except OSError as error:
            _log.warning("%s: what it no longer needs stays until the next start: %s", self.path.name, error)

    def _sweep(self, entry: DatasetEntry | None, pending: Pending | None, held: Collection[str]) -> None:
        keep = set(held)
        if entry is not None:
            keep |= {"dataset.json", entry.generation}
            for name in ("upload", "progress.json"):  # what the generation needed only to become what it is
                (self.path / entry.generation / name).unlink(missing_ok=True)
        if pending is not None:
            keep.add("pending.json")
            if pending.error is None:
                keep.add(pending.generation)
        if not self.path.is_dir():
            return
        for path in sorted(self.path.iterdir()):
            if path.name not in keep:
                remove(path)
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def drop(self, generation: str) -> None:
        """Remove a generation that nobody reads any more and whose name holds another one, or none."""
        try:
            remove(self.path / generation)
            if not any(self.path.iterdir()):
                self.path.rmdir()
        except OSError as error:
            _log.warning("%s: what nobody reads any more stays until the next start: %s", self.path.name, error)

    def read(self) -> tuple[DatasetEntry | None, Pending | None]:
        """What a predecessor left; ValueError, KeyError or TypeError where it is damaged."""
        ready, begun = self._json("dataset.json"), self._json("pending.json")
        entry = None if ready is None else DatasetEntry.from_json(ready)
        pending = None if begun is None else Pending.from_json(begun)
        if entry is not None and pending is not None and entry.generation == pending.generation:
            pending = None  # the process was killed between the two files
        return entry, pending

    def _json(self, name: str) -> Any:
        try:
            return json.loads((self.path / name).read_bytes())
        except FileNotFoundError:
            return None
