"""Lists in pages: ``after`` is the last name of the page before, ``next`` the one to go on after."""

import bisect
from collections.abc import Sequence
from typing import Annotated

from fastapi import Query

After = Annotated[
    str | None, Query(description="Go on after this entry: the `next` of the page before.", max_length=4096)
]
Limit = Annotated[int, Query(description="Entries of one page.", ge=1, le=1000)]

DEFAULT_LIMIT = 100


def page(names: Sequence[str], after: str | None, limit: int) -> tuple[Sequence[str], str | None]:
    """The names after one (which may be gone) in a sorted list, and what to ask for next; None at the end."""
    start = 0 if after is None else bisect.bisect_right(names, after)
    chosen = names[start : start + limit]
    return chosen, chosen[-1] if start + limit < len(names) else None
