"""What became of a dataset since it was expanded: the manifest of then beside the dataset of now."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from augment.dataset import Dataset
from augment.expansion import manifest

_NAMED = 3


@dataclass(frozen=True, slots=True)
class Changes:
    """Keys of records; ``added`` is None where the manifest of then is not whole, so that nobody knows."""

    added: int | None
    changed: int
    gone: int
    first_added: Sequence[str]
    first_changed: Sequence[str]
    first_gone: Sequence[str]

    def __str__(self) -> str:
        """One line, as ``1 record added (cat/new), 2 changed (cat/1, cat/2)``; empty where nothing is known."""
        parts = [
            _told(number, what, first)
            for number, what, first in (
                (self.added or 0, "added", self.first_added),
                (self.changed, "changed", self.first_changed),
                (self.gone, "gone", self.first_gone),
            )
            if number
        ]
        return ", ".join(parts)


def since(out: Path, num_shards: int, expansion: str, dataset: Dataset) -> Changes:
    """Compare the records that the manifest in a folder names with those of the dataset now."""
    known: set[int] = set()
    changed: list[str] = []
    gone: list[str] = []
    num_changed = num_gone = num_parts = 0
    for index in range(num_shards):
        records = manifest.read_records(out, index, expansion)
        if records is None:
            continue
        num_parts += 1
        for key, digest in records.items():
            place = dataset.find(key)
            if place is None:
                num_gone += 1
                gone += [key][: _NAMED - len(gone)]
                continue
            known.add(place)
            if dataset.record(place).digest != digest:
                num_changed += 1
                changed += [key][: _NAMED - len(changed)]
    if num_parts < num_shards:
        return Changes(None, num_changed, num_gone, (), changed, gone)
    num_added = dataset.num_records - len(known)
    places = (place for place in range(dataset.num_records) if place not in known)
    added = dataset.keys([place for place, _ in zip(places, range(min(num_added, _NAMED)), strict=False)])
    return Changes(num_added, num_changed, num_gone, added, changed, gone)


def _told(number: int, what: str, first: Sequence[str]) -> str:
    more = ", …" if number > len(first) else ""
    return f"{number:,} {'record' if number == 1 else 'records'} {what} ({', '.join(first)}{more})"
