"""The names of records: paths without extension, with it where two would collide."""

import os.path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from augment.validation import escaped

_SLICE = 65_536
"""Paths that are Python strings at one time."""


def without_extension(path: str) -> str:
    """The path less the extension of its last part: ``cat/a.b.jpg`` gives ``cat/a.b``."""
    return _split(path)[0]


def extension(path: str) -> str:
    """What ``without_extension`` takes away, with its dot; empty where there is none."""
    return _split(path)[1]


def _split(path: str) -> tuple[str, str]:
    """Split as ``os.path.splitext`` does, in a third of its time; a dataset has millions of paths."""
    dot = path.rfind(".")
    start = path.rfind("/") + 1
    if dot <= start or not path[start:dot].strip("."):
        return path, ""
    return path[:dot], path[dot:]


def distinct_keys(paths: pa.Array, taken: pa.Array) -> pa.Array:
    """The key of each path: all keys differ, from one another and from what is ``taken``.

    Paths are relative to one split and distinct; ``taken`` are paths beside them that were refused and go by their
    whole names. A path loses its extension unless its key would then be another's too; those keep it. A path that keeps
    its extension may in turn meet a third one (``a.jpg`` and ``a.png`` beside ``a.jpg.png``), so this goes on until
    nothing collides. The keys are the same in any order of the paths. All arrays have one Arrow type of strings.
    """
    if not len(paths):
        return paths
    slices = (paths.slice(start, _SLICE) for start in range(0, len(paths), _SLICE))
    stems = pa.concat_arrays(
        [pa.array([without_extension(path) for path in part.to_pylist()], type=paths.type) for part in slices]
    )
    encoded = stems.dictionary_encode()
    indices = encoded.indices.to_numpy(zero_copy_only=False)
    keep = np.bincount(indices, minlength=len(encoded.dictionary))[indices] > 1
    met = pa.concat_arrays([paths.filter(pa.array(keep)), taken])
    while len(met):
        newly = pc.is_in(stems, value_set=met).to_numpy(zero_copy_only=False) & ~keep
        keep |= newly
        met = paths.filter(pa.array(newly))
    return pc.if_else(pa.array(keep), paths, stems)


def printable(name: str | os.PathLike[str]) -> str:
    """Return a name or a path on one line, with every character escaped that a terminal or UTF-8 cannot show."""
    try:
        text = os.fsencode(name).decode(errors="backslashreplace")
    except UnicodeEncodeError:  # half of a character, which no file name has but JSON can write
        text = os.fspath(name)
    return escaped(text)


def is_utf8(name: str) -> bool:
    """Whether the name, as the operating system gave it, is UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
