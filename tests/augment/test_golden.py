"""The addresses, on which all users' samples depend, have not changed."""

import json

from tests.golden import addresses


def test_addresses_are_what_they_were() -> None:
    assert addresses.compute() == json.loads(addresses.FILE.read_text())
