"""Changes of a dataset since it was expanded: the manifest of then compared with the dataset of now."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from augment.datasets.dataset import Dataset
from augment.expansion import manifest
from augment.expansion.splits import full_key

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


def since(out: Path, num_shards: int, expansion: str, datasets: Mapping[str | None, Dataset]) -> Changes:
    """Compare the records that the manifest in a folder names with those of the dataset now.

    ``datasets`` are the splits that are expanded, by the names that the manifest has for them.
    """
    known: dict[str | None, set[int]] = {split: set() for split in datasets}
    changed: list[str] = []
    gone: list[str] = []
    num_changed = num_gone = num_parts = 0
    for index in range(num_shards):
        records = manifest.read_records(out, index, expansion)
        if records is None:
            continue
        num_parts += 1
        for (split, key), digest in records.items():
            dataset = datasets.get(split)
            place = None if dataset is None else dataset.find(key)
            if dataset is None or place is None:
                num_gone += 1
                gone += [full_key(split, key)][: _NAMED - len(gone)]
                continue
            known[split].add(place)
            if dataset.record(place).digest != digest:
                num_changed += 1
                changed += [full_key(split, key)][: _NAMED - len(changed)]
    if num_parts < num_shards:
        return Changes(None, num_changed, num_gone, (), changed, gone)
    num_added = sum(dataset.num_records - len(known[split]) for split, dataset in datasets.items())
    added = list(islice(_added(datasets, known), min(num_added, _NAMED)))
    return Changes(num_added, num_changed, num_gone, added, changed, gone)


def _added(datasets: Mapping[str | None, Dataset], known: Mapping[str | None, set[int]]) -> Iterator[str]:
    for split, dataset in datasets.items():
        for place in range(dataset.num_records):
            if place not in known[split]:
                yield full_key(split, dataset.keys([place])[0])


def _told(number: int, what: str, first: Sequence[str]) -> str:
    more = ", …" if number > len(first) else ""
    return f"{number:,} {'record' if number == 1 else 'records'} {what} ({', '.join(first)}{more})"
