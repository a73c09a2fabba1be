"""Files that describe all outputs together: written last from the rows of the manifest, and compared with them.

They are a function of description and rows. They are absent during an update, because the old ones would describe
outputs that no longer exist.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from augment.expansion import folder, manifest, outputs
from augment.expansion.folder import Condition
from augment.expansion.spec import ExpansionSpec
from augment.formats.format import Output, StreamedFile
from augment.scanning import scan


def names(spec: ExpansionSpec) -> tuple[str, ...]:
    """Return the paths of the files if each split has an output; apart from that, they do not depend on outputs.

    Raises DatasetError and OutputError if the format cannot describe this dataset.
    """
    splits = dict.fromkeys(spec.folder(part) for part in spec.parts)
    one_each = [Output("1", split, 0, "jpg", 1, 1) for split in splits]
    return tuple(_path(file) for file in scan.FORMATS[spec.format].closing(lambda: iter(one_each), spec.whole))


def write(root: Path, spec: ExpansionSpec, progress: Callable[[], None]) -> int:
    """Write the files that are missing or differ, each whole or not at all. Return how many were written.

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
    """Compare each file with the rows."""
    for file in _files(root, spec, lambda: None):
        yield file.path, folder.inspect_stream(root, file.path, file.pieces)


def _files(root: Path, spec: ExpansionSpec, progress: Callable[[], None]) -> Iterator[StreamedFile]:
    return scan.FORMATS[spec.format].closing(lambda: _outputs(root, spec, progress), spec.whole)


def _outputs(root: Path, spec: ExpansionSpec, progress: Callable[[], None]) -> Iterator[Output]:
    """Yield all outputs, sorted by split, key and copy, the unchanged original last among a key's."""
    for index in range(spec.num_shards):
        progress()
        for row in manifest.read_part(root, index, spec.id) or ():
            if row.path is not None:
                yield outputs.of_row(spec, row)


def _path(file: StreamedFile) -> str:
    for _ in file.pieces:  # a format's files come one after another
        pass
    return file.path
