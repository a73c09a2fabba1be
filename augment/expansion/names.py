"""Detect output names that collide, with each other or with files that are already in the output folder.

The format names an output (``augment.formats``). This check makes sure, before hours of work, that no two outputs are
one file and that none replaces a foreign file.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np

from augment.datasets import keys
from augment.datasets.dataset import Dataset, in_ranges
from augment.errors import DatasetError, RecordError
from augment.expansion import dataset_files, folder
from augment.expansion.manifest import PathSet, hashed
from augment.expansion.outputs import Outputs
from augment.expansion.spec import ExpansionSpec
from augment.expansion.splits import Part, views
from augment.formats.format import Output
from augment.samples.sample import Record

_AT_A_TIME = 4096
_OURS = re.compile(rf"{re.escape(folder.DESCRIPTION)}|manifest-\d{{5,}}\.parquet")
"""Names in the root that the expansion itself uses."""
_COPY = re.compile(r"(?s)(.+)__(0|[1-9]\d*)")


class Names:
    """Names of all outputs of an expansion, generated when needed and not stored."""

    def __init__(self, dataset: Dataset, spec: ExpansionSpec) -> None:
        self._spec = spec
        self._parts = [(part, view, Outputs(spec, part, view)) for part, view in views(dataset, spec.parts)]

    def check(self) -> None:
        """Raise DatasetError if two outputs would have one name, or one would be outside the output folder."""
        dataset_files.names(self._spec)  # raises if the format cannot describe the dataset
        for part, view, outputs in self._parts:
            self._check_keys(part, view, outputs)
        if self._spec.packs:
            return
        self._check_folders()
        if self._spec.format != self._spec.source_format:
            self._check_converted()

    def _check_keys(self, part: Part, view: Dataset, outputs: Outputs) -> None:
        """Check the keys of one part."""
        checked = {""}
        whole_names: dict[str, str] = {}
        has_original = self._spec.has_original(part)
        for key, index in _keys(view):
            above, _, last = key.rpartition("/")
            if above not in checked:
                folders = PurePosixPath(above)
                if folders.is_absolute() or ".." in folders.parts:
                    raise DatasetError(
                        f"record {key} would be written outside of the output folder; scan the dataset again"
                    )
                checked.add(above)
            if has_original and ("__" in last or keys.extension(last) or last.startswith(("expansion", "manifest-"))):
                self._check_original(view, outputs, view.record(index), whole_names)

    def _check_original(self, view: Dataset, outputs: Outputs, record: Record, whole_names: dict[str, str]) -> None:
        """Compare an original's paths with those of other originals and of copies."""
        try:
            output = outputs.wanted(record)[-1]
        except RecordError:  # it will be refused
            return
        if self._spec.packs:
            paths: tuple[str, ...] = (output.name,)
        else:
            paths = _paths(outputs, output)
            if paths and _OURS.fullmatch(paths[0]):
                raise DatasetError(
                    f"the original of record {record.key} has the name of a file that an expansion writes; rename it "
                    "in the dataset, or leave out --include-originals"
                )
        if not output.extension:  # two records whose names differ only by their extension
            for path in paths:
                if (other := whole_names.setdefault(path, record.key)) != record.key:
                    raise DatasetError(
                        f"the originals of records {other} and {record.key} would share {path}; rename one of them in "
                        "the dataset, or leave out --include-originals"
                    )
        match = _COPY.fullmatch(output.name)
        match = match or _COPY.fullmatch(keys.without_extension(output.name))
        place = None if match is None else view.find(match[1])
        if match is None or place is None:
            return
        copies = [each for each in _wanted(outputs, view.record(place)) if each.copy == int(match[2])]
        theirs = [path for each in copies for path in ((each.name,) if self._spec.packs else _paths(outputs, each))]
        if shared := [path for path in paths if path in theirs]:
            raise DatasetError(
                f"the original of record {record.key} and a copy of record {match[1]} would both be {shared[0]}; "
                "rename one of them in the dataset, or leave out --include-originals"
            )

    def check_places(self, root: Path, known: Sequence[PathSet], *, whole: bool) -> None:
        """Raise OutputError if a foreign file or folder in the output folder has an output's path.

        ``known`` are the files in manifests. ``whole`` means that these are all. If a part of the manifest was lost,
        its shard recognises its files by their bytes.
        """
        if self._spec.packs:
            return
        ours = {folder.DESCRIPTION, *dataset_files.names(self._spec)}
        strange: list[str] = []
        empty: set[str] = set()
        filled: set[str] = set()
        for above, paths in folder.walk(root):
            unknown = [path for path in paths if path not in ours and not _is_ours(path)]
            for some in known:
                unknown = some.missing(unknown)
            strange += unknown
            empty.add(above)
            if len(unknown) < len(paths):
                filled |= {above, *_above(above)}
        for path in sorted(empty - filled - {""}):
            if self.is_output(path):
                raise folder.in_the_way(root, path, "a folder")
        for path in strange:
            if (path in self._places[1] and not (root / path).is_dir()) or (whole and self.is_output(path)):
                raise folder.in_the_way(root, path, "a file")

    def is_output(self, path: str) -> bool:
        """Return True if a file of an output has this path, relative to the output folder."""
        return not self._places[0].missing([path])

    @cached_property
    def _places(self) -> tuple[PathSet, frozenset[str]]:
        """Every path, and the folders above them; needed only if the folder holds files outside the manifests."""
        folders: set[str] = set()

        def paths() -> Iterator[str]:
            for _, some in self._outputs():
                for path in some:
                    folders.update(_above(path))
                    yield path

        return PathSet(_grouped(paths())), frozenset(folders)

    def _check_folders(self) -> None:
        """Raise DatasetError if a folder of outputs has the name of an output or of the expansion's own file."""
        folders: dict[str, str] = {}
        for _, view, outputs in self._parts:
            checked = None
            for key, index in _keys(view):
                above = key.rpartition("/")[0]
                if above != checked:
                    checked = above
                    for path in _paths(outputs, outputs.sketch(view.record(index))):
                        for each in _above(path):
                            folders.setdefault(each, key)
        for each, key in folders.items():
            if _OURS.fullmatch(PurePosixPath(each).parts[0]):
                raise DatasetError(
                    f"the folder {PurePosixPath(each).parts[0]} of record {key} has the name of a file that an "
                    "expansion writes; rename it in the dataset"
                )
        suspicious = {each for each in folders if _COPY.search(each.rpartition("/")[2])}
        for output, paths in self._outputs() if suspicious else ():
            if output.copy is not None and paths and paths[0] in suspicious:
                raise DatasetError(
                    f"the folder of record {folders[paths[0]]} has the name of a copy of record {output.key}; rename "
                    "one of them in the dataset"
                )

    def _check_converted(self) -> None:
        """Raise DatasetError if another format gives two records' outputs one name, because its folders may differ."""
        renames = any(sketch.name not in path for sketch, paths in self._sketches() for path in paths)

        def keyed() -> Iterator[tuple[str, str]]:
            """Yield paths with their records' keys, for one output of each record if its name has the key, else for
            all.
            """
            for output, paths in self._outputs() if renames else self._sketches():
                yield from ((path, output.key) for path in paths)

        groups = _grouped(path for path, _ in keyed())
        values, counts = np.unique(np.concatenate([hashed(()), *map(hashed, groups)]), return_counts=True)
        double = set(values[counts > 1].tolist())
        places: dict[str, str] = {}
        for path, key in keyed() if double else ():
            if hashed([path])[0] in double and (other := places.setdefault(path, key)) != key:
                raise DatasetError(
                    f"records {other} and {key} would both be written to {path} as {self._spec.format}; rename one of "
                    "them in the dataset"
                )

    def _outputs(self) -> Iterator[tuple[Output, tuple[str, ...]]]:
        """Yield every output with its paths."""
        for _, view, outputs in self._parts:
            for record in view:
                for output in _wanted(outputs, record):
                    yield output, _paths(outputs, output)

    def _sketches(self) -> Iterator[tuple[Output, tuple[str, ...]]]:
        """Yield one output of each record with its paths."""
        for _, view, outputs in self._parts:
            for record in view:
                sketch = outputs.sketch(record)
                yield sketch, _paths(outputs, sketch)


def _wanted(outputs: Outputs, record: Record) -> list[Output]:
    try:
        return outputs.wanted(record)
    except RecordError:
        return []


def _paths(outputs: Outputs, output: Output) -> tuple[str, ...]:
    """Return the paths of an output; empty if the format has none, so that its record will be refused."""
    try:
        return outputs.paths(output)
    except RecordError:
        return ()


def _grouped(paths: Iterator[str]) -> Iterator[list[str]]:
    return iter(lambda: list(islice(paths, _AT_A_TIME)), [])


def _keys(view: Dataset) -> Iterator[tuple[str, int]]:
    for indices in in_ranges(view, _AT_A_TIME):
        yield from zip(view.keys(indices), indices, strict=True)


def _is_ours(path: str) -> bool:
    return path.startswith(folder.HIDDEN) or _OURS.fullmatch(path) is not None


def _above(path: str) -> Iterator[str]:
    """Yield the folders of a path, the nearest first."""
    while path := path.rpartition("/")[0]:
        yield path
