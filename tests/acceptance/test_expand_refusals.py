"""The command on a real-life folder: unusable files are named, and the rest is complete."""

import json
import os
import subprocess
import sys
from pathlib import Path

from augment.errors import Reason
from tests.augment.expansion.expansions_for_tests import broken, lay_noise, rows
from tests.augment.images import hostile


def test_every_file_that_cannot_be_used_is_named_and_the_rest_is_complete(tmp_path: Path) -> None:
    data = lay_noise(tmp_path / "data", [f"good/{i}.jpg" for i in range(20)])
    bad = data / "bad"
    bad.mkdir()
    expected = {}
    for name, (content, reason) in hostile.REFUSED.items():
        (bad / f"{name}.image").write_bytes(content)
        expected[_name(name)] = reason
    (bad / "cut.jpg").write_bytes(broken("cut"))
    (bad / "letter.jpg").write_text("Dear all,")
    (bad / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    (bad / "device.jpg").symlink_to("/dev/zero")
    os.mkfifo(bad / "pipe.jpg")
    expected |= {"cut": Reason.UNDECODABLE, "letter": Reason.FORMAT}
    expected |= dict.fromkeys(("dangling", "device", "pipe"), Reason.UNREADABLE)
    pipeline = tmp_path / "pipeline.yaml"
    pipeline.write_text("transforms: [{HorizontalFlip: {}}, {RandomBrightnessContrast: {}}]")
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-m", "augment", "expand", data, out, "--pipeline", pipeline, "--copies", "3", "--json"],
        env={**os.environ, "AUGMENT_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    found = rows(out)
    refused = {_name(row["key"]): row for row in found if row["status"] == "refused"}
    assert {name: row["reason"] for name, row in refused.items()} == expected
    assert all(row["detail"] and str(tmp_path) not in row["detail"] for row in refused.values())
    assert {row["path"] for row in found if row["status"] == "rendered"} == {
        f"good/{i}__{copy}.jpg" for i in range(20) for copy in range(3)
    }
    assert all((out / row["path"]).stat().st_size == row["size_bytes"] for row in found if row["path"])
    assert not (out / "bad").exists()
    assert json.loads(done.stdout)["refused"] == len(expected)


def _name(key: str) -> str:
    """A file that the scan refuses is named with its extension, a record that cannot be rendered without it."""
    return key.removeprefix("bad/").removesuffix(".image").removesuffix(".jpg")
