"""The files that describe all outputs together: written last, from the rows of the manifest, and compared with them.

They are a function of description and rows. While an update is under way there are none, because the former ones would
describe what is no more there.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from augment.expansion import folder, manifest, outputs
from augment.expansion.folder import Condition
from augment.expansion.spec import ExpansionSpec
from augment.formats.format import Output, StreamedFile
from augment.scanning import scan


def names(spec: ExpansionSpec) -> tuple[str, ...]:
    """Where the files lie, if there is an output in each split; beyond that their names do not depend on outputs.

    Raises DatasetError and OutputError where the format cannot describe this dataset.
    """
    splits = dict.fromkeys(spec.folder(part) for part in spec.parts)
    one_each = [Output("1", split, 0, "jpg", 1, 1) for split in splits]
    return tuple(_path(file) for file in scan.FORMATS[spec.format].closing(lambda: iter(one_each), spec.whole))


def write(root: Path, spec: ExpansionSpec, progress: Callable[[], None]) -> int:
    """Write what is missing or differs, each file whole or not at all; how many files were written.

    Every shard must be finished. ``progress`` is called now and then, and may raise.
    """
    return sum(
        folder.place_stream(root, file.path, file.pieces, temporary="closing") for file in _files(root, spec, progress)
    )


def remove(root: Path, spec: ExpansionSpec) -> None:
    """Remove the files."""
    for name in names(spec):
        folder.remove(root, name)


def conditions(root: Path, spec: ExpansionSpec) -> Iterator[tuple[str, Condition]]:
    """Compare each file with what the rows say."""
    for file in _files(root, spec, lambda: None):
        yield file.path, folder.inspect_stream(root, file.path, file.pieces)


def _files(root: Path, spec: ExpansionSpec, progress: Callable[[], None]) -> Iterator[StreamedFile]:
    return scan.FORMATS[spec.format].closing(lambda: _outputs(root, spec, progress), spec.whole)


def _outputs(root: Path, spec: ExpansionSpec, progress: Callable[[], None]) -> Iterator[Output]:
    """All outputs, sorted by split, key and copy, the unchanged original last among a key's."""
    for index in range(spec.num_shards):
        progress()
        for row in manifest.read_part(root, index, spec.id) or ():
            if row.path is not None:
                yield outputs.of_row(spec, row)


def _path(file: StreamedFile) -> str:
    for _ in file.pieces:  # a format's files come one after another
        pass
    return file.path
