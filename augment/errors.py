"""The errors of the engine, by whose fault they are.

    AugmentError
    ├── CallError                 the caller's argument: an epoch below 0, a rank outside the world
    │   └── JSONError             text that is not JSON, or JSON that two readers understand differently
    ├── PipelineError             the caller's pipeline; carries one Problem for each place that is wrong
    ├── DatasetError              the caller's dataset: no such folder, no image in it, an unknown split
    ├── OutputError               the caller's output folder: another expansion's, locked, inside the dataset
    ├── RecordError               one record: its key, the stage that refused it and the reason
    │   └── RecordChangedError    its bytes are no longer those that the dataset's manifest describes
    ├── MissingExtraError         a package of an extra is not installed; also a ModuleNotFoundError
    ├── StorageError              the machine's disk or memory: full, unwritable, failing; the data is not at fault
    └── WorkerError               ours: a worker process died and no record can be blamed for it

The engine knows nothing of HTTP or exit codes. The modules that show errors (``cli/exit_codes.py``,
``service/problems.py``) map these classes, and a test fails if a class has no row in the map.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from itertools import chain


class AugmentError(Exception):
    """Any refusal or failure of this package; the message is one line and ends with the remedy."""


class CallError(AugmentError):
    """An argument of the call is outside its range."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One place in a document and what is wrong there.

    ``loc`` is the path from the document's root: keys and positions in lists, as in ``("transforms", 2, "Rotate",
    "limit")``. ``line`` counts from 1 and is None if the document had no text.
    """

    loc: tuple[str | int, ...]
    msg: str
    line: int | None = None

    def __str__(self) -> str:
        place = ".".join(str(part) for part in self.loc)
        where = f"line {self.line}: " if self.line is not None else ""
        return f"{where}{place}: {self.msg}" if place else f"{where}{self.msg}"


class JSONError(CallError):
    """Text that is not JSON, or JSON that two readers would understand differently; ``problems`` names the places."""

    def __init__(self, name: str, loc: tuple[str | int, ...], msg: str, line: int | None = None) -> None:
        self.problems = (Problem((name, *loc), msg, line),)
        super().__init__("".join(f"[{part!r}]" if i else str(part) for i, part in enumerate((name, *loc))) + f": {msg}")
        self._arguments = name, loc, msg, line

    def __reduce__(self) -> tuple[type["JSONError"], tuple[str, tuple[str | int, ...], str, int | None]]:
        return type(self), self._arguments


class PipelineError(AugmentError):
    """A refused pipeline, with every problem found in it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type["PipelineError"], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


@contextmanager
def problems_below(*loc: str | int) -> Iterator[None]:
    """Prefix the problems of a pipeline that are raised inside the block with ``loc``."""
    try:
        yield
    except PipelineError as error:
        raise PipelineError([Problem((*loc, *one.loc), one.msg, one.line) for one in error.problems]) from error


class DatasetError(AugmentError):
    """A dataset that cannot be scanned, opened or used as asked."""


class OutputError(AugmentError):
    """An output folder that this expansion must not write into."""


EXTRAS: Mapping[str, Mapping[str, str]] = {
    "engine": {
        "albumentations": "albumentations", "cv2": "opencv-python-headless", "defusedxml": "defusedxml", "lmdb": "lmdb",
        "PIL": "pillow", "pycocotools": "pycocotools", "pydantic": "pydantic", "rfc8785": "rfc8785", "rich": "rich",
        "ruamel.yaml": "ruamel.yaml", "scipy": "scipy", "simplejpeg": "simplejpeg", "typer": "typer",
    },
    "service": {
        "anyio": "anyio", "fastapi": "fastapi", "fastapi_offline": "fastapi-offline", "h11": "h11",
        "prometheus_client": "prometheus-client", "pydantic_settings": "pydantic-settings",
        "python_multipart": "python-multipart", "starlette": "starlette", "uvicorn": "uvicorn",
    },
    "tools": {"imagehash": "imagehash", "matplotlib": "matplotlib"},
}  # fmt: skip
"""Packages that each extra of the distribution adds: import names, and the distributions that hold them."""


class MissingExtraError(AugmentError, ModuleNotFoundError):
    """A package is missing because its extra is not installed; ``name`` is the package's import name."""


@contextmanager
def missing_extras_named() -> Iterator[None]:
    """Raise MissingExtraError in place of a failed import of a package from an extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        for name in chain.from_iterable(EXTRAS.values()):  # for a missing `ruamel.yaml`, Python names `ruamel`
            if error.name == name or name.startswith(f"{error.name}."):
                raise _missing(name) from error
        raise


def require(name: str) -> None:
    """Raise MissingExtraError unless the package is installed; does not import it."""
    if find_spec(name) is None:
        raise _missing(name)


def _missing(name: str) -> MissingExtraError:
    extra = next(extra for extra, packages in EXTRAS.items() if name in packages)
    return MissingExtraError(f"{name} is not installed; install the {extra}: pip install '.[{extra}]'", name=name)


class Reason(StrEnum):
    """Reason why one record was refused, as manifests, provenance and metrics show it."""

    FORMAT = "format"
    """The bytes are of a format that is not allowed, or not an image at all."""
    TOO_MANY_PIXELS = "too_many_pixels"
    """The header claims more pixels than the limit; nothing was decoded."""
    TOO_MANY_BYTES = "too_many_bytes"
    """The file is longer than the limit; nothing of it was read."""
    UNDECODABLE = "undecodable"
    """The header is an image's, but the rest is broken, truncated or contradicts it."""
    UNREADABLE = "unreadable"
    """The file cannot be opened: permissions, a dangling link, a device, a name that is not UTF-8."""
    MISPLACED = "misplaced"
    """The dataset's layout has no place for the image: it is outside the folders of the splits."""
    ANNOTATION = "annotation"
    """The annotations cannot be true of the image: a box outside, a mask of another size, an unknown class."""
    CHANGED = "changed"
    """The file is no longer the one that was scanned."""
    NOT_RENDERABLE = "not_renderable"
    """It decodes, but a transform of the pipeline cannot be applied to it."""
    CRASHED = "crashed"
    """The process that decoded or rendered it died, twice."""
    TIMEOUT = "timeout"
    """Decoding or rendering it takes more processor time than the limit for a record; it was tried again, alone."""

    @property
    def is_transient(self) -> bool:
        """True if the same record may be read later or on another machine: the refusal is not final."""
        return self.is_read_failure or self in {Reason.CRASHED, Reason.TIMEOUT}

    @property
    def is_read_failure(self) -> bool:
        """True if the scanned file cannot be read now, or has changed.

        Trying again costs nothing. CRASHED and TIMEOUT are transient too, but are raised only after a second try, so
        such a refusal may be cached for a while.
        """
        return self in {Reason.CHANGED, Reason.UNREADABLE}

    @property
    def is_of_the_bytes(self) -> bool:
        """True if every machine refuses these bytes, so that a transform may take another record in their place.

        TOO_MANY_BYTES and MISPLACED are missing because only a scan refuses for them, and NOT_RENDERABLE because it
        depends on the pipeline.
        """
        return self in {Reason.FORMAT, Reason.TOO_MANY_PIXELS, Reason.UNDECODABLE, Reason.ANNOTATION}


class RecordError(AugmentError):
    """One record cannot be used; other records are unaffected."""

    def __init__(self, key: str, reason: Reason, detail: str) -> None:
        self.key = key
        self.reason = reason
        self.detail = detail
        super().__init__(f"{key}: {reason}: {detail}" if key else f"{reason}: {detail}")

    def __reduce__(self) -> tuple[type["RecordError"], tuple[str, Reason, str]]:
        return type(self), (self.key, self.reason, self.detail)


class KeyedErrors:
    """Context manager that adds the record's key, or the image's name, to each RecordError raised inside."""

    __slots__ = ("_key",)

    def __init__(self, key: str) -> None:
        self._key = key

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, RecordError) and error.key != self._key:
            raise RecordError(self._key, error.reason, error.detail) from error


class RecordChangedError(RecordError):
    """The bytes of a record have changed since the scan: scan the dataset again."""

    def __init__(self, key: str, reason: Reason = Reason.CHANGED, detail: str = "") -> None:
        super().__init__(key, reason, detail or "the file changed since the scan; scan the dataset again")


class StorageError(AugmentError):
    """Input or output failed on this machine; the same call may succeed once the machine works again."""


class WorkerError(AugmentError):
    """A worker process died and no record can be blamed: memory ran out, or it was killed from outside."""
