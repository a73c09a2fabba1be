"""The README's part about HTTP, pasted line by line as a newcomer would: shell first, then each trainer's snippet."""

import importlib.util
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from augment.images.encode import encode
from tests.acceptance.servers_for_tests import ROOT, Server

_HERE = "http://127.0.0.1:8000"
_BLOCK = re.compile(r"```(sh|py)\n(.*?)```", re.DOTALL)
_OPTIONAL = ("torch", "webdataset")


def test_readme_over_http_works_as_it_stands(tmp_path: Path) -> None:
    photos = tmp_path / "photos" / "cat"
    photos.mkdir(parents=True)
    generator = np.random.default_rng(3)
    for name in ("chelsea", *(f"{number}" for number in range(8))):
        (photos / f"{name}.png").write_bytes(encode(generator.integers(0, 256, (300, 300, 3), np.uint8), "png"))
    blocks = _blocks("## Over HTTP")
    shell = [text for kind, text in blocks if kind == "sh" and "curl" in text]
    snippets = [text for kind, text in blocks if kind == "py"]
    assert len(shell) == 1
    assert len(snippets) == 4
    with Server(tmp_path / "home", data_roots=tmp_path) as server:
        _paste(shell[0].replace(_HERE, server.url), tmp_path)
        assert (tmp_path / "out.jpg").read_bytes().startswith(b"\xff\xd8")
        assert (tmp_path / "epoch-0.tar").stat().st_size > 10_000
        names: dict[str, object] = {}
        for snippet in snippets:
            missing = [name for name in _OPTIONAL if name in snippet and importlib.util.find_spec(name) is None]
            if missing:
                pytest.skip(f"{missing[0]} is not installed; what came before it worked")
            exec(snippet.replace(_HERE, server.url), names)  # noqa: S102 - the README's own words
            made = np.asarray(names.get("images", names.get("image")))
            assert made.shape[-3:] == (224, 224, 3)
            assert made.dtype == np.uint8


def _blocks(heading: str) -> list[tuple[str, str]]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    part = text.partition(f"\n{heading}\n")[2].partition("\n## ")[0]
    return _BLOCK.findall(part)


def _paste(script: str, folder: Path) -> None:
    """Run line by line in one shell; ID is what the declaration answered."""
    declared: dict[str, str] = {}
    environment = ""
    for line in script.splitlines():
        command = line.partition("    #")[0].replace("/ID/", f"/{declared.get('id', 'ID')}/")
        if command.startswith("url="):
            environment = command
            continue
        done = subprocess.run(
            ["bash", "-c", f"{environment}\n{command} --fail-with-body -sS"],
            cwd=folder, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        if "/v1/streams" in command and "-o" not in command:
            declared = json.loads(done.stdout)
