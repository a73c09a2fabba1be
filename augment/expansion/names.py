"""Names in a dataset that would get in each other's way once they are outputs, and files that lie where outputs go.

How an output is named is the format's affair (``augment.formats``); here it is made sure, before hours of work, that no
two outputs are one file and that none takes the place of a file that is not the expansion's.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from augment import keys
from augment.dataset import Dataset
from augment.errors import DatasetError
from augment.expansion import folder, outputs
from augment.expansion.paths import PathSet
from augment.expansion.spec import ExpansionSpec
from augment.formats import registry
from augment.sample import Record

_KEYS_AT_A_TIME = 4096
_OURS = re.compile(rf"{re.escape(folder.DESCRIPTION)}|manifest-\d{{5,}}\.parquet")
"""The names in the root that the expansion itself takes."""


class Names:
    """The names of all outputs of an expansion, none of which is kept."""

    def __init__(self, dataset: Dataset, spec: ExpansionSpec) -> None:
        self._dataset = dataset
        self._spec = spec
        self._format = registry.FORMATS[spec.format]
        self._like_a_copy = re.compile(rf"(?s)(.+)__(0|[1-9]\d*)\.{re.escape(spec.extension)}")

    def check(self) -> None:
        """Raise DatasetError where two outputs would have one name, or one would lie outside of the output folder."""
        checked = {""}
        for key, index in self._keys():
            above, _, last = key.rpartition("/")
            if above not in checked:
                self._check_folders(key, above)
                checked.add(above)
            if self._spec.include_originals and ("__" in last or not above):
                self._check_original(self._dataset.record(index))

    def check_places(self, root: Path, known: Sequence[PathSet], *, whole: bool) -> None:
        """Raise OutputError where something in the output folder that is not the expansion's has an output's place.

        ``known`` are the outputs that manifests name. ``whole`` says that these are all: where a part of the manifest
        was lost, its shard itself tells its files by their bytes.
        """
        folders = {parent for key, _ in self._keys() for parent in _above(key)}
        for above, paths in folder.walk(root):
            if above and self.is_output(above):
                raise folder.in_the_way(root, above, "a folder")
            unknown = paths
            for some in known:
                unknown = some.missing(unknown)
            for path in unknown:
                if path in folders and not (root / path).is_dir():
                    raise folder.in_the_way(root, path, "a file")
                if whole and self.is_output(path):
                    raise folder.in_the_way(root, path, "a file")

    def is_output(self, path: str) -> bool:
        """Whether an output has this path, relative to the output folder."""
        if self._copied(path) is not None:
            return True
        if not self._spec.include_originals:
            return False
        places = (self._dataset.find(key) for key in (path, keys.without_extension(path)))
        return any(place is not None and self._original_path(self._dataset.record(place)) == path for place in places)

    def _keys(self) -> Iterator[tuple[str, int]]:
        for start in range(0, self._dataset.num_records, _KEYS_AT_A_TIME):
            indices = range(start, min(start + _KEYS_AT_A_TIME, self._dataset.num_records))
            yield from zip(self._dataset.keys(indices), indices, strict=True)

    def _check_folders(self, key: str, above: str) -> None:
        folders = PurePosixPath(above)
        if folders.is_absolute() or ".." in folders.parts:
            raise DatasetError(f"record {key} would be written outside of the output folder; scan the dataset again")
        if _OURS.fullmatch(folders.parts[0]):
            raise DatasetError(
                f"the folder {folders.parts[0]} of record {key} has the name of a file that an expansion writes; "
                "rename it in the dataset"
            )
        for each in _above(key):
            if (other := self._copied(each)) is not None:
                raise DatasetError(
                    f"the folder of record {key} has the name of a copy of record {other}; rename one of them in the "
                    "dataset"
                )

    def _check_original(self, record: Record) -> None:
        path = self._original_path(record)
        if _OURS.fullmatch(path):
            raise DatasetError(
                f"the original of record {record.key} has the name of a file that an expansion writes; rename it in "
                "the dataset, or leave out --include-originals"
            )
        if (other := self._copied(path)) is not None:
            raise DatasetError(
                f"the original of record {record.key} and a copy of record {other} would both be {path}; rename one of "
                "them in the dataset, or leave out --include-originals"
            )

    def _original_path(self, record: Record) -> str:
        return self._format.picture_path(outputs.original_of(self._spec, record))

    def _copied(self, path: str) -> str | None:
        """The key of the record that has a copy of this path."""
        match = self._like_a_copy.fullmatch(path)
        if match is None or int(match[2]) >= self._spec.copies or self._dataset.find(match[1]) is None:
            return None
        return match[1]


def _above(key: str) -> Iterator[str]:
    """The folders that a key lies in, the nearest first."""
    while key := key.rpartition("/")[0]:
        yield key
