"""No pipeline can exhaust a machine."""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from augment.errors import RecordError
from augment.pipelines.spec import Node
from augment.transforms.catalogue import ParamsError, catalogue, fill
from tests.augment.transforms.catalogue_cases import LEAVES, NEEDED, compiled, sample

SIDE_PX = 512
MAX_SECONDS = 10.0
MAX_BYTES = 2**30


WHOLE = [0, 0, 1, 1]
BESIDE: Mapping[str, Mapping[str, Any]] = {
    "AdditiveNoise": {"noise_params": None},
    "AdvancedBlur": {"beta_limit": [0, 100], "sigma_x_limit": [50, 50], "sigma_y_limit": [50, 50]},
    "Affine": {"translate_percent": None},
    "ConstrainedCoarseDropout": {"mask_indices": [1, 2], "bbox_labels": None},
    "Crop": {"x_min": 0, "y_min": 0},
    "CropAndPad": {"percent": None},
    "HEStain": {"preset": None},
    "LongestMaxSize": {"max_size_hw": None},
    "PadIfNeeded": {"pad_height_divisor": None, "pad_width_divisor": None},
    "PlanckianJitter": {"temperature_limit": None},
    "RandomGravel": {"gravel_roi": WHOLE},
    "RandomShadow": {"shadow_roi": WHOLE},
    "RandomSunFlare": {"flare_roi": WHOLE},
    "SmallestMaxSize": {"max_size_hw": None},
    "XYMasking": {"mask_x_length": [512, 512], "mask_y_length": [512, 512]},
}
"""What stands beside the extremes where a rule between parameters forbids them all at once."""


def extreme(inner: Mapping[str, Any], *, largest: bool) -> Any:
    """Return the largest (or smallest) value that this schema allows; of alternatives, the first."""
    if "anyOf" in inner:
        return extreme(inner["anyOf"][0], largest=largest)
    if "oneOf" in inner:
        return inner["oneOf"][-1 if largest else 0]["const"]
    match inner["type"]:
        case "array":
            count = inner["maxItems" if largest else "minItems"]
            return [extreme(inner["items"], largest=largest)] * count
        case "object":
            return {key: extreme(value, largest=largest) for key, value in inner["properties"].items()}
        case "boolean":
            return largest
        case "null":
            return None
    if largest:
        return inner["maximum"] - 0.01 if "exclusiveMaximum" in inner else inner["maximum"]
    return inner.get("minimum", inner["maximum"] / 100)


def alternatives(inner: Mapping[str, Any]) -> Iterator[Any]:
    """Yield every extreme of a parameter: of each branch, each choice."""
    if "anyOf" in inner:
        for branch in inner["anyOf"]:
            yield from alternatives(branch)
    elif "oneOf" in inner:
        yield from (option["const"] for option in inner["oneOf"])
    else:
        yield from (extreme(inner, largest=largest) for largest in (True, False))


def cases(name: str) -> Iterator[dict[str, Any]]:
    """Yield all parameters at their maximum, all at their minimum, and each other extreme of one with those."""
    properties = catalogue()[name].schema["properties"]
    for largest in (True, False):
        base = {key: extreme(inner, largest=largest) for key, inner in properties.items()} | {"p": 1}
        base |= BESIDE.get(name, {})
        yield base
        for key, inner in properties.items():
            yield from ({**base, key: value} for value in alternatives(inner) if key != "p")
            if inner.get("default", 0) is None:
                yield {**base, **NEEDED.get(name, {}), key: None, "p": 1}
    yield {**NEEDED.get(name, {}), "p": 1}


def measure(name: str) -> dict[str, Any]:
    """Render every case of a transform in this process; return their number, the slowest, and the peak memory."""
    given = sample(SIDE_PX, SIDE_PX)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rendered, slowest = 0, 0.0
    worst: dict[str, Any] = {}
    for params in cases(name):
        try:
            transform = compiled(Node(name, fill(name, params)))
        except ParamsError:
            continue  # a rule between parameters forbids it
        start = time.process_time()
        try:
            transform(given, seed=0, draw=0, view=0, key="k")
        except RecordError as error:
            worst.setdefault("refused", str(error))
        seconds = time.process_time() - start
        rendered += 1
        if seconds > slowest:
            slowest, worst["params"] = seconds, params
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return {"rendered": rendered, "seconds": slowest, "bytes": peak, **worst}


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", LEAVES)
def test_largest_parameters_cost_seconds_and_less_than_a_gigabyte(name: str) -> None:
    """Run in a new process, to measure its peak memory alone."""
    command = [sys.executable, "-m", "tests.augment.transforms.test_limits", name]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=900).stdout
    measured = json.loads(output)
    assert measured["rendered"] >= 1
    assert measured["seconds"] < MAX_SECONDS, measured
    assert measured["bytes"] < MAX_BYTES, measured


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(sys.argv[1])))
