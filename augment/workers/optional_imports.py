"""Block optional imports that dependencies would load for nothing."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class KeptOut:
    """A finder of modules (``sys.meta_path``) that says of one library that it is not installed."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        """Raise where the library is asked for; leave every other to the finders behind this one."""
        if name == self._name:
            raise ModuleNotFoundError(f"No module named {name!r} (kept out)", name=name)


@contextmanager
def kept_out(name: str) -> Iterator[None]:
    """Keep a library out while the block runs; one that is there already stays."""
    finder = KeptOut(name)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def keep_pandas_from_pyarrow() -> None:
    """Let pyarrow find no pandas, once and for all in this process: others may import it afterwards.

    pyarrow looks for it when it makes the first array of a list, and then its import takes a quarter of a second.
    """
    with kept_out("pandas"):
        importlib.import_module("pyarrow").array([None])
