"""Warning that the installed client differs from the one that the service provides."""

import re
import warnings

from augment.version import client_digest, version

VERSION_HEADER = "Augment-Version"
_VERSION = re.compile(r"[A-Za-z0-9.+!]{1,100}")  # it is shown as part of a command


class VersionWarning(UserWarning):
    """The service provides another client; the message has both versions and the command that installs it."""


def warn_of_other_client(service_version: str | None, url: str) -> bool:
    """Warn with VersionWarning and return True if a service's client differs from the installed one.

    Only the client's digest is compared: other changes of the service give a trainer nothing to install. A version of
    None (an answer without the header) never warns.
    """
    if service_version is None or not _VERSION.fullmatch(service_version):
        return False
    theirs = client_digest(service_version)
    if theirs is None or theirs == client_digest(version()):
        return False
    warnings.warn(
        f"this client is {version()}, but the service at {url} is {service_version} and has another client; install "
        f"it: pip install {url}/client/augment_service-{service_version}-py3-none-any.whl",
        VersionWarning,
        stacklevel=3,
    )
    return True
