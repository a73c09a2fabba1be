"""Block optional imports that dependencies would load for nothing."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class KeptOut:
    """Module finder (``sys.meta_path``) that reports one library as not installed."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        """Raise ModuleNotFoundError for the library; leave all others to the next finders."""
        if name == self._name:
            raise ModuleNotFoundError(f"No module named {name!r} (kept out)", name=name)


@contextmanager
def kept_out(name: str) -> Iterator[None]:
    """Block the import of a library while the block runs; a library already imported stays."""
    finder = KeptOut(name)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def keep_pandas_from_pyarrow() -> None:
    """Make pyarrow find no pandas in this process, permanently; other modules may import pandas afterwards.

    pyarrow looks for it when it makes the first array of a list, and importing it takes a quarter of a second.
    """
    with kept_out("pandas"):
        importlib.import_module("pyarrow").array([None])
