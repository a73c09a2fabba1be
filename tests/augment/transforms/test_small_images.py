"""Images of a few pixels: every transform renders them, or refuses them with our message, at any parameters."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augment.errors import PipelineError, Reason, RecordError
from augment.samples.sample import Sample
from augment.transforms.catalogue import ParamsError, catalogue, required
from augment.transforms.runtime.compiler import Compiled
from augment.transforms.runtime.segment import UNFORESEEN
from tests.augment.transforms.catalogue_cases import CONTAINERS, EVERY, compiled, movable, node, sample, values
from tests.augment.transforms.test_sizes import modest

SIZES = ((1, 1), (1, 2), (3, 1), (2, 5), (1, 64), (64, 1), (7, 7))


def properties(name: str) -> dict[str, Any]:
    schema = {} if name in CONTAINERS else catalogue()[name].schema["properties"]
    return {key: one for key, one in schema.items() if key != "p"}


def extreme(schema: Mapping[str, Any], *, high: bool) -> Any:
    """Return the least or the largest value that a schema allows."""
    if "anyOf" in schema:
        return extreme(schema["anyOf"][-1 if high else 0], high=high)
    if "oneOf" in schema:
        return schema["oneOf"][-1 if high else 0]["const"]
    match schema["type"]:
        case "array":
            return [extreme(schema["items"], high=high)] * (min(schema["maxItems"], 6) if high else schema["minItems"])
        case "object":
            return {key: extreme(one, high=high) for key, one in schema["properties"].items()}
        case "boolean":
            return high
        case "null":
            return None
        case "string":
            return "others"
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    if high:
        return schema["maximum"] - ("not" in schema and schema["maximum"] % 2 == 0)
    return low + (0.001 if "exclusiveMinimum" in schema else 0)


QUICK: Mapping[str, Mapping[str, Any]] = {"Affine": {"scale": 2.0}}
"""In the place of what would enlarge an image a thousandfold."""


def ends(name: str) -> Iterator[dict[str, Any]]:
    """Yield the defaults, all parameters at their least, and at their largest with sides cheap enough for a test."""
    yield {}
    for high in (False, True):
        found = {key: extreme(modest(schema), high=high) for key, schema in properties(name).items()}
        yield found | (dict(QUICK.get(name, {})) if high else {})


def check(name: str, params: Mapping[str, Any], *, num_draws: int) -> None:
    """Render images of all sizes, with targets and without, or fail."""
    try:
        step = node(name, **params)
        transform = compiled(step)
    except (ParamsError, PipelineError):
        return  # a rule between parameters
    for (height, width), has_targets, draw in itertools.product(SIZES, (False, True), range(num_draws)):
        given = movable(name, sample(height, width))
        if not has_targets:
            if required(name, step.params):
                continue
            given = Sample(given.image)
        check_one(transform, name, given, draw)


def check_one(transform: Compiled, name: str, given: Sample, draw: int) -> None:
    height, width = given.image.shape[:2]
    refused: RecordError | None = None
    try:
        made, *_ = transform(given, seed=0, draw=draw, view=0, key="k")
    except RecordError as error:
        refused = error
    if refused is not None:
        assert (refused.key, refused.reason) == ("k", Reason.NOT_RENDERABLE)
        assert refused.detail.startswith(f"{name} on {height} x {width} pixels: "), refused
        assert UNFORESEEN not in refused.detail, repr(refused.__cause__)
        return
    image, size = made.image, made.image.shape[:2]
    assert image.dtype == np.uint8
    assert image.shape[2:] == (3,)
    assert image.flags.c_contiguous
    assert min(size) > 0
    assert size == (height, width) or catalogue()[name].moves_pixels
    if given.mask is not None:
        assert made.mask is not None
        assert made.mask.shape == size
    if given.boxes is not None:
        assert made.boxes is not None
        assert np.isfinite(made.boxes).all()
        assert (made.boxes[:, 2:] > made.boxes[:, :2]).all()
        assert (made.boxes >= 0).all()
        assert (made.boxes <= (size[1], size[0]) * 2).all()


@pytest.mark.parametrize("name", EVERY)
def test_small_images_are_rendered_or_refused_in_our_words(name: str) -> None:
    for params in ends(name):
        check(name, params, num_draws=1)


@pytest.mark.long
@pytest.mark.parametrize("name", EVERY)
def test_small_images_are_rendered_or_refused_in_our_words_at_any_parameters(name: str) -> None:
    for key, schema in properties(name).items():
        for high in (False, True):
            check(name, {key: extreme(schema, high=high)}, num_draws=3)

    @given(st.fixed_dictionaries({}, optional={key: values(schema) for key, schema in properties(name).items()}))
    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    def hold(params: dict[str, Any]) -> None:
        check(name, params, num_draws=2)

    hold()
