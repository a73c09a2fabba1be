"""docs/targets.md: its table matches the catalogue, its pipelines are valid, its numbers are those of the code."""

import re

import pytest

from augment.pipelines.document import parse
from augment.pipelines.spec import BoxRules, KeypointRules
from augment.transforms.resolve import resolve
from tests.augment.transforms.targets_table import PAGE, text


def test_table_is_the_catalogue_s() -> None:
    assert PAGE.read_text(encoding="utf-8") == text(), "run `make targets`"


def test_defaults_are_those_of_the_sections() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for rules in (BoxRules(), KeypointRules()):
        for name, value in rules.canonical().items():
            shown = str(value).lower() if isinstance(value, bool | str) else f"{value:g}"
            assert re.search(rf"\| `{name}` \| {re.escape(shown)} \|", page), name


@pytest.mark.parametrize("pipeline", re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL))
def test_pipelines_on_the_page_hold(pipeline: str) -> None:
    resolve(parse(pipeline))
