"""Rules of the house that no linter knows."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from augment import errors
from augment.cli import exit_codes

ROOT = Path(__file__).parents[2]
LINES_MAX = 600
BANNED = {"utils", "util", "common", "core", "base", "manager", "helpers", "helper", "misc"}
PYTHON = [
    path
    for folder in ("augment", "service", "bench", "demo", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", PYTHON, ids=_id)
def test_file_is_small_and_named_after_something(path: Path) -> None:
    num_lines = len(path.read_text(encoding="utf-8").splitlines())
    assert num_lines <= LINES_MAX, f"{num_lines} lines: it is two rooms"
    assert path.stem not in BANNED


def _trees() -> Iterator[tuple[str, ast.Module]]:
    """Yield the modules of the engine and the service with their paths."""
    for path in PYTHON:
        if path.relative_to(ROOT).parts[0] in {"augment", "service"}:
            yield _id(path), ast.parse(path.read_text(encoding="utf-8"))


def test_public_class_names_are_unique() -> None:
    paths: dict[str, list[str]] = {}
    for path, tree in _trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                paths.setdefault(node.name, []).append(path)
    assert {name: found for name, found in paths.items() if len(found) > 1} == {}


def test_docstrings_do_not_begin_with_a_question() -> None:
    questions = [
        f"{path}:{node.lineno}: {text.splitlines()[0]}"
        for path, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for text in [node.value.value]
        if isinstance(text, str)
        and re.match(r"(what|whether|where|which|who|whose|when|why|how)\b", text, re.IGNORECASE)
    ]
    assert questions == []


def test_no_name_of_ours_is_imported_under_another() -> None:
    renamed = [
        f"{path}:{node.lineno}: {each.name} as {each.asname}"
        for path, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for each in node.names
        if each.asname is not None
        and (getattr(node, "module", None) or each.name).partition(".")[0] in {"augment", "service"}
    ]
    assert renamed == []


def _texts() -> Iterator[Path]:
    for folder in ("augment", "bench", "demo", "tests", "docs", ".ci"):
        yield from (
            path for path in sorted((ROOT / folder).rglob("*")) if path.is_file() and "__pycache__" not in str(path)
        )
    yield from (path for path in sorted(ROOT.iterdir()) if path.suffix in {".md", ".toml", ".lock"})
    yield ROOT / "Makefile"


def test_the_word_is_image() -> None:
    other = "pict" + "ure"
    found = [
        _id(path)
        for path in sorted(ROOT.rglob("*"))
        if path.suffix in {".py", ".md", ".toml", ".yml", ".yaml", ".json", ".sh", ".html", ".css", ".js"}
        and path.relative_to(ROOT).parts[0] in {"augment", "service", "bench", "demo", "docs", "tests", path.name}
        and other in path.read_text(encoding="utf-8").lower()
    ]
    assert found == []


def test_no_file_knows_a_machine() -> None:
    machine = re.compile(r"/(home|Users)/[a-z]|/root/|pypi\.org|pythonhosted|--(extra-)?index-url [^-]")
    me = Path(__file__)
    for path in _texts():
        if path == me or path.suffix in {".jpg", ".png"}:
            continue
        found = machine.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{path.relative_to(ROOT)}: {found}"


def _tree(kind: type[errors.AugmentError]) -> Iterator[type[errors.AugmentError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


def test_every_error_has_an_exit_code_and_every_exit_code_a_meaning() -> None:
    import augment.expansion.expand  # a room may add a class of its own
    import augment.streams.stream  # noqa: F401 - imported for the classes that it may define

    kinds = set(_tree(errors.AugmentError))
    assert kinds == set(exit_codes.EXIT_CODES)
    assert set(exit_codes.EXIT_CODES.values()) <= set(exit_codes.MEANINGS)


def test_every_error_is_drawn_in_the_tree() -> None:
    drawn = errors.__doc__ or ""
    for kind in _tree(errors.AugmentError):
        assert re.search(rf"\b{kind.__name__}\b", drawn)


def test_exit_codes_are_documented() -> None:
    page = (ROOT / "docs" / "command.md").read_text(encoding="utf-8")
    for code, meaning in exit_codes.MEANINGS.items():
        assert f"| {code} | {meaning} |" in page


def test_changelog_tells_what_is_unreleased() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    section = changelog.partition("## Unreleased")[2].partition("\n## ")[0]
    assert re.search(r"^- \S", section, re.MULTILINE)


def test_every_decision_is_dated_and_listed() -> None:
    listing = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        assert re.search(r"^\d{4}-\d\d-\d\d$", page.read_text(encoding="utf-8"), re.MULTILINE), page.name
        assert page.name in listing


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


_PATH = re.compile(r"(?<![\w./{}*-])((?:[\w.-]+/)+[\w-]+\.py)\b")
_FOLDER = re.compile(r"(?<![\w./{}*-])((?:augment|service)/(?:\w+/)*)(?=[`\s,.:;)])")
_ELSEWHERE = {  # files of other projects, which the pages and the tables of statistics cite
    "conf/global_settings.py",
    "data/constants.py",
    "mnist/main.py",
    "timm/data/constants.py",
    "utils/augmentations.py",
}


def _prose() -> Iterator[Path]:
    yield from PYTHON
    yield from sorted((ROOT / "docs").rglob("*.md"))
    yield from (ROOT / name for name in ("CONTRIBUTING.md", "README.md", "Makefile", "pyproject.toml"))


def missing_paths(text: str, page: Path) -> list[str]:
    """Return the Python files and folders that a text names and the repository does not have.

    A path begins at the root, in ``augment/`` or ``service/``, or in the folder of the page or above it.
    """
    starts = [ROOT, ROOT / "augment", ROOT / "service", *(each for each in page.parents if each.is_relative_to(ROOT))]
    named = {*_PATH.findall(text), *_FOLDER.findall(text)} - _ELSEWHERE
    return sorted(path for path in named if not any((start / path).exists() for start in starts))


def test_paths_in_prose_exist() -> None:
    missing = {_id(page): missing_paths(page.read_text(encoding="utf-8"), page) for page in _prose()}
    missing.pop(_id(Path(__file__)))
    assert {page: paths for page, paths in missing.items() if paths} == {}


def test_path_of_a_moved_file_is_found() -> None:
    text = "see augment/gone.py, `augment/gone/` and processes/zygote.py; not timm/data/constants.py, streams/batch.py"
    assert missing_paths(text, ROOT / "docs" / "x.md") == ["augment/gone.py", "augment/gone/", "processes/zygote.py"]


_REFERENCE = re.compile(r"``([a-z_]\w*)\.([A-Za-z_]\w*)(?:\.\w+)*(?:\(\))?``")
_FILE_ENDINGS = {"arrow", "csv", "data", "jpg", "json", "jsonl", "md", "names", "png", "py", "txt", "yaml"}
_NO_MODULES = {
    "arrow.fixed_shape_tensor",  # Arrow's names of its extension types
    "arrow.variable_shape_tensor",
    "augment.commands",  # a group of entry points
    "torchvision.transforms",  # the model of ours, which only the peers of the benchmarks have installed
}


def _names(path: Path) -> frozenset[str]:
    """Return all names that a module's code defines or uses, and the modules of a package."""
    found = {each.stem for each in path.parent.iterdir()} if path.name == "__init__.py" else set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for field in ("id", "attr", "arg", "name", "asname"):
            name = getattr(node, field, None)
            if isinstance(name, str):
                found.add(name.partition(".")[0])
    return frozenset(found)


def test_names_of_modules_in_docstrings_resolve() -> None:
    paths = [path for path in PYTHON if path.relative_to(ROOT).parts[0] in {"augment", "service"}]
    names = {path: _names(path) for path in paths}
    modules: dict[str, list[Path]] = {}
    for path in paths:
        modules.setdefault(path.parent.name if path.name == "__init__.py" else path.stem, []).append(path)
    for path in paths:
        for module, name in _REFERENCE.findall(path.read_text(encoding="utf-8")):
            if name in _FILE_ENDINGS or f"{module}.{name}" in _NO_MODULES:
                continue
            if module in modules:
                has_name = any(name in names[each] for each in modules[module])
            else:
                has_name = module in names[path] or importlib.util.find_spec(module) is not None
            assert has_name, f"{path.relative_to(ROOT)}: there is no ``{module}.{name}``"
