"""Options of an expansion are described once; all repetitions of their names agree."""

from typing import get_type_hints

from augment.expansion.options import OPTIONS, ExpansionKeywords, ExpansionOptions


def test_keywords_are_the_fields() -> None:
    assert get_type_hints(ExpansionKeywords) == get_type_hints(ExpansionOptions)


def test_every_option_is_described() -> None:
    assert all(each.metadata["description"].endswith(".") for each in OPTIONS.values())
