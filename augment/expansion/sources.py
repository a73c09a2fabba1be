"""Where on this machine a dataset lies, so that ``augment verify OUT`` needs no second argument.

The output folder itself must hold no path; this is a note in the user's state folder, which may be lost at any time.
"""

import contextlib
from pathlib import Path

from augment import state_folder

_NAME = "sources.json"
_MOST = 1000


def remember(digest: str, root: Path) -> None:
    """Note where a dataset lies; silent where nothing can be written."""
    with contextlib.suppress(RuntimeError):  # nobody has a home
        path = state_folder.path() / _NAME
        notes = {**_read(path), digest: str(root)}
        while len(notes) > _MOST:
            del notes[next(iter(notes))]
        state_folder.write_note(path, notes)


def recall(digest: str) -> Path | None:
    """Where a dataset lay when it was last expanded, whether it is there now or not; None where nobody noted it."""
    try:
        noted = _read(state_folder.path() / _NAME).get(digest)
    except RuntimeError:
        return None
    return None if noted is None else Path(noted)


def _read(path: Path) -> dict[str, str]:
    notes = state_folder.read_note(path)
    if not isinstance(notes, dict):
        return {}
    return {digest: root for digest, root in notes.items() if isinstance(root, str)}
