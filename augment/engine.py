"""Digest of the engine: everything outside the other fields of an address that decides a pixel.

It is part of every render key. Two machines share results exactly if they would compute the same bytes, and a new
release of a library makes new keys.
"""

import functools
import platform
from collections.abc import Mapping
from typing import Any

from augment.address import digest_fields
from augment.images import decode
from augment.transforms import albumentations_import

RENDER_REVISION = 5
"""Counts our changes that alter a pixel of any address; raised in the same commit as the change."""

_PERSON = b"augment.engine"


def architecture() -> str:
    """Return the class of processors that render the same bytes: ``x86-64-avx2``, ``x86-64``, ``aarch64``, ….

    Within x86-64 with AVX2 the wider AVX-512 makes no difference, because OpenCV runs without IPP here.
    """
    machine = platform.machine().lower()
    if machine in {"x86_64", "amd64"}:
        return "x86-64" if albumentations_import.cpu_problem() else "x86-64-avx2"
    return {"arm64": "aarch64"}.get(machine, machine or "unknown")


def describe() -> dict[str, Any]:
    """Return the inputs of the digest, as in ``/version``: revision, architecture, libraries with versions."""
    return {
        "revision": RENDER_REVISION,
        "architecture": architecture(),
        "libraries": dict(sorted((albumentations_import.versions() | decode.versions()).items())),
    }


@functools.cache
def engine_id() -> str:
    """Return the digest of ``describe()``: 32 hexadecimal digits, equal on machines of one class."""
    return _digest(describe())


@functools.cache
def decode_id() -> str:
    """Return the digest of everything that decides a decoded pixel, independent of transforms."""
    return _digest({**describe(), "libraries": dict(sorted(decode.versions().items()))})


def _digest(description: Mapping[str, Any]) -> str:
    fields: list[str | int] = [description["revision"], description["architecture"]]
    for name, version in description["libraries"].items():
        fields += [name, version]
    return digest_fields(fields, person=_PERSON).hex()
