"""Public names: they can be imported, are documented, and importing them is as cheap as promised."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import augment

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", augment.__all__)
def test_export_can_be_imported(name: str) -> None:
    assert getattr(augment, name) is not None


@pytest.mark.parametrize("name", [name for name in augment.__all__ if name != "__version__"])
def test_export_is_documented(name: str) -> None:
    page = (DOCS / "library.md").read_text(encoding="utf-8")
    assert re.search(rf"`(augment\.)?{name}\b", page), f"docs/library.md says nothing of {name}"


def test_every_lazy_name_is_exported() -> None:
    assert set(augment.__all__) == {*augment._HOMES, "errors", "__version__"}
    assert dir(augment) == sorted(augment.__all__)


def test_export_never_hides_a_module_of_the_package() -> None:
    modules = {path.stem for path in Path(augment.__file__).parent.iterdir() if not path.stem.startswith("_")}
    assert set(augment.__all__) & modules == {"errors"}


def test_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'expnad'"):
        augment.expnad  # noqa: B018


def test_import_is_quick_and_brings_no_library() -> None:
    code = (
        "import sys, time; started = time.process_time(); import augment; took = time.process_time() - started\n"
        "import json; print(json.dumps([took, sorted(sys.modules)]))"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True) for _ in range(3)]
    took_s = min(json.loads(run.stdout)[0] for run in runs)
    modules = json.loads(runs[0].stdout)[1]
    assert not {"cv2", "albumentations", "numpy", "pyarrow", "PIL", "scipy"} & set(modules)
    assert took_s < 0.05
