"""Wheel of this distribution, built from the running files, which trainers install as the client.

It holds the whole distribution with its extras, not only the client's modules. A wheel replaces what is installed under
its name, so a smaller one would remove the service from the service's own environment.

Its bytes depend on its files only: names are sorted, dates fixed, and nothing is compressed, because compressed bytes
depend on the version of zlib.
"""

import base64
import hashlib
import html
import io
import zipfile
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote

from augment import version

_OLDEST = (1980, 1, 1, 0, 0, 0)
_REGULAR_FILE = 0o100644
_UNIX = 3
_WHEEL = """\
Wheel-Version: 1.0
Generator: augment
Root-Is-Purelib: true
Tag: py3-none-any
"""


@dataclass(frozen=True, slots=True)
class ClientWheel:
    """Wheel in memory (2 MB) with its version and file name."""

    version: str
    file_name: str
    content: bytes

    @classmethod
    def write(cls) -> Self:
        """Read the packages' files and write the wheel."""
        files, metadata = version.read_files(), version.read_metadata()
        its_version = version.digested(files, metadata)
        project = version.DISTRIBUTION.replace("-", "_")
        information = f"{project}-{its_version}.dist-info"
        members = dict(files)
        for name, text in metadata.items():
            its_text = version.with_version(text, its_version) if name == "METADATA" else text
            members[f"{information}/{name}"] = its_text.encode()
        members[f"{information}/WHEEL"] = _WHEEL.encode()
        record = f"{information}/RECORD"
        rows = [f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in sorted(members.items())]
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as opened:
            for name, content in (*sorted(members.items()), (record, "".join([*rows, f"{record},,\n"]).encode())):
                entry = zipfile.ZipInfo(name, _OLDEST)
                entry.external_attr = _REGULAR_FILE << 16
                entry.create_system = _UNIX
                opened.writestr(entry, content)
        return cls(its_version, f"{project}-{its_version}-py3-none-any.whl", archive.getvalue())

    def index(self, heading: str, folder: str) -> str:
        """Return an HTML page with a link to the wheel, in the form of a project's page (PEP 503).

        ``folder`` is the relative URL from the page to the folder of the wheel.
        """
        link = f"{folder}{quote(self.file_name)}#sha256={hashlib.sha256(self.content).hexdigest()}"
        return (
            f"<!DOCTYPE html>\n<html><head><title>{version.DISTRIBUTION}</title></head><body>\n"
            f"<p>{html.escape(heading)}</p>\n"
            f'<a href="{link}">{self.file_name}</a>\n</body></html>\n'
        )


def _digest(content: bytes) -> str:
    """Return a file's digest as RECORD spells it."""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
