"""Names of all files of a dataset, found once, and reading them."""

import codecs
import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from augment.datasets import keys, read

IMAGES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)
"""Suffixes of images, in lower case."""


def is_image(path: str) -> bool:
    """True if a path has an image's suffix."""
    return keys.extension(path).lower() in IMAGES


def encoding(data: bytes) -> str:
    """Return the encoding of a text from its first bytes: UTF-16, as Windows saves it, or else UTF-8."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in data[:2]:  # in UTF-16 one of the two bytes of a Latin letter, a digit or a sign is 0
        return "utf-16-be" if data[0] == 0 else "utf-16-le"
    return "utf-8-sig"


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder: its path relative to the root (empty for the root itself), and its sorted names."""

    path: str
    folders: tuple[str, ...]
    files: tuple[str, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the folders along its path, its own last."""
        return tuple(self.path.split("/")) if self.path else ()


def join(folder: str, name: str) -> str:
    """Return the path of ``name`` in a folder; the root's path is empty."""
    return f"{folder}/{name}" if folder else name


@dataclass
class Tree:
    """Every file below ``root``, by relative path with ``/`` between parts; ``folders`` are sorted by name.

    ``num_ignored`` counts the files that the user asked to ignore.
    """

    root: Path
    folders: list[Folder] = field(default_factory=list)
    num_ignored: int = 0

    @functools.cached_property
    def paths(self) -> set[str]:
        """Paths of all files."""
        return {join(folder.path, name) for folder in self.folders for name in folder.files}

    @functools.cached_property
    def by_suffix(self) -> Mapping[str, list[str]]:
        """Paths of all files by their suffixes in lower case, sorted."""
        found: dict[str, list[str]] = {}
        for path in sorted(self.paths):
            found.setdefault(keys.extension(path).lower(), []).append(path)
        return found

    def of_suffixes(self, suffixes: Iterable[str]) -> list[str]:
        """Return the paths with one of these suffixes, which must be in lower case."""
        return [path for suffix in suffixes for path in self.by_suffix.get(suffix, ())]

    def below(self, folder: str) -> Iterator[str]:
        """Yield the files in a folder and its sub-folders; an empty path is the root."""
        prefix = f"{folder}/" if folder else ""
        return (path for path in self.paths if path.startswith(prefix))

    def images(self) -> Iterator[str]:
        """Yield the files with an image's suffix."""
        return iter(self.of_suffixes(IMAGES))

    def read_text(self, path: str, *, max_bytes: int) -> str:
        """Return the text of one of the files, decoded by ``encoding``, without its byte order mark.

        Raises ValueError if it cannot be read, is too long or cannot be decoded; StorageError if the machine fails.
        """
        data = self.read_bytes(path, max_bytes=max_bytes)
        try:
            return data.decode(encoding(data))
        except UnicodeDecodeError as error:
            raise ValueError(f"{keys.printable(path)} is not UTF-8 at byte {error.start}; save it as UTF-8") from error

    def read_bytes(self, path: str, *, max_bytes: int) -> bytes:
        """Return the bytes of one of the files; raises as ``read_text`` does."""
        shown = keys.printable(path)
        try:
            content = read.read_file(self.root / path, max_bytes=max_bytes)
        except read.NotAFileError as error:
            raise ValueError(f"{shown} is {error}") from error
        except OSError as error:
            raise ValueError(f"{shown}: {read.refusal(error, path).detail}") from error
        if len(content.data) > max_bytes:
            raise ValueError(f"{shown} has {content.size_bytes} bytes, of {max_bytes} allowed; split it")
        return content.data
