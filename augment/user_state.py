"""Files that appear whole or not at all, and the notes in the user's state folder.

Notes save work and may be lost at any time. The folder is ``$AUGMENT_HOME``, else ``$XDG_STATE_HOME/augment``, else
``~/.local/state/augment``. One note holds the path where a dataset was last seen on this machine, so that ``augment
verify OUT`` needs no second argument; the output folder itself must hold no path.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import get_ident
from typing import Any


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield the path of a draft that replaces the file if the block succeeds and is removed if it fails.

    ``durable`` waits until the disk has the file under its name. Raises OSError.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}-{get_ident()}.tmp")
    try:
        yield draft
        if durable:
            sync(draft)
        draft.replace(path)
        if durable:
            sync(path.parent)
    finally:
        with suppress(OSError):  # a place that cannot be written holds nothing to remove
            draft.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(fd)


def state_path() -> Path:
    """Return the path of the state folder, which may not exist. Raises RuntimeError if the user has no home."""
    if home := os.environ.get("AUGMENT_HOME"):
        return Path(home)
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "augment"


def read_note(file: Path) -> Any:
    """Return the JSON of a note, or None if it is missing or damaged."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def write_note(file: Path, value: Any) -> None:
    """Write a note, whole or not at all. Does nothing if the folder cannot be written."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as draft:
            draft.touch(mode=0o600)
            draft.write_text(json.dumps(value, indent=2), encoding="utf-8")


_NAME = "sources.json"
_MOST = 1000


def remember(digest: str, root: Path, ignore: Sequence[str] = ()) -> None:
    """Note the folder of a dataset, and the files that a scan ignores. Does nothing if the note cannot be written."""
    with suppress(RuntimeError):  # the user has no home
        path = state_path() / _NAME
        notes = {**_read(path), digest: {"root": str(root), "ignore": list(ignore)} if ignore else str(root)}
        while len(notes) > _MOST:
            del notes[next(iter(notes))]
        write_note(path, notes)


def recall(digest: str) -> tuple[Path, tuple[str, ...]] | None:
    """Return the folder that the dataset had when it was last expanded, and the patterns that a scan ignores, or None.

    The folder may no longer exist.
    """
    try:
        noted = _read(state_path() / _NAME).get(digest)
    except RuntimeError:
        return None
    if isinstance(noted, dict):
        return Path(noted["root"]), tuple(noted["ignore"])
    return None if noted is None else (Path(noted), ())


def _read(path: Path) -> dict[str, Any]:
    notes = read_note(path)
    if not isinstance(notes, dict):
        return {}
    return {digest: noted for digest, noted in notes.items() if isinstance(noted, str) or _is_note(noted)}


def _is_note(noted: object) -> bool:
    return isinstance(noted, dict) and isinstance(noted.get("root"), str) and isinstance(noted.get("ignore"), list)
