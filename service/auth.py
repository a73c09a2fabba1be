"""Who may call: a key as ``Authorization: Bearer``, or as the password of HTTP Basic, so that it can stand in a URL."""

import base64
import binascii
import hmac
from collections.abc import Sequence

from service.errors import UnauthorizedError

OPEN_PATHS = frozenset({"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready", "/metrics", "/version"})
"""Probes: asked by machines that hold no key, and they tell nothing that one protects."""


def check(authorization: str | None, api_keys: Sequence[str]) -> None:
    """Raise UnauthorizedError unless the header holds one of the keys; where there are no keys, everybody may."""
    if not api_keys:
        return
    given = _key_in(authorization)
    # All are compared, each in constant time, so that the time tells neither a key's bytes nor its place.
    matches = [hmac.compare_digest(given, key.encode()) for key in api_keys]
    if not any(matches):
        what = "no key was presented" if authorization is None else "the key is not known"
        raise UnauthorizedError(f"{what}; send it as 'Authorization: Bearer KEY' or as the password of HTTP Basic")


def _key_in(authorization: str | None) -> bytes:
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode("latin-1")  # what ASGI decoded it by
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""
