"""Warning that the client is another than the one that the service hands out."""

import re
import warnings

from augment.version import client_digest, version

VERSION_HEADER = "Augment-Version"
_VERSION = re.compile(r"[A-Za-z0-9.+!]{1,100}")  # it is shown as part of a command


class VersionWarning(UserWarning):
    """The service's client differs from this one; the message has both versions and the line that installs it."""


def warn_of_other_client(service_version: str | None, url: str) -> bool:
    """Warn with VersionWarning if a service's version holds another client than the installed one; True if it did.

    Only the client's digest is compared: a service that changed otherwise has nothing to install for a trainer. None,
    for an answer that tells no version, warns of nothing.
    """
    if service_version is None or not _VERSION.fullmatch(service_version):
        return False
    theirs = client_digest(service_version)
    if theirs is None or theirs == client_digest(version()):
        return False
    warnings.warn(
        f"this client is {version()} and the service at {url} is {service_version}, which has another client; install "
        f"it: pip install {url}/client/augment_service-{service_version}-py3-none-any.whl",
        VersionWarning,
        stacklevel=3,
    )
    return True
