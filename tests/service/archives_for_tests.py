"""Archives of images, whole and hostile, made in memory."""

import io
import tarfile
import zipfile
from collections.abc import Mapping

from PIL import Image

from tests.service.folders_for_tests import pattern


def png(seed: int = 0) -> bytes:
    """A small image; other seeds give others."""
    file = io.BytesIO()
    Image.fromarray(pattern(seed)).save(file, "PNG")
    return file.getvalue()


IMAGES = {"cat/1.png": png(1), "cat/2.png": png(2), "dog/3.png": png(3)}


def zipped(files: Mapping[str, bytes] = IMAGES, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def zip_of(*infos: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    """A zip of members with attributes of their own."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for info, data in infos:
            archive.writestr(info, data)
    return file.getvalue()


def tarred(files: Mapping[str, bytes] = IMAGES, mode: str = "w") -> bytes:
    """A tar of these files; ``mode`` as tarfile has it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def tar_of(*infos: tarfile.TarInfo) -> bytes:
    """A tar of members without content, after one image."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        first = tarfile.TarInfo("cat/1.png")
        first.size = len(IMAGES["cat/1.png"])
        archive.addfile(first, io.BytesIO(IMAGES["cat/1.png"]))
        for info in infos:
            archive.addfile(info)
    return file.getvalue()


def tar_member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """A member that is a link or a device."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info
