"""The user's state folder: notes that spare work and may be lost at any time.

``$AUGMENT_HOME``, else ``$XDG_STATE_HOME/augment``, else ``~/.local/state/augment``.
"""

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any


def path() -> Path:
    """The folder, whether it is there or not; RuntimeError where nobody has a home."""
    if home := os.environ.get("AUGMENT_HOME"):
        return Path(home)
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "augment"


def read_note(file: Path) -> Any:
    """The JSON of a note; None where there is none or it is damaged."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def write_note(file: Path, value: Any) -> None:
    """Bring a note into place whole or not at all; silent where nothing can be written."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as opened:
                json.dump(value, opened, indent=2)
            Path(draft).replace(file)
        except OSError:
            Path(draft).unlink(missing_ok=True)
