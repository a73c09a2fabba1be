"""Names in a dataset that would get in each other's way once they are outputs.

How an output is named is the format's affair (``augment.formats``); here it is made sure, before hours of work, that no
two outputs are one file.
"""

import re
from pathlib import PurePosixPath

from augment.dataset import Dataset
from augment.errors import OutputError
from augment.expansion.spec import ExpansionSpec
from augment.formats import registry
from augment.sample import Record

_KEYS_AT_A_TIME = 4096


def check(dataset: Dataset, spec: ExpansionSpec) -> None:
    """Raise OutputError where two outputs would have one name, or one would lie outside of the output folder."""
    checker = _Checker(dataset, spec)
    checked = {""}
    for start in range(0, dataset.num_records, _KEYS_AT_A_TIME):
        indices = range(start, min(start + _KEYS_AT_A_TIME, dataset.num_records))
        for index, key in zip(indices, dataset.keys(indices), strict=True):
            above, _, last = key.rpartition("/")
            if above not in checked:
                checker.check_folders(key, above)
                checked.add(above)
            if spec.include_originals and "__" in last:
                checker.check_original(dataset.record(index))


class _Checker:
    def __init__(self, dataset: Dataset, spec: ExpansionSpec) -> None:
        self._dataset = dataset
        self._spec = spec
        self._like_a_copy = re.compile(rf"(?s)(.+)__(0|[1-9]\d*)\.{re.escape(spec.extension)}")

    def check_folders(self, key: str, above: str) -> None:
        folders = PurePosixPath(above)
        if folders.is_absolute() or ".." in folders.parts:
            raise OutputError(f"record {key} would be written outside of the output folder; scan the dataset again")
        for each in (folders, *folders.parents):
            if (other := self._copied(str(each))) is not None:
                raise OutputError(
                    f"the folder of record {key} has the name of a copy of record {other}; rename one of them in the "
                    "dataset"
                )

    def check_original(self, record: Record) -> None:
        path = registry.FORMATS[self._spec.format].original_path(record)
        if (other := self._copied(path)) is not None:
            raise OutputError(
                f"the original of record {record.key} and a copy of record {other} would both be {path}; rename one of "
                "them in the dataset, or leave out --include-originals"
            )

    def _copied(self, path: str) -> str | None:
        """The key of the record that has a copy of this path."""
        match = self._like_a_copy.fullmatch(path)
        if match is None or int(match[2]) >= self._spec.copies or self._dataset.find(match[1]) is None:
            return None
        return match[1]
