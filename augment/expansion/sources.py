"""Where on this machine a dataset lies, so that ``augment verify OUT`` needs no second argument.

The output folder itself must hold no path; this is a note in the user's state folder, which may be lost at any time:
``$AUGMENT_HOME``, else ``$XDG_STATE_HOME/augment``, else ``~/.local/state/augment``.
"""

import contextlib
import json
import os
import tempfile
from pathlib import Path

_NAME = "sources.json"
_MOST = 1000


def remember(digest: str, root: Path) -> None:
    """Note where a dataset lies; silent where nothing can be written."""
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: nobody has a home
        path = _home() / _NAME
        notes = {**_read(path), digest: str(root)}
        while len(notes) > _MOST:
            del notes[next(iter(notes))]
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(prefix=f".{_NAME}-", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(notes, file, indent=2)
            Path(draft).replace(path)
        except OSError:
            Path(draft).unlink(missing_ok=True)


def recall(digest: str) -> Path | None:
    """Where a dataset lay when it was last expanded, whether it is there now or not; None where nobody noted it."""
    try:
        noted = _read(_home() / _NAME).get(digest)
    except (OSError, RuntimeError):
        return None
    return None if noted is None else Path(noted)


def _home() -> Path:
    if home := os.environ.get("AUGMENT_HOME"):
        return Path(home)
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "augment"


def _read(path: Path) -> dict[str, str]:
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(notes, dict):
        return {}
    return {digest: root for digest, root in notes.items() if isinstance(root, str)}
