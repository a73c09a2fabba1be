"""Libraries are blocked in a process while a block runs."""

import importlib
import sys
from pathlib import Path

import pytest

from augment.workers.optional_imports import kept_out


def test_a_library_is_not_there_while_it_is_kept_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("unwanted", "wanted"):
        (tmp_path / f"{name}.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with kept_out("unwanted"):
        with pytest.raises(ModuleNotFoundError, match="unwanted"):
            importlib.import_module("unwanted")
        importlib.import_module("wanted")
    importlib.import_module("unwanted")
    with kept_out("unwanted"):
        importlib.import_module("unwanted")
    for name in ("unwanted", "wanted"):
        del sys.modules[name]


def test_who_fails_leaves_nothing_kept_out() -> None:
    before = list(sys.meta_path)
    with pytest.raises(ZeroDivisionError), kept_out("unwanted"):
        raise ZeroDivisionError
    assert sys.meta_path == before
