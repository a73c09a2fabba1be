"""What a shard is about to write, noted before it writes it, so that a killed run can be undone to the last file.

A journal lies in the output folder's root from before a shard's first picture until after its manifest part. Where one
is left without a part, its pictures belong to nobody: the dataset may have lost them since.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from augment.expansion import folder

_JOURNAL = f"{folder.HIDDEN}journal-"


def begin(root: Path, index: int, paths: Sequence[str]) -> None:
    """Note durably which outputs the shard is about to write."""
    folder.place(root, _name(index), json.dumps(list(paths)).encode(), temporary=f"journal-{index:05d}", durable=True)


def end(root: Path, index: int) -> None:
    """Forget: the shard's manifest part is in place."""
    folder.remove(root, _name(index))


def recover(root: Path, is_finished: Callable[[int], bool]) -> None:
    """Remove what shards wrote that did not finish; needs the lock and the end of every run before this one."""
    for name in folder.names(root, _JOURNAL):
        if not is_finished(int(name.removeprefix(_JOURNAL))):
            for path in json.loads(folder.read_text(root, name) or "[]"):
                folder.remove(root, path)
        folder.remove(root, name)


def _name(index: int) -> str:
    return f"{_JOURNAL}{index:05d}"
