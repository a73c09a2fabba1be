"""The command, killed at random moments: after it is repeated, the folder equals that of a run never killed.

Each test prints the seed that it draws its moments from; ``AUGMENT_TEST_SEED`` sets it.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.augment.expansion.expansions_for_tests import content, lay_noise, noise

PIPELINE = """
transforms:
  - RandomResizedCrop: {size: [64, 64], scale: [0.2, 1.0]}
  - HorizontalFlip: {p: 0.5}
  - OneOf: {p: 0.7, transforms: [{GaussNoise: {}}, {GaussianBlur: {}}]}
"""
SIZE = 96, 128
NUM_RECORDS = 80
MARK = "AUGMENT_TEST_OUT"
"""Variable in the environment of all processes of a run, by which they are found."""

Kill = Callable[["subprocess.Popen[bytes]"], None]


def kill_group(process: "subprocess.Popen[bytes]") -> None:
    os.killpg(process.pid, signal.SIGKILL)


def kill_parent(process: "subprocess.Popen[bytes]") -> None:
    process.kill()


@dataclass
class Scene:
    """A dataset, an initial folder, and the result of a run that is not killed with the files that it adds."""

    data: Path
    pipeline: Path
    before: Path | None = None
    wanted: dict[str, bytes | None] | None = None
    added: tuple[str, ...] = ()

    def begin(self, out: Path) -> "subprocess.Popen[bytes]":
        """Start a run in a process group of its own, and wait until it writes."""
        if self.before is not None:
            shutil.copytree(self.before, out)
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "augment", "expand", self.data, out, "--pipeline", self.pipeline, "--update"),
                *("--copies", "4", "--seed", "7", "--include-originals", "--workers", "2"),
            ],
            env={**os.environ, "AUGMENT_HOME": str(self.data.parent / "home"), MARK: str(out)},
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        while process.poll() is None and not list(out.glob(".augment-run-*")):
            time.sleep(0.002)
        return process

    def finish(self, out: Path) -> None:
        """Run to the end."""
        before, self.before = self.before, None
        try:
            assert self.begin(out).wait(120) == 0
        finally:
            self.before = before

    def learn(self, out: Path) -> None:
        """Return the scene with the result of a run that is not killed."""
        assert self.begin(out).wait(120) == 0
        self.wanted = content(out)
        self.added = tuple(self.wanted)


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    root = tmp_path_factory.mktemp("first")
    names = [f"{'cat' if i % 3 else 'dog'}/{i:03}.jpg" for i in range(NUM_RECORDS)]
    lay_noise(root / "data", names, height=SIZE[0], width=SIZE[1])
    (root / "data/cat/broken.jpg").write_bytes(noise("broken", *SIZE)[:-1000])
    (root / "pipeline.yaml").write_text(PIPELINE)
    scene = Scene(root / "data", root / "pipeline.yaml")
    scene.learn(root / "out")
    return scene


@pytest.fixture(scope="module")
def update(first_run: Scene, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    root = tmp_path_factory.mktemp("update")
    data = shutil.copytree(first_run.data, root / "data")
    lay_noise(data, [f"bird/{i:03}.jpg" for i in range(NUM_RECORDS // 2)], height=SIZE[0], width=SIZE[1])
    for path in sorted(data.glob("dog/*"))[::2]:
        path.unlink()
    scene = Scene(data, first_run.pipeline, before=first_run.data.parent / "out")
    fresh = Scene(data, first_run.pipeline)
    fresh.learn(root / "fresh")
    scene.wanted = fresh.wanted
    assert first_run.wanted is not None
    scene.added = tuple(name for name in fresh.added if name not in first_run.wanted)
    return scene


def check(scene: Scene, kill: Kill, num_kills: int, tmp_path: Path) -> None:
    """Kill runs of the scene, each at another random moment, and finish each by the same command."""
    seed = int(os.environ.get("AUGMENT_TEST_SEED", random.SystemRandom().randrange(2**32)))
    print(f"AUGMENT_TEST_SEED={seed}")  # noqa: T201 - pytest shows it where the test fails
    moments = random.Random(seed)
    num_hit = 0
    for i in range(num_kills):
        out = tmp_path / f"out-{i}"
        process = scene.begin(out)
        num_files = moments.randrange(len(scene.added) * 9 // 10)
        while process.poll() is None and sum((out / name).exists() for name in scene.added) < num_files:
            time.sleep(0.002)
        kill(process)
        num_hit += process.wait(60) == -signal.SIGKILL
        scene.finish(out)  # at once: workers of the killed run may still be there
        found = content(out)
        assert scene.wanted is not None
        assert found.keys() == scene.wanted.keys()
        assert [name for name in found if found[name] != scene.wanted[name]] == []
        assert not [name for name in found if name.startswith(".augment-")]
        assert wait_for_end_of_processes(out) == []
    assert num_hit > 0, "no run was still at work when it was to be killed; the machine is too fast for these images"


def wait_for_end_of_processes(out: Path) -> list[str]:
    """Return the processes of runs in this folder that are still alive after some seconds."""
    deadline = time.monotonic() + 60
    mark = f"{MARK}={out}".encode()
    while True:
        there = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    there.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:  # it ended, or belongs to another user
                continue
        if not there or time.monotonic() > deadline:
            return there
        time.sleep(0.05)


@pytest.mark.parametrize(("kill", "num_kills"), [(kill_group, 1)])
@pytest.mark.harden
def test_killed_expansion_goes_on_to_the_same_bytes(
    first_run: Scene, kill: Kill, num_kills: int, tmp_path: Path
) -> None:
    check(first_run, kill, num_kills, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("kill", [kill_group, kill_parent])
def test_expansion_killed_at_ten_moments_goes_on_to_the_same_bytes(
    first_run: Scene, kill: Kill, tmp_path: Path
) -> None:
    check(first_run, kill, 10, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("kill", [kill_group, kill_parent])
def test_update_killed_at_ten_moments_goes_on_to_the_same_bytes(update: Scene, kill: Kill, tmp_path: Path) -> None:
    check(update, kill, 10, tmp_path)
