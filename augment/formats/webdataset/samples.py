"""Samples of one tar shard: their members and the positions of these.

A sample keeps the name of its image, its class, and the positions of its members: some 150 bytes. The content of
members is read on request.
"""

import re
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from augment.datasets import keys, read, seen_files
from augment.errors import Reason
from augment.formats.format import FileSlice, RefusedPath
from augment.formats.shared import shards
from augment.formats.webdataset import tar_index
from augment.formats.webdataset.tar_index import Member

TEXT_MAX_BYTES = 2**24
"""Largest size of a .json or .txt member; a .json may hold polygons."""

NAME_MAX_BYTES = 4096
"""Length of the longest path in Linux."""

CLASS_MAX_BYTES = 1024
"""Largest size of a .cls member."""

IMAGES = shards.IMAGES | {"img", "image"}
MASKS = frozenset(
    f"{name}.{extension}"
    for name in ("mask", "seg", "segmentation")
    for extension in ("png", "tif", "tiff", "bmp", "gif")
)

_KINDS_COUNTED = 100
_ROLES = ("image", "mask", "json", "txt")
_ESCAPED = re.compile(r"%2E|%25(?=2E|25)")
_ESCAPED_READER = re.compile(r"%((?:25)*)5F_[^/]*__/")
_INTEGER = re.compile(r"-?[0-9]{1,9}")
_OF_READER = re.compile(r"__[^/]*__(/|$)")
"""Beginning of a name that the ``webdataset`` package reserves."""


@dataclass(slots=True)
class Samples:
    """Content of one shard. Sample ``i`` has the image ``members[i]``; its key in the shard is ``key(members[i])``.

    ``values`` are the classes as written: an index, a name or None. ``problems`` maps an index to the reason why the
    sample cannot be used. ``left_out`` counts members by their suffix.
    """

    path: Path
    status: bytes = b""
    members: list[str] = field(default_factory=list)
    values: list[int | str | None] = field(default_factory=list)
    problems: dict[int, str] = field(default_factory=dict)
    refused: list[RefusedPath] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    places: "array[int]" = field(default_factory=lambda: array("q"))

    def part(self, i: int, role: str) -> FileSlice | None:
        """Return the position of the sample's ``image``, ``mask``, ``json`` or ``txt``, or None."""
        at = 2 * (len(_ROLES) * i + _ROLES.index(role))
        offset, size_bytes = self.places[at : at + 2]
        return FileSlice(offset, size_bytes) if offset >= 0 else None

    def text(self, i: int, role: str) -> str | None:
        """Return a member's text, or None if it is missing. Raises ValueError if it cannot be read."""
        part = self.part(i, role)
        return None if part is None else self.read_text(part, f"its .{role}", TEXT_MAX_BYTES)

    def leave_out(self, kind: str) -> None:
        """Count an unused member by its suffix."""
        self.left_out[kind if kind in self.left_out or len(self.left_out) < _KINDS_COUNTED else "others"] += 1

    def read_text(self, part: FileSlice, what: str, limit: int) -> str:
        """Return a part of the shard decoded as UTF-8; messages call it ``what``. Raises as ``text`` does."""
        size_bytes = part.size_bytes or 0
        if size_bytes > limit:
            raise ValueError(f"not readable: {what} has {size_bytes} bytes, of {limit} allowed; shorten it")
        if not size_bytes:
            return ""
        content = read.read_part(self.path, part.offset, size_bytes=size_bytes)
        if len(content.data) != size_bytes or content.status.packed != self.status:
            raise ValueError(f"not readable: {what} was written to during the read; scan the dataset again")
        try:
            return content.data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"not text: {what} is not UTF-8") from error


def key(member: str) -> str:
    """Return the key of a member's sample, relative to its shard: its base name."""
    above, slash, last = member.rpartition("/")
    above += slash
    if (match := _ESCAPED_READER.match(above)) is not None:
        above = f"%{above[3:]}" if match[1] else f"_{above[3:]}"
    return above + _ESCAPED.sub(lambda match: "." if match[0] == "%2E" else "%", last.partition(".")[0])


def base_name(name: str) -> str:
    """Return the base name from which ``key`` gives this name: readers cut at a dot, and skip ``__x__/``."""
    above, slash, last = name.rpartition("/")
    above += slash
    if _ESCAPED_READER.match(above):
        above = f"%25{above[1:]}"
    elif _OF_READER.match(above):
        above = f"%5F{above[1:]}"
    return above + re.sub(r"%(?=2E|25)", "%25", last).replace(".", "%2E")


def suffix(member: str) -> str:
    """Return the rest after the base name, in lower case and without the dot between."""
    return member.rpartition("/")[2].partition(".")[2].lower()


def read_shard(path: Path) -> Samples:
    """Find the samples of a shard. Raises TarError, NotAFileError, OSError."""
    samples = Samples(path, seen_files.packed(path.stat()))
    found: dict[str, dict[str, tuple[str, FileSlice]]] = {}
    twice: dict[str, str] = {}
    for member in tar_index.members(path):
        name = _name(samples, member)
        if name is None:
            continue
        group = found.setdefault(key(name), {})
        if suffix(name) in group:
            twice[key(name)] = name
        group[suffix(name)] = (name, FileSlice(member.offset, member.size_bytes))
    for base, group in found.items():
        detail = f"the tar has {twice[base]} twice; keep one" if base in twice else _add(samples, group)
        if detail is not None:
            samples.refused.append(RefusedPath(keys.printable(base), Reason.MISPLACED, detail))
    return samples


def _name(samples: Samples, member: Member) -> str | None:
    """Return the member's path without empty parts, or None if it is refused or not part of a sample."""
    name = member.name.decode(errors="surrogateescape")
    if member.kind == "a folder" or name.rpartition("/")[2].startswith(".") or _OF_READER.match(name):
        return None
    parts = [part for part in name.split("/") if part not in {"", "."}]
    problem = _problem(name, parts, member)
    if problem is not None:
        samples.refused.append(RefusedPath(keys.printable(name[:NAME_MAX_BYTES]), Reason.UNREADABLE, problem))
        return None
    name = "/".join(parts)
    if not suffix(name):
        samples.leave_out("")
        return None
    return name


def _problem(name: str, parts: list[str], member: Member) -> str | None:
    if not keys.is_utf8(name):
        return "its name is not UTF-8; rename it"
    if name.startswith("/") or ".." in parts:
        return "its name leads out of the tar; rename it"
    if len(member.name) > NAME_MAX_BYTES:
        return f"its name has {len(member.name)} bytes, of {NAME_MAX_BYTES} allowed; shorten it"
    if "\0" in name:
        return "its name holds a NUL; rename it"
    if member.kind is not None:
        return f"it is {member.kind}, not a file; write the tar with the file itself"
    return None


def _add(samples: Samples, group: dict[str, tuple[str, FileSlice]]) -> str | None:
    """Add the sample of these members, which are by suffix. Return the problem if it has no usable image."""
    images = [kind for kind in group if kind in IMAGES]
    images = images or [kind for kind in group if kind.rpartition(".")[2] in IMAGES and kind not in MASKS]
    if not images:
        return f"the sample has no image, only {', '.join(sorted(group))}"
    if len(images) > 1:
        return f"the sample has several images ({', '.join(sorted(images))}); keep one as .jpg or .png"
    place = len(samples.members)
    roles = {"image": images[0], "json": "json", "txt": "txt"}
    masks = sorted(group.keys() & MASKS)
    if masks:
        roles["mask"] = masks[0]
    if len(masks) > 1:
        samples.problems[place] = f"several masks: {', '.join(masks)}; keep one"
    for role in _ROLES:
        _, part = group.get(roles.get(role, ""), ("", FileSlice(-1, -1)))
        samples.places.extend((part.offset, part.size_bytes or 0))
    for kind in sorted(group.keys() - set(roles.values()) - {"cls"}):
        samples.leave_out(kind)
    samples.members.append(group[images[0]][0])
    samples.values.append(_class(samples, place, group["cls"][1]) if "cls" in group else None)
    return None


def _class(samples: Samples, place: int, part: FileSlice) -> int | str | None:
    try:
        text = samples.read_text(part, "its .cls", CLASS_MAX_BYTES).strip()
    except ValueError as error:
        samples.problems[place] = str(error)
        return None
    if not text:
        samples.problems[place] = "unknown class: its .cls is empty"
        return None
    return int(text) if _INTEGER.fullmatch(text) else text
