"""Version of this distribution: the release, a digest of all its files, and a digest of those that the client runs.

In ``0.1.0.dev0+s1a2b3c4.c5d6e7f8``, ``s1a2b3c4`` has the digest of everything that is installed, so that a version
names one content. ``c5d6e7f8`` has the digest of ``augment.client`` with all modules that it imports: versions that are
equal there have the same client.

The metadata of a wheel that a service writes hold the whole version. Those of a checkout or of an ordinary build hold
the release, and the digests are computed once, on first use.
"""

import ast
import functools
import hashlib
import importlib.metadata
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

DISTRIBUTION = "augment-service"

PACKAGES = ("augment", "service")
"""The packages of the distribution, installed into the same folder."""

_METADATA = ("METADATA", "entry_points.txt", "licenses/LICENSE")
_CLIENT = "augment/client/"
_ROOT = "augment/__init__.py"
_NUM_DIGITS = 7
_DIGESTS = re.compile(r"\+s[0-9a-f]+\.c([0-9a-f]+)")


@functools.cache
def version() -> str:
    """Return the version of the installed distribution, with both digests."""
    installed = read_metadata().get("METADATA", "")
    found = importlib.metadata.version(DISTRIBUTION) if installed else "0"
    return found if _DIGESTS.search(found) else digested(read_files(), read_metadata())


def client_digest(of_version: str) -> str | None:
    """Return the client's digest that a version holds, or None if it holds none."""
    found = _DIGESTS.search(of_version)
    return found[1] if found else None


def read_files() -> dict[str, bytes]:
    """Read the files of the packages as content by path, sorted, with ``/`` in paths.

    Skips bytecode and hidden files. Raises OSError if a file cannot be read.
    """
    root = Path(__file__).parents[1]
    paths = {
        path.relative_to(root).as_posix(): path
        for package in PACKAGES
        for path in (root / package).rglob("*")
        if path.suffix != ".pyc" and not path.name.startswith(".") and path.is_file()
    }
    return {name: paths[name].read_bytes() for name in sorted(paths)}


def read_metadata() -> dict[str, str]:
    """Read the metadata files of the installation as text by name; empty if the distribution is not installed."""
    try:
        found = importlib.metadata.distribution(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return {}
    texts = {name: found.read_text(name) for name in _METADATA}
    return {name: text for name, text in texts.items() if text is not None}


def with_version(metadata: str, new_version: str) -> str:
    """Return the text of ``METADATA`` with this version."""
    return re.sub(r"^Version: .*$", f"Version: {new_version}", metadata, count=1, flags=re.MULTILINE)


def digested(files: Mapping[str, bytes], metadata: Mapping[str, str]) -> str:
    """Return the version of these files: the release from the metadata, and the two digests."""
    found = re.search(r"^Version: ([^+\s]+)", metadata.get("METADATA", ""), re.MULTILINE)
    release = found[1] if found else "0"
    texts = {name: with_version(text, release).encode() for name, text in metadata.items()}
    client = {name: files[name] for name in client_files(files)}
    return f"{release}+s{_digest({**files, **texts})}.c{_digest(client)}"


def client_files(files: Mapping[str, bytes]) -> list[str]:
    """Return the sorted paths of ``augment.client`` and of everything it imports, directly or indirectly."""
    found: set[str] = set()
    waiting = {name for name in files if name.startswith(_CLIENT) and name.endswith(".py")}
    while waiting:
        found |= waiting
        waiting.discard(_ROOT)  # it imports modules on first use of a name, and the client uses none
        imported = {name for path in waiting for module in _imports(files[path]) for name in _paths(module)}
        waiting = (imported & files.keys()) - found
    return sorted(found)


def _imports(source: bytes) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{each.name}" for each in node.names)


def _paths(module: str) -> Iterator[str]:
    """Yield the files that importing a module may run, including those of the packages around it."""
    names = module.split(".")
    for end in range(1, len(names) + 1):
        path = "/".join(names[:end])
        yield from (f"{path}.py", f"{path}/__init__.py")


def _digest(files: Mapping[str, bytes]) -> str:
    return hashlib.sha256(b"".join(_framed(files.items()))).hexdigest()[:_NUM_DIGITS]


def _framed(files: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    for name, content in sorted(files):
        yield f"{name}\0{len(content)}\0".encode()
        yield content
