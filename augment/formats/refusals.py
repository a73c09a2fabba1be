"""What a scan refused, told in a few words: how many of each kind, and the first examples."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from augment import keys
from augment.errors import Reason

NUM_EXAMPLES = 3

LEAVE_OUT = "leave_out"
"""The records go, and rows of the manifest say why."""
REFUSE = "refuse"
"""The whole scan is refused: labels that are wrong are a thing to know of before training, not after."""
BAD_ANNOTATIONS = (REFUSE, LEAVE_OUT)
"""What may become of records whose annotations cannot be true."""


@dataclass(frozen=True, slots=True)
class Example:
    """A refused file, by the path that the manifest calls it, and what is wrong with it."""

    path: str
    detail: str


@dataclass(slots=True)
class Kind:
    """Refusals of one kind: ``name`` is empty where the reason says all."""

    reason: Reason
    name: str
    number: int = 0
    examples: list[Example] = field(default_factory=list)

    def __str__(self) -> str:
        shown = "; ".join(f"{keys.printable(each.path)}: {keys.printable(each.detail)}" for each in self.examples)
        more = "; …" if self.number > len(self.examples) else ""
        return f"{self.number:,} of {self.name or self.reason!s} ({shown}{more})"


class Refusals:
    """Counts by reason and kind. Of a bad annotation the kind is what stands before the first colon."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[Reason, str], Kind] = {}

    def add(self, path: str, reason: Reason, detail: str) -> None:
        name, rest = "", detail
        if reason is Reason.ANNOTATION:
            name, colon, rest = detail.partition(": ")
            if not colon:
                name, rest = str(reason), detail
        kind = self._kinds.setdefault((reason, name), Kind(reason, name))
        kind.number += 1
        if len(kind.examples) < NUM_EXAMPLES:
            kind.examples.append(Example(path, rest))

    def __iter__(self) -> Iterator[Kind]:
        """Bad annotations first, of each the most frequent first, of equals in the order of the names."""
        return iter(sorted(self._kinds.values(), key=_order))

    def bad_annotations(self) -> list[Kind]:
        """The kinds whose reason is that annotations cannot be true."""
        return [kind for kind in self if kind.reason is Reason.ANNOTATION]


def _order(kind: Kind) -> tuple[bool, int, str, str]:
    return kind.reason is not Reason.ANNOTATION, -kind.number, kind.reason, kind.name
