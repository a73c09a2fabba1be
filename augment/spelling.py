"""The nearest known word to one that is not known: the last part of many error messages."""

import difflib
from collections.abc import Iterable
from typing import Final

LONGEST: Final = 64
"""Longer words are no misspelling, and comparing them takes the square of their length."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``'; did you mean `Word`?'``, or an empty string where nothing known is near.

    Upper and lower case do not count, nor do ``-`` and ``_``: ``horizontal_flip`` is near ``HorizontalFlip``.
    """
    if len(word) > LONGEST:
        return ""
    by_plain_form = {_plain(candidate): candidate for candidate in known}
    nearest = difflib.get_close_matches(_plain(word), by_plain_form, n=1, cutoff=0.7)
    return f"; did you mean `{by_plain_form[nearest[0]]}`?" if nearest else ""


def _plain(word: str) -> str:
    return word.lower().replace("-", "").replace("_", "")
