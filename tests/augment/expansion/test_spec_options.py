"""The options of an expansion are written once: what repeats their names agrees."""

from dataclasses import fields
from typing import get_type_hints

from augment.expansion.spec import ExpansionKeywords, ExpansionOptions


def test_keywords_are_the_fields() -> None:
    assert get_type_hints(ExpansionKeywords) == get_type_hints(ExpansionOptions)


def test_every_option_is_described() -> None:
    assert all(field.metadata["description"].endswith(".") for field in fields(ExpansionOptions))
