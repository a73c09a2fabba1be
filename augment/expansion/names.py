"""How outputs are named, and the names in a dataset that would get in each other's way."""

import os
import re
from pathlib import Path, PurePosixPath

from augment.dataset import Dataset
from augment.errors import OutputError
from augment.expansion import folder
from augment.expansion.spec import ExpansionSpec
from augment.sample import Record

_KEYS_AT_A_TIME = 4096


def rendered(key: str, copy: int, extension: str) -> str:
    """The path of a copy, relative to the output folder; two different (key, copy) never share one."""
    return f"{key}__{copy}.{extension}"


def original(record: Record) -> str:
    """The path of a record's own picture: its key, with the extension that its file has."""
    last, name = record.key.rpartition("/")[2], record.path.name
    extension = name.removeprefix(last) if name.startswith(last) else record.path.suffix
    return record.key + extension


def check(dataset: Dataset, spec: ExpansionSpec, root: Path) -> None:
    """Raise OutputError where two outputs would have one name, or one has a name that cannot be written.

    It looks at every key, because the alternative is to find out after hours.
    """
    _Check(dataset, spec, root).run()


class _Check:
    def __init__(self, dataset: Dataset, spec: ExpansionSpec, root: Path) -> None:
        self._dataset = dataset
        self._spec = spec
        self._root = root
        self._like_a_copy = re.compile(rf"(?s)(.+)__(0|[1-9]\d*)\.{re.escape(spec.extension)}")
        self._folders = {""}
        self._name_max = _name_max(root)

    def run(self) -> None:
        suffix = len(rendered("", self._spec.copies - 1, self._spec.extension))
        for start in range(0, self._dataset.num_records, _KEYS_AT_A_TIME):
            indices = range(start, min(start + _KEYS_AT_A_TIME, self._dataset.num_records))
            for index, key in zip(indices, self._dataset.keys(indices), strict=True):
                above, _, last = key.rpartition("/")
                if len(last.encode()) + suffix > self._name_max:
                    raise OutputError(
                        f"the copies of record {key} would have names of more than {self._name_max} bytes, the limit "
                        f"of the file system of {self._root}; shorten its name in the dataset"
                    )
                if key.startswith(folder.HIDDEN):
                    raise OutputError(
                        f"record {key} begins with {folder.HIDDEN}, as the files of a run under way do; rename it in "
                        "the dataset"
                    )
                if above not in self._folders:
                    self._check_folder(key, above)
                    self._folders.add(above)
                if self._spec.include_originals and "__" in last:
                    self._check_original(self._dataset.record(index))

    def _check_folder(self, key: str, above: str) -> None:
        path = PurePosixPath(above)
        if path.is_absolute() or ".." in path.parts:
            raise OutputError(f"record {key} would be written outside of {self._root}; rename it in the dataset")
        for each in (path, *path.parents):
            if (other := self._copy_called(str(each))) is not None:
                raise OutputError(
                    f"the folder of record {key} has the name of a copy of record {other}; rename one of them in the "
                    "dataset"
                )

    def _check_original(self, record: Record) -> None:
        path = original(record)
        if (other := self._copy_called(path)) is not None:
            raise OutputError(
                f"the original of record {record.key} and a copy of record {other} would both be {path}; rename one of "
                "them in the dataset, or leave out --include-originals"
            )

    def _copy_called(self, path: str) -> str | None:
        """The key of the record that has a copy of this path."""
        match = self._like_a_copy.fullmatch(path)
        if match is None or int(match[2]) >= self._spec.copies or self._dataset.find(match[1]) is None:
            return None
        return match[1]


def _name_max(root: Path) -> int:
    for each in (root, *root.absolute().parents):
        try:
            return os.pathconf(each, "PC_NAME_MAX")
        except OSError:  # it is to be made; the file system is that of a folder above it
            continue
    return 255
