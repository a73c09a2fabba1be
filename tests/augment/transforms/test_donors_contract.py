"""Contract of every transform that joins a sample with donors, for any parameters."""

import copy
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augment.pipelines.document import parse
from augment.pipelines.spec import BoxRules, Node, PipelineSpec
from augment.samples.inputs import as_sample
from augment.samples.sample import Sample
from augment.transforms import sizes
from augment.transforms.catalogue import catalogue, fill
from augment.transforms.resolve import resolve
from augment.transforms.runtime.compiler import Compiled
from tests.augment.transforms.catalogue_cases import some, values
from tests.augment.transforms.donors_cases import Donors, drawn
from tests.augment.transforms.test_sizes import modest

CATALOGUE = catalogue()
JOINING = tuple(name for name, info in CATALOGUE.items() if info.donors)
EVERY_BOX = BoxRules(0, 0, 0, 0)
NEEDED: dict[str, dict[str, Any]] = {"CopyPaste": {"p": 1}, "Mosaic": {"size": [40, 50]}}
BOXES = ((2, 3, 14, 17), (20, 5, 31, 22))


def base() -> Sample:
    return drawn(0, 30, 40, *BOXES).sample


def donors() -> Donors:
    """Make donors: one larger, one smaller, one without objects, one of a single pixel."""
    shapes = ((60, 70, BOXES), (24, 33, BOXES), (20, 20, ()), (1, 1, ((0, 0, 1, 1),)))
    return Donors([drawn(10 * nth, height, width, *boxes).sample for nth, (height, width, boxes) in enumerate(shapes)])


def compiled(name: str, params: dict[str, Any]) -> Compiled:
    node = Node(name, fill(name, NEEDED[name] | params))
    return Compiled(PipelineSpec((node,), boxes=EVERY_BOX), donors=donors(), provenance=False)


def arrays(sample: Sample) -> dict[str, bytes]:
    found = {each.name: getattr(sample, each.name) for each in fields(sample)}
    return {name: value.tobytes() for name, value in found.items() if isinstance(value, np.ndarray)}


def variants() -> Iterator[Any]:
    """Yield each choice and null of each parameter, one at a time."""
    for name in JOINING:
        for key, inner in CATALOGUE[name].schema["properties"].items():
            options = [option["const"] for option in inner.get("oneOf", ())]
            options += [None for branch in inner.get("anyOf", ()) if branch.get("type") == "null"]
            yield from (pytest.param(name, {key: value}, id=f"{name}-{key}-{value}") for value in options)


def test_they_are_two() -> None:
    assert JOINING == ("CopyPaste", "Mosaic")
    assert all(CATALOGUE[name].family == "mixing" for name in JOINING)


@pytest.mark.parametrize(("name", "params"), list(variants()))
def test_sample_is_a_function_of_the_address_alone(name: str, params: dict[str, Any]) -> None:
    first, second = compiled(name, params), compiled(name, params)
    second(donors().sample(0), seed=9, draw=9, view=0, key="before")
    sample = base()
    for draw in range(2):
        made = [one(sample, seed=0, draw=draw, view=0, key="k").sample for one in (first, second)]
        assert arrays(made[0]) == arrays(made[1])
    assert arrays(sample) == arrays(base())
    assert arrays(first(sample, seed=0, draw=0, view=0, key="k").sample) != arrays(made[0])


@pytest.mark.parametrize("name", JOINING)
def test_whatever_the_schema_allows_is_rendered_and_true(name: str) -> None:
    properties = {key: values(modest(inner)) for key, inner in CATALOGUE[name].schema["properties"].items()}

    @given(st.fixed_dictionaries({}, optional=properties), st.integers(0, 9))
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    def holds(params: dict[str, Any], draw: int) -> None:
        transform = compiled(name, params)
        made = transform(base(), seed=0, draw=draw, view=0, key="k")
        out = as_sample(made.sample)
        height, width = out.image.shape[:2]
        assert out.image.dtype == np.uint8
        assert out.image.flags.c_contiguous
        assert some(out.mask).shape == some(out.instance_masks).shape[1:] == (height, width)
        boxes, rows = some(out.boxes), some(out.box_rows)
        assert len(np.unique(rows)) == len(rows) == len(boxes)
        assert ((boxes >= 0) & (boxes <= (width, height, width, height))).all()
        assert some(out.instance_masks).any(axis=(1, 2)).all()
        assert len(np.unique(some(out.keypoint_rows))) == len(some(out.keypoints))
        assert np.array_equal(np.isfinite(some(out.keypoints)).all(axis=1), some(out.keypoint_visibility) > 0)
        owners = some(out.keypoint_boxes)
        assert set(owners[len(some(base().keypoints)) :].tolist()) <= set(rows.tolist())
        spec = resolve([{name: NEEDED[name] | params}])
        assert sizes.output_size(spec, 30, 40) in ((height, width), None)

    holds()


@pytest.mark.parametrize("name", JOINING)
def test_pipeline_survives_its_yaml(name: str) -> None:
    spec = resolve([{name: NEEDED[name]}])
    assert resolve(spec.canonical()).digest == spec.digest
    assert resolve(parse(f"transforms: [{{{name}: {{{_written(NEEDED[name])}}}}}]")).digest == spec.digest


def _written(params: dict[str, Any]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in params.items())


def test_p_leaves_samples_as_they_are() -> None:
    transform = compiled("Mosaic", {"p": 0.5, "size": [30, 40]})
    untouched = arrays(base()).keys() - {"box_rows", "keypoint_rows"}
    same = 0
    for draw in range(40):
        made = transform(copy.deepcopy(base()), seed=0, draw=draw, view=0, key="k")
        alone = all(arrays(made.sample)[name] == arrays(base())[name] for name in untouched)
        assert alone == (not made.applied)
        same += alone
    assert 8 < same < 32
