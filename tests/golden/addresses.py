"""The rules of addresses as numbers: what must never change by accident, because every user's samples hang on it.

python -m tests.golden.addresses        writes addresses.json anew; read its diff before you commit it
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from augment.address import Address
from augment.chance import Chance, EpochOrder
from augment.render.pipeline import Pipeline, preset_names
from augment.streams.spec import StreamSpec

FILE = Path(__file__).with_suffix(".json")


def compute() -> dict[str, Any]:
    """Everything that hangs on an address but not on the engine."""
    address = Address("engine", "record", "pipeline", 7, 3, 1, "cat/ü 1")
    stream = StreamSpec("engine", "dataset", None, ("pipeline",), 7, 64, True, True, 200)
    split = StreamSpec("engine", "dataset", "train", ("pipeline",), 2**64 - 1, 64, False, False, 200)
    return {
        "render_key": address.render_key,
        "stream_ids": [stream.id, split.id],
        "chance": [_draws(*place) for place in [(0, 0, 0, ""), (7, 3, 1, "cat/ü 1"), (2**64 - 1, 10**9, 2, "a")]],
        "orders": {
            str(num_records): EpochOrder(num_records, 7, 3).take(np.arange(0, num_records, num_records // 5)).tolist()
            for num_records in (10, 65_536, 65_537, 10**9)
        },
        "presets": {name: Pipeline.load(name).digest for name in preset_names()},
    }


def _draws(seed: int, draw: int, view: int, key: str) -> list[float]:
    chance = Chance()
    chance.reset(seed, draw, view, key)
    return [chance.generator.random(), chance.generator.random(), chance.py_random.random(), chance.py_random.random()]


if __name__ == "__main__":
    FILE.write_text(json.dumps(compute(), indent=1) + "\n")
    print(f"wrote {FILE}; read its diff")  # noqa: T201 - a command for people
