"""Script that ends an expansion at each of its file operations in turn, resumes it, and compares the result.

The interpreter tells an audit hook of each operation on files just before it happens (PEP 578). A forked child counts
those in the output folder and ends at the chosen one as after ``kill -9``: nothing is flushed, no handler runs.

    python -m tests.augment.expansion.crash_points FOLDER KIND [STEP [FIRST]]     every STEP-th operation from FIRST on

KIND is ``folder``, images alone, or the output format of a dataset with splits, boxes and masks: ``voc`` has masks, a
file of annotations for each image and files that describe all, ``coco`` describes all in one file a split and
``webdataset`` packs images into shards.
"""

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

from augment.expansion import spec
from augment.expansion.expand import Expansion
from tests.augment.expansion import annotated_for_tests
from tests.augment.expansion.annotated_for_tests import lay_voc
from tests.augment.expansion.expansions_for_tests import PIPELINE, broken, content, lay_noise

_WATCHED = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.scandir"}
_KILLED = 9
_CHILD_TIMEOUT_S = 60

_FIRST = ["a/1.jpg", "a/2.jpg", "b/3.jpg", "c/only.jpg", "broken.jpg"]

_ANNOTATED = (
    {"train": ["a1", "a2", "b3", "c4"], "val": ["v1"]},
    {"train": ["a0", "a1", "a2", "b3"], "val": ["v1"], "test": ["t1"]},  # a split comes, images come and go
    {"train": ["a0", "a1", "d5"], "val": ["v1", "v2"]},
)
_DROPPED = {"coco": ("mask",)}

spec._OUTPUTS_A_SHARD = 6  # two records: so that five make three shards
spec._NUM_SHARDS_MIN = 1


def _data(root: Path, kind: str, state: int) -> Path:
    """Write the dataset in one of three states: at first; changed, added to, taken from; and changed again."""
    if kind != "folder":
        return lay_voc(root, _ANNOTATED[state], edition="second" if state == 1 else "")
    shutil.rmtree(root, ignore_errors=True)
    lay_noise(root, _FIRST)
    if state >= 1:
        lay_noise(root, ["a/2.jpg"], edition="second")
        lay_noise(root, ["a/0.jpg", "b/4.jpg"])
        shutil.rmtree(root / "c")
    if state == 2:
        lay_noise(root, ["a/2.jpg", "d/5.jpg"])
        (root / "b/3.jpg").unlink()
    (root / "broken.jpg").write_bytes(broken("broken"))
    return root


def _expand(data: Path, out: Path, kind: str) -> None:
    expansion = Expansion(
        data,
        out,
        PIPELINE if kind == "folder" else annotated_for_tests.PIPELINE,
        copies=2,
        seed=3,
        include_originals=kind == "folder",
        output_format=kind,
        drop_targets=_DROPPED.get(kind, ()),
        update=True,
    )
    expansion.run()


def _in_child(work: Callable[[], None], out: Path, last: int | None) -> bool:
    """Do the work in a child that ends before its operation number ``last``. Return True if it finished."""
    pid = os.fork()
    if pid == 0:
        _be_child(work, out, last)
    exit_code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if exit_code not in (0, _KILLED):
        raise SystemExit(f"operation {last}: the child ended with {exit_code}")
    return exit_code == 0


def _be_child(work: Callable[[], None], out: Path, last: int | None) -> NoReturn:
    num_operations = 0

    def count(event: str, args: tuple[object, ...]) -> None:
        nonlocal num_operations
        if event in _WATCHED and args and os.fspath(str(args[0])).startswith(str(out)):
            num_operations += 1
            if num_operations == last:
                os._exit(_KILLED)

    exit_code = 1
    signal.alarm(_CHILD_TIMEOUT_S)
    try:
        if last is not None:
            sys.addaudithook(count)
        work()
        exit_code = 0
    finally:
        if exit_code:
            sys.excepthook(*sys.exc_info())
        os._exit(exit_code)


def _check(out: Path, wanted: dict[str, bytes | None], what: str) -> None:
    found = content(out)
    if found != wanted:
        only = sorted(found.keys() - wanted.keys()), sorted(wanted.keys() - found.keys())
        other = sorted(name for name in found.keys() & wanted.keys() if found[name] != wanted[name])
        raise SystemExit(f"{what}: too many {only[0]}, too few {only[1]}, other bytes {other}")


def main(home: Path, kind: str, step: int = 1, first: int = 1) -> None:
    """Print how many operations each scenario has; exit with a message if a folder differs from a fresh one."""
    out = home / "out"
    states = [_data(home / f"data-{state}", kind, state) for state in range(3)]
    fresh = []
    _expand(states[0], out, kind)  # what is loaded and compiled on first use is then there in all children
    for data in states:
        shutil.rmtree(out, ignore_errors=True)
        _in_child(partial(_expand, data, out, kind), out, None)
        fresh.append(content(out))
    before = home / "before"

    def from_scratch() -> None:
        shutil.rmtree(out, ignore_errors=True)

    def from_first() -> None:
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(before, out)

    shutil.rmtree(out)
    _in_child(partial(_expand, states[0], out, kind), out, None)
    shutil.copytree(out, before)
    scenarios = [
        ("a first run", from_scratch, [0], 0),
        ("an update", from_first, [1], 1),
        ("an update, the dataset goes back", from_first, [1], 0),
        ("an update, the dataset changes again", from_first, [1], 2),
        ("two updates", from_first, [1, 2], 0),
    ]
    for name, begin, killed, finished in scenarios:
        for last in itertools.count(first, step):
            begin()
            # the second of two kills comes at another moment than the first
            ended = [
                _in_child(partial(_expand, states[state], out, kind), out, last * (i + 1))
                for i, state in enumerate(killed)
            ]
            _in_child(partial(_expand, states[finished], out, kind), out, None)
            _check(out, fresh[finished], f"{name}, killed before operation {last}")
            if all(ended):
                break
        print(f"{name}: less than {last} operations")  # noqa: T201 - it is what the script is run for


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
