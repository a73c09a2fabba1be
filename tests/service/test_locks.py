"""The container's locks are parts of the project's lock: one version and one set of hashes for each package."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def read_lock(name: str) -> dict[str, frozenset[str]]:
    """Pinned packages with their hashes."""
    text = "".join(line for line in (ROOT / name).read_text().splitlines(keepends=True) if line.strip()[:1] != "#")
    found = {}
    for entry in re.split(r"\n(?=[a-z0-9])", text):
        found[entry.split()[0]] = frozenset(re.findall(r"sha256:[0-9a-f]{64}", entry))
    return found


@pytest.mark.parametrize("name", ["requirements-service.lock", "requirements-build.lock"])
def test_a_part_agrees_with_the_whole(name: str) -> None:
    whole, part = read_lock("requirements.lock"), read_lock(name)
    assert part
    different = {package for package, hashes in part.items() if not hashes or whole.get(package) != hashes}
    assert not different, "run `make lock`"
