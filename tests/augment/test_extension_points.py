"""A transform is one entry with one class, a format is one file and one line: both are added to a copy of the project.

The copy is changed by the steps of CONTRIBUTING.md and in no other way. Then its own tests check the new transform and
the new format as they check all others.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.augment.folders_for_tests import lay_images

pytestmark = pytest.mark.readme  # it takes the steps of CONTRIBUTING.md

ROOT = Path(__file__).parents[2]

CLASS = '''
def _trimmed(params: Params, before: Extent) -> Iterable[Extent]:
    cut = 2 * params["margin"]
    if min(before.surest) <= cut:
        raise Unfit(f"it cuts {cut} pixels from each side of an image of {before}; put `SmallestMaxSize` before it")
    return (before.each(lambda side: max(1, side - cut), lambda side: max(1, side - cut)),)


class Trim(_Cropped, A.DualTransform):
    """Cuts the same margin from each side."""

    _targets = TARGETS

    def __init__(self, margin: int, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.margin = margin

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        height, width = params["shape"][:2]
        return {"crop_coords": (self.margin, self.margin, width - self.margin, height - self.margin)}

    def apply(self, img: _Array, crop_coords: tuple[int, int, int, int], **_: Any) -> _Array:
        left, top, right, bottom = crop_coords
        return img[top:bottom, left:right]


'''
ENTRY = """
    moving_entry(
        "Trim",
        "Cuts the same margin from each side.",
        {"margin": schema.integer(1, 8, "pixels that are cut from each side")},
        implementation=Trim,
        output_size=_trimmed,
        reads_only=True,
    ),"""

FORMAT = '''
"""The ``tagged`` format: ``images.idx`` has a line for each image: its path, its split and its class, tabs between."""

from collections.abc import Callable, Iterator

from augment.errors import DatasetError
from augment.formats import files
from augment.formats.format import Described, FolderFormat, Listing, Output, OutputDataset, StreamedFile
from augment.formats.tree import Tree

INDEX = "images.idx"


class Tagged(FolderFormat):
    """One text that names all images."""

    name = "tagged"
    writes = frozenset({"label"})

    def recognise(self, tree: Tree) -> bool:
        """Return True if there is an index."""
        return INDEX in tree.paths

    def find(self, tree: Tree, listing: Listing, *, max_files: int | None = None) -> None:
        """List the images of the index."""
        if INDEX not in tree.paths:
            raise DatasetError(f"{tree.root} has no {INDEX}")
        rows = [line.split("\\t") for line in tree.read_text(INDEX, max_bytes=2**20).splitlines()]
        listing.read.add(INDEX)
        listing.splits = tuple(sorted({split for _, split, _ in rows if split}))
        files.add_described(listing, [(path, split or None, Described(class_name=name)) for path, split, name in rows])

    def closing(self, outputs: Callable[[], Iterator[Output]], whole: OutputDataset) -> Iterator[StreamedFile]:
        """Write the index."""
        rows = ((self.image_path(each), each.split or "", each.class_name or "") for each in outputs())
        yield StreamedFile(INDEX, (("\\t".join(row) + "\\n").encode() for row in rows))
'''


def change(path: Path, old: str, new: str) -> None:
    """Replace a text that occurs once in a file."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path}: {old!r}"
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the project with an additional transform and format."""
    root = tmp_path_factory.mktemp("project")
    for name in ("augment", "service", "tests", "docs"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    crop = root / "augment" / "transforms" / "families" / "crop.py"
    change(crop, "\nENTRIES = (", f"{CLASS}ENTRIES = ({ENTRY}")
    (root / "augment" / "formats" / "tagged.py").write_text(FORMAT.lstrip(), encoding="utf-8")
    scan = root / "augment" / "scanning" / "scan.py"
    change(scan, "from augment.formats.tree ", "from augment.formats.tagged import Tagged\nfrom augment.formats.tree ")
    change(scan, "    (Coco(), ", "    (Tagged(), Coco(), ")
    page = root / "docs" / "formats.md"
    change(page, "\n| [`csv`]", "\n| [`tagged`](#tagged) | a class for each image | `images.idx` |\n| [`csv`]")
    change(page, "\n## `csv`\n", "\n## `tagged`\n\n`images.idx` names all images.\n\n## `csv`\n")
    return root


def run(project: Path, *command: str) -> str:
    """Run a module of the copy, which must succeed, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(project), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def check_suites(project: Path, selection: str, *suites: str) -> None:
    """Run the tests of these suites that the expression selects; each suite must have one."""
    printed = run(project, "pytest", "-v", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", selection, *suites)
    for suite in suites:
        assert f"{suite}::" in printed, printed


def test_transform_is_one_entry_and_one_class(project: Path) -> None:
    assert "pixels that are cut from each side" in run(project, "augment", "transforms", "Trim")
    (found,) = (one for one in json.loads(run(project, "augment", "transforms", "--json")) if one["name"] == "Trim")
    assert found["schema"]["required"] == ["margin"]
    assert found["family"] == "crop"
    run(project, "tests.augment.transforms.targets_table")
    assert "| crop | `Trim` | yes | yes | yes |" in (project / "docs" / "targets.md").read_text(encoding="utf-8")
    check_suites(
        project,
        "Trim or test_catalogue_ or test_every_class or test_table",
        *(
            f"tests/augment/transforms/test_{suite}.py"
            for suite in (
                "catalogue",
                "transforms_contract",
                "targets_contract",
                "sizes",
                "targets_page",
                "image_only",
                "recomputed",
            )
        ),
        "tests/service/test_transforms.py",
    )


def test_format_is_one_file_and_one_line(project: Path, tmp_path: Path) -> None:
    lay_images(tmp_path / "photos", "cat/a.png", "dog/b.png")
    out = str(tmp_path / "out")
    run(project, "augment", "expand", str(tmp_path / "photos"), out, "--pipeline", "light", "--format", "tagged")
    assert (tmp_path / "out" / "images.idx").is_file()
    assert "tagged" in run(project, "augment", "check", out)
    check_suites(
        project, "tagged", "tests/augment/formats/test_formats_contract.py", "tests/augment/scanning/test_scan.py"
    )
