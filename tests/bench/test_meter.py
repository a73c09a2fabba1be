"""The bench's meter misses no process: each reports its own CPU-seconds, and the meter finds as many."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

METER = """
import json, os, subprocess, sys, time
from pathlib import Path
from bench import meter

meter.become_reaper()
said = Path(sys.argv[1])

class Counting(meter.Meter):
    def cpu(self):
        spent = super().cpu()
        with Path(f"{said}.readings").open("a") as file:  # a byte for each reading
            file.write("x")
        return spent

with Counting() as tree:
    before = tree.cpu()
    subprocess.Popen([sys.executable, "-c", Path(sys.argv[2]).read_text(), sys.argv[1], "root"])
    while len([path for path in said.iterdir() if path.name[0] != "."]) < int(sys.argv[3]):
        time.sleep(0.05)
    after = tree.cpu()
    peak = tree.memory()
meter.end(os.getpid())
own = sum(float(path.read_text()) for path in said.iterdir())
print(json.dumps([own, after.total_s - before.total_s, peak, len(list(meter.tree(os.getpid(), set())))]))
"""

BURN = """
import os, signal, subprocess, sys, threading, time
from pathlib import Path

def burn(seconds=0.3):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass

def start(role):
    return subprocess.Popen([sys.executable, "-c", sys.argv[3] if len(sys.argv) > 3 else CODE, said, role, CODE])

said, role = sys.argv[1], sys.argv[2]
CODE = sys.argv[3] if len(sys.argv) > 3 else open("/proc/self/cmdline").read().split("\\0")[2]
if role == "root":
    start("waited").wait()
    start("parent-that-leaves").wait()
    start("ignores").wait()
    thread = threading.Thread(target=burn)
    thread.start()
    thread.join()
elif role == "parent-that-leaves":
    start("orphan")
elif role == "ignores":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    start("nobody-waits").wait()  # until it has ended; its time is nobody's all the same
if role in ("waited", "orphan", "nobody-waits"):
    burn(0.6 if role == "nobody-waits" else 0.3)
written = Path(said, f".{role}")
written.write_text(str(time.process_time()))
if role == "nobody-waits":
    readings = Path(f"{said}.readings")  # of this one nothing is left: the meter must have seen it
    num_seen = readings.stat().st_size
    while readings.stat().st_size < num_seen + 2:
        time.sleep(0.05)
written.rename(Path(said, role))
if role == "root":
    time.sleep(600)
"""


WAITED = """    start("waited").wait()
    start("parent-that-leaves").wait()
"""
IGNORED = """    start("ignores").wait()
"""


@pytest.mark.parametrize(
    ("left_out", "num_told", "least_s"),
    [(IGNORED, 4, 0.9), (WAITED, 3, 0.9)],
    ids=["threads, waited children and orphans", "children nobody waits for"],
)
def test_meter_misses_no_process(tmp_path: Path, left_out: str, num_told: int, least_s: float) -> None:
    """The two accounts of the meter, each in its own case; the larger one counts."""
    assert left_out in BURN
    said, code = tmp_path / "said", tmp_path / "burn.py"
    said.mkdir()
    code.write_text(BURN.replace(left_out, ""))
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", METER, str(said), str(code), str(num_told)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=True)
    own_s, metered_s, peak_bytes, num_left = json.loads(done.stdout)
    assert own_s > least_s
    assert abs(metered_s - own_s) < 0.2 + 0.05 * own_s  # what ends and begins outside of Python is in neither's clock
    assert peak_bytes > 5_000_000
    assert num_left == 0
