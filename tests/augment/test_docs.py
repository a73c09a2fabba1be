"""The documentation's examples run as printed.

In a fenced block ``python`` every line runs, all blocks of a page one after another in one process. In a ``console``
every line after ``$ `` runs in a shell; if lines follow, they are its output, with ``…`` for anything. Each page runs
in a separate folder that holds ``photos/``. Other blocks (``sh``, ``yaml``, ``text``) are not run, except that ``yaml``
must be a valid pipeline. The README has a separate test, which pastes it into a fresh clone.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import augment

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_PROGRESS = re.compile(r"^(?:scanning|expanding|verifying): .*\n", re.MULTILINE)
"""Progress lines, which a busy machine prints after ten seconds."""

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> Iterator[tuple[str, str, int]]:
    """Yield language, text and line of each fenced block."""
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        yield match[1], match[2], text.count("\n", 0, match.start(2)) + 1


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block with its output."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, printed = part.partition("\n")
        while command.endswith("\\"):
            more, _, printed = printed.partition("\n")
            command = command[:-1] + more.removeprefix(">")
        yield command, printed


def matches(expected: str, printed: str) -> bool:
    """Return True if the output is as shown; ``…`` matches anything, and spaces at the ends of lines don't count."""
    pattern = ".*?".join(re.escape(part) for part in _stripped(expected).split("…"))
    return re.fullmatch(pattern, _stripped(printed), re.DOTALL) is not None


def _stripped(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def run_console(text: str, place: str) -> None:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "100",
    }
    for command, expected in commands(text):
        done = subprocess.run(
            ["bash", "-ec", command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            check=False,
        )
        printed = _PROGRESS.sub("", done.stdout)
        assert expected or done.returncode == 0, f"{place}: {command}\n{printed}"
        assert not expected or matches(expected, printed), f"{place}: {command}\nprints\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_shows_what_happens(page: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    names: dict[str, object] = {"__name__": page.stem}
    for language, text, line in blocks(page):
        place = f"{page.name}:{line}"
        if language == "python":
            exec(compile("\n" * (line - 1) + text, str(page), "exec"), names)  # noqa: S102 - our own page
        elif language == "console":
            run_console(text, place)
        elif language == "yaml":
            augment.Pipeline.parse(text)


def test_console_blocks_are_compared_with_what_is_printed() -> None:
    run_console("$ echo one two\none …\n$ true\n", "here")
    with pytest.raises(AssertionError, match=r"prints\s+two"):
        run_console("$ echo two\none\n", "here")
    with pytest.raises(AssertionError, match="false"):
        run_console("$ false\n", "here")


def test_command_page_names_every_option() -> None:
    import typer

    from augment.cli.app import app

    page = (ROOT / "docs" / "command.md").read_text(encoding="utf-8")
    commands_by_name = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name, command in commands_by_name.items():
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0] or page
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert max(parameter.opts, key=len) in section + page.partition("## Exit codes")[0], (
                    f"{name} {parameter.opts}"
                )


def test_rules_page_names_every_reason_and_every_column_of_the_manifest() -> None:
    from augment.errors import Reason
    from augment.expansion import manifest

    page = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    for word in [*Reason, *manifest._SCHEMA.names]:
        assert f"`{word}`" in page


def test_every_finding_of_verify_is_documented() -> None:
    from augment.expansion.verify import Finding

    page = (ROOT / "docs" / "command.md").read_text(encoding="utf-8")
    for finding in Finding:
        assert f"| `{finding}` |" in page
