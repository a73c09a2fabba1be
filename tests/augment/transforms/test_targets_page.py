"""docs/targets.md: its table is what the catalogue says, its pipelines hold, its numbers are those of the code."""

import re
from pathlib import Path

import pytest

from augment.pipelines.document import parse
from augment.pipelines.spec import BoxRules, KeypointRules
from augment.transforms.catalogue import catalogue
from augment.transforms.families import FAMILIES
from augment.transforms.resolve import resolve
from tests.augment.transforms.catalogue_cases import LEAVES

PAGE = Path(__file__).parents[3] / "docs/targets.md"
TARGETS = ("mask", "boxes", "keypoints")


def rows() -> list[str]:
    """A row for each transform that moves pixels, by family."""
    known = catalogue()
    moving = [name for name in LEAVES if known[name].moves_pixels]
    found = []
    for family in FAMILIES:
        for name in moving:
            if known[name].family == family:
                cells = ("yes" if target in known[name].targets else "**no**" for target in TARGETS)
                found.append(f"| {family} | `{name}` | {' | '.join(cells)} |")
    return found


def test_table_is_the_catalogue_s() -> None:
    found = [line for line in PAGE.read_text().splitlines() if re.match(r"\| \w+ \| `", line)]
    assert found == rows(), "\n" + "\n".join(rows())


def test_defaults_are_those_of_the_sections() -> None:
    text = PAGE.read_text()
    for rules in (BoxRules(), KeypointRules()):
        for name, value in rules.canonical().items():
            shown = str(value).lower() if isinstance(value, bool | str) else f"{value:g}"
            assert re.search(rf"\| `{name}` \| {re.escape(shown)} \|", text), name


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL))
def test_pipelines_on_the_page_hold(text: str) -> None:
    resolve(parse(text))
