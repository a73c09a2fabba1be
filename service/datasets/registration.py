"""Documents of a dataset and its registration, and the folder that holds them.

datasets/NAME/
    dataset.json     the ready dataset: its generation, and the result of its scan
    pending.json     a registration under way, or the error of one that failed after it was acknowledged
    GENERATION/      manifest.arrow, progress.json; for an upload also the archive, until it is unpacked into files/

``dataset.json`` is replaced atomically, so that a name holds the whole old dataset or the whole new one. A generation
that neither file names was left by a killed process, and is removed at start.
"""

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
    """A client's request to register a dataset; ``path`` is None if it sent an archive."""

    name: str
    path: str | None = None
    format: str | None = None
    replace: bool = False
    bad_annotations: str = assemble.REFUSE
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """A ready dataset. ``root`` is relative to its generation if the files were uploaded."""

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
        """Read the JSON of ``asdict``. Raises TypeError if the fields differ."""
        lists = {name: tuple(value.get(name, ())) for name in ("targets", "notices")}
        return cls(**{**value, "classes": tuple(value["classes"]), **lists})


@dataclass(slots=True)
class Pending:
    """A registration under way, or one that failed. Change it on the event loop only.

    ``acknowledged`` is True once the client got 202; then a failure is kept for it. Otherwise the answer is the error.
    """

    wanted: RegistrationRequest
    generation: str = field(default_factory=lambda: uuid.uuid4().hex)
    acknowledged: bool = False
    error: Mapping[str, Any] | None = None
    """A problem document."""

    def to_json(self) -> dict[str, Any]:
        """Return the document from which the next service continues."""
        return {"wanted": asdict(self.wanted), "generation": self.generation, "error": self.error}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read ``to_json``. It counts as acknowledged: its client got 202 or lost the connection."""
        return cls(RegistrationRequest(**value["wanted"]), value["generation"], acknowledged=True, error=value["error"])


class DatasetFolder:
    """Files of one name. Every method blocks."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, pending: Pending, archive: Path | None) -> None:
        """Store a registration, and move its archive in if it has one."""
        inside = self.path / pending.generation
        with storing(f"dataset {self.path.name} cannot be kept"):
            inside.mkdir(parents=True)
            if archive is not None:
                archive.rename(inside / "upload")
        write_json(self.path / "pending.json", pending.to_json())

    def settle(self, entry: DatasetEntry) -> None:
        """Store the name's new dataset; ``sweep`` removes the old one."""
        write_json(self.path / "dataset.json", asdict(entry))

    def forget(self) -> None:
        """Remove both documents of the name; ``sweep`` removes its files. Raises StorageError."""
        with storing(f"dataset {self.path.name} cannot be deleted"):
            for name in ("pending.json", "dataset.json"):
                (self.path / name).unlink(missing_ok=True)

    def fail(self, pending: Pending, current: DatasetEntry | None, held: Collection[str] = ()) -> None:
        """Store the error of an acknowledged registration; otherwise remove the registration."""
        if pending.acknowledged:
            write_json(self.path / "pending.json", pending.to_json())
        else:
            with storing(f"the failed registration of dataset {self.path.name} cannot be removed"):
                (self.path / "pending.json").unlink(missing_ok=True)
        self.sweep(current, pending if pending.acknowledged else None, held)

    def sweep(self, entry: DatasetEntry | None, pending: Pending | None, held: Collection[str] = ()) -> None:
        """Remove all files that neither the dataset nor the registration needs, except the generations in ``held``.

        Those are being read. A file that cannot be removed now is removed at the next start.
        """
        try:
            self._sweep(entry, pending, held)
        except OSError as error:
            _log.warning("%s: unneeded files stay until the next start: %s", self.path.name, error)

    def _sweep(self, entry: DatasetEntry | None, pending: Pending | None, held: Collection[str]) -> None:
        keep = set(held)
        if entry is not None:
            keep |= {"dataset.json", entry.generation}
            for name in ("upload", "progress.json"):  # needed for the registration only
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
        """Remove a generation that has no readers left and is no longer current."""
        try:
            remove(self.path / generation)
            if not any(self.path.iterdir()):
                self.path.rmdir()
        except OSError as error:
            _log.warning("%s: files without a reader stay until the next start: %s", self.path.name, error)

    def read(self) -> tuple[DatasetEntry | None, Pending | None]:
        """Read both documents of the name. Raises ValueError, KeyError or TypeError if one is damaged."""
        ready, begun = self._json("dataset.json"), self._json("pending.json")
        entry = None if ready is None else DatasetEntry.from_json(ready)
        pending = None if begun is None else Pending.from_json(begun)
        if entry is not None and pending is not None and entry.generation == pending.generation:
            pending = None  # the service was killed between the two files
        return entry, pending

    def _json(self, name: str) -> Any:
        try:
            return json.loads((self.path / name).read_bytes())
        except FileNotFoundError:
            return None
