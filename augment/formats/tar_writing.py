"""Members to the bytes of a tar (ustar, POSIX.1-1988; pax where a name is too long for it): no time, no owner."""

import tarfile
from collections.abc import Iterable

_END = bytes(2 * tarfile.BLOCKSIZE)


def tar(members: Iterable[tuple[str, bytes]]) -> bytes:
    """A tar of these names and contents, in this order, with its end."""
    pieces: list[bytes] = []
    for name, content in members:
        header = tarfile.TarInfo(name)
        header.size = len(content)
        pieces += (_header(header), content, bytes(-len(content) % tarfile.BLOCKSIZE))
    return b"".join([*pieces, _END])


def _header(header: tarfile.TarInfo) -> bytes:
    try:
        return header.tobuf(tarfile.USTAR_FORMAT)
    except ValueError:  # the name does not fit into ustar's 100 bytes and a prefix of 155
        return header.tobuf(tarfile.PAX_FORMAT)
