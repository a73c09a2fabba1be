"""Computed output sizes of pipelines, compared with rendered ones."""

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augment.datasets.manifest import Size
from augment.errors import PipelineError, RecordError
from augment.pipelines.document import parse
from augment.pipelines.spec import PipelineSpec
from augment.transforms import entry, limits, sizes
from augment.transforms.catalogue import catalogue
from augment.transforms.entry import Extent, point
from augment.transforms.resolve import resolve
from augment.transforms.runtime.compiler import Compiled
from augment.transforms.runtime.segment import UNFORESEEN
from tests.augment.transforms.catalogue_cases import LEAVES, NEEDED, movable, sample, values

CHANGING = tuple(name for name in LEAVES if catalogue()[name].output_size is not None)


def spec_of(source: Any) -> PipelineSpec:
    return resolve(parse(source) if isinstance(source, str) else source)


def rendered_sizes(spec: PipelineSpec, height: int, width: int, num_draws: int) -> set[tuple[int, int]]:
    """Return the rendered sizes, without draws that a transform refuses."""
    compiled = Compiled(spec, provenance=False)
    one = sample(height, width)
    for step in spec.nodes():
        one = movable(step.name, one)
    found = set()
    for draw in range(num_draws):
        try:
            result, *_ = compiled(one, seed=0, draw=draw, view=0, key="a")
        except RecordError:
            continue
        assert result.mask is None or result.mask.shape == result.image.shape[:2]
        found.add(result.image.shape[:2])
    return found


@pytest.mark.parametrize("name", LEAVES)
def test_every_transform_does_what_is_said_of_it(name: str) -> None:
    """A transform without a rule for its size keeps the size; one whose rule is missing fails here."""
    spec = spec_of([{name: {"p": 1.0, **NEEDED.get(name, {})}}])
    allowed = list(sizes.after(name, spec.transforms[0].params, point(40, 50)))
    found = rendered_sizes(spec, 40, 50, 12)
    assert found
    for height, width in found:
        assert any(holds(one, height, width) for one in allowed)
    only = sizes.output_size(spec, 40, 50)
    assert found == {only} if only is not None else name in CHANGING


def holds(allowed: Extent, height: int, width: int) -> bool:
    return allowed.min_height <= height <= allowed.max_height and allowed.min_width <= width <= allowed.max_width


BOUNDED = {  # so that a test renders no poster
    "OUTPUT_SIDE_PX": 90,
    "PAD_PX": 40,
}


def modest(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the same schema with pixels and factors that are cheap enough for a test."""
    changed: dict[str, Any] = {}
    for key, value in schema.items():
        if key in {"maximum", "minimum"} and isinstance(value, int | float) and abs(value) > BOUNDED["OUTPUT_SIDE_PX"]:
            changed[key] = int(np.sign(value)) * BOUNDED["OUTPUT_SIDE_PX"]
        elif isinstance(value, dict):
            changed[key] = modest(value)
        elif isinstance(value, list):
            changed[key] = [modest(item) if isinstance(item, dict) else item for item in value]
        else:
            changed[key] = value
    return changed


def test_share_whose_ends_are_exchanged_is_the_same_share() -> None:
    one, other = (
        spec_of(f"[CropAndPad: {{percent: [0, 0, 0, {share}], keep_size: false}}]").transforms[0].params
        for share in ("[0, 1]", "[1, 0]")
    )
    assert sizes.after("CropAndPad", one, point(3, 5)) == sizes.after("CropAndPad", other, point(3, 5))


@pytest.mark.parametrize("name", CHANGING)
def test_sizes_hold_for_any_arguments(name: str) -> None:
    properties = {key: values(modest(schema)) for key, schema in catalogue()[name].schema["properties"].items()}

    @given(st.fixed_dictionaries({}, optional=properties), st.integers(1, 70), st.integers(1, 70))
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    def hold(params: dict[str, Any], height: int, width: int) -> None:
        try:
            spec = spec_of([{name: dict(NEEDED.get(name, {})) | params | {"p": 1.0}}])
            allowed = list(sizes.after(name, spec.transforms[0].params, point(height, width)))
        except PipelineError:
            return  # a rule between parameters
        except entry.Unfit:
            spec = spec_of([{name: dict(NEEDED.get(name, {})) | params | {"p": 1.0}}])
            assert not (rendered_sizes(spec, height, width, 3) and extent_is_exact(name))
            return
        for made in rendered_sizes(spec, height, width, 3):
            assert any(holds(one, *made) for one in allowed), (made, [str(one) for one in allowed])

    hold()


def test_affine_that_balances_its_scale_draws_up_to_one() -> None:
    spec = spec_of([{"Affine": {"scale": 0.25, "rotate": 0, "balanced_scale": True, "fit_output": True, "p": 1.0}}])
    (allowed,) = sizes.after("Affine", spec.transforms[0].params, point(1, 3))
    assert all(holds(allowed, *made) for made in rendered_sizes(spec, 1, 3, 40))


def extent_is_exact(name: str) -> bool:
    """Return True if a refusal means that no draw can pass."""
    return name not in {"Perspective", "RandomScale", "RandomSizedCrop"}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("[]", None),
        ("[HorizontalFlip, ColorJitter]", None),
        ("[Resize: {height: 32, width: 48}]", (32, 48)),
        ("[Resize: {height: 32, width: 48, p: 0.5}]", None),
        ("[RandomCrop: {height: 32, width: 48}, HorizontalFlip]", (32, 48)),
        ("[RandomCrop: {height: 32, width: 48}, RandomRotate90]", None),
        ("[RandomCrop: {height: 32, width: 32}, RandomRotate90]", (32, 32)),
        ("[RandomCrop: {height: 32, width: 48}, Transpose: {p: 1}]", (48, 32)),
        ("[SmallestMaxSize: {max_size: [64, 80]}]", None),
        ("[SmallestMaxSize: {max_size: [64, 80]}, CenterCrop: {height: 60, width: 60}]", (60, 60)),
        ("[LongestMaxSize: {max_size: 64}, PadIfNeeded: {min_height: 64, min_width: 64}]", (64, 64)),
        ("[LongestMaxSize: {max_size_hw: [64, 48]}, PadIfNeeded: {min_height: 64, min_width: 48}]", (64, 48)),
        ("[PadIfNeeded: {min_height: 64, min_width: 64}]", None),
        ("[Pad: {padding: 2}, RandomCrop: {height: 32, width: 32}]", (32, 32)),
        ("[Crop: {x_min: 2, y_min: 3, x_max: 12, y_max: 23}]", (20, 10)),
        ("[RandomSizedCrop: {min_max_height: [8, 16], size: [24, 20]}]", (24, 20)),
        ("[OneOf: {p: 1, transforms: [Resize: {height: 9, width: 9}, RandomCrop: {height: 9, width: 9}]}]", (9, 9)),
        ("[OneOf: {p: 1, transforms: [Resize: {height: 9, width: 9}, RandomCrop: {height: 9, width: 8}]}]", None),
        ("[OneOf: {p: 0.5, transforms: [Resize: {height: 9, width: 9}]}]", None),
        ("[OneOf: {p: 1, transforms: [Resize: {height: 9, width: 9, p: 0.1}, NoOp: {p: 0}]}]", (9, 9)),
        ("[Resize: {height: 9, width: 9}, OneOf: {p: 0.5, transforms: [Resize: {height: 9, width: 9}]}]", (9, 9)),
        ("[OneOrOther: {transforms: [Resize: {height: 9, width: 9}, CenterCrop: {height: 9, width: 9}]}]", (9, 9)),
        ("[Sequential: {p: 1, transforms: [HorizontalFlip, Resize: {height: 9, width: 9}]}]", (9, 9)),
        ("[Sequential: {transforms: [Resize: {height: 9, width: 9}]}]", None),
        ("[SomeOf: {n: 2, transforms: [HorizontalFlip, Resize: {height: 9, width: 9}]}]", (9, 9)),
        ("[SomeOf: {n: 1, transforms: [HorizontalFlip, Resize: {height: 9, width: 9}]}]", None),
        ("[SomeOf: {n: 2, replace: true, transforms: [HorizontalFlip, Resize: {height: 9, width: 9}]}]", None),
        ("[SomeOf: {n: 3, replace: true, transforms: [Resize: {height: 9, width: 9}]}]", (9, 9)),
        (
            "[RandomOrder: {n: 1, transforms: [Resize: {height: 9, width: 9}, CenterCrop: {height: 9, width: 9}]}]",
            (9, 9),
        ),
        ("[Resize: {height: 9, width: 9}, Rotate, RandomScale: {scale_limit: [0, 0]}, D4]", (9, 9)),
        ("[Resize: {height: 9, width: 9}, Rotate: {crop_border: true}]", None),
        ("[Resize: {height: 9, width: 9}, CropAndPad: {px: [-2, 3]}]", (9, 9)),
        ("[Resize: {height: 9, width: 9}, CropAndPad: {px: [1, 2, 3, -4], keep_size: false}]", (13, 7)),
        ("[Resize: {height: 9, width: 9}, Affine: {fit_output: true}]", None),
        ("[Resize: {height: 100, width: 50}, SmallestMaxSize: {max_size: 25}]", (50, 25)),
    ],
)
def test_fixed_output(text: str, size: tuple[int, int] | None) -> None:
    spec = spec_of(text)
    assert sizes.fixed_output(spec) == size
    if size is not None:
        assert rendered_sizes(spec, 70, 90, 20) == {size}
        assert sizes.output_size(spec, 70, 90) == size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("[]", (30, 50)),
        ("[HorizontalFlip, Rotate]", (30, 50)),
        ("[RandomRotate90]", None),
        ("[Transpose: {p: 1}]", (50, 30)),
        ("[Transpose]", None),
        ("[SmallestMaxSize: {max_size: 60}]", (60, 100)),
        ("[LongestMaxSize: {max_size: 25}]", (15, 25)),
        ("[PadIfNeeded: {min_height: null, min_width: null, pad_height_divisor: 32, pad_width_divisor: 32}]", (32, 64)),
        ("[Pad: {padding: [1, 2]}]", (34, 52)),
        ("[Pad: {padding: [1, 2, 3, 4]}]", (36, 54)),
        ("[RandomScale: {scale_limit: [0.5, 0.5], p: 1}]", (45, 75)),
        ("[RandomCropFromBorders: {crop_left: 0, crop_right: 0, crop_top: 0, crop_bottom: 0}]", (30, 50)),
    ],
)
def test_output_size_of_one_image(text: str, size: tuple[int, int] | None) -> None:
    spec = spec_of(text)
    assert sizes.output_size(spec, 30, 50) == size
    found = rendered_sizes(spec, 30, 50, 20)
    assert found == {size} if size else len(found) > 1


def test_padding_comes_on_top_where_a_crop_would_leave_nothing() -> None:
    spec = spec_of("[CropAndPad: {px: [0, 60, 0, -50], keep_size: false}]")
    (allowed,) = sizes.after("CropAndPad", spec.transforms[0].params, point(30, 50))
    assert str(allowed) == "30 x 1-110"
    assert rendered_sizes(spec, 30, 50, 3) == {(30, 110)}


@st.composite
def trees(draw: st.DrawFn) -> Any:
    leaf = st.sampled_from(
        [
            "HorizontalFlip",
            "Transpose",
            "RandomRotate90",
            {"Resize": {"height": 12, "width": 15}},
            {"SmallestMaxSize": {"max_size": [14, 20], "p": 0.7}},
            {"LongestMaxSize": {"max_size": 30}},
            {"RandomCrop": {"height": 9, "width": 11}},
            {"CenterCrop": {"height": 16, "width": 8, "pad_if_needed": True, "p": 0.5}},
            {"Pad": {"padding": [1, 2], "p": 0.5}},
            {"RandomScale": {"scale_limit": [-0.3, 0.4]}},
            {"CropAndPad": {"px": [-2, 3], "keep_size": False}},
            {"RandomCropFromBorders": {}},
            {"Rotate": {"crop_border": True}},
        ]
    )
    name = st.sampled_from(["OneOf", "Sequential", "SomeOf", "RandomOrder", "OneOrOther"])

    def container(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.builds(
            lambda name, children, p, n, replace: {
                name: {"transforms": (children * 2)[:2] if name == "OneOrOther" else children, "p": p}
                | (
                    {"n": n if replace else min(n, len(children)), "replace": replace}
                    if name in {"SomeOf", "RandomOrder"}
                    else {}
                )
            },
            name,
            st.lists(inner, min_size=1, max_size=3),
            st.sampled_from([0.0, 0.5, 1.0]),
            st.integers(1, 3),
            st.booleans(),
        )

    return draw(st.lists(st.recursive(leaf, container, max_leaves=5), min_size=1, max_size=4))


@given(trees(), st.integers(9, 40), st.integers(9, 40))
@settings(max_examples=120, deadline=None)
def test_whatever_comes_out_of_any_tree_was_foreseen(tree: Any, height: int, width: int) -> None:
    try:
        spec = spec_of(tree)
    except PipelineError:
        return
    walk = sizes.follow(spec, point(height, width))
    for made in rendered_sizes(spec, height, width, 6):
        assert walk.findings or any(holds(one, *made) for one in walk.outputs)
    if (fixed := sizes.fixed_output(spec)) is not None:
        assert rendered_sizes(spec, 60, 80, 4) <= {fixed}


@given(trees(), st.integers(9, 40), st.integers(9, 40))
@settings(max_examples=120, deadline=None)
def test_what_fits_never_fails(tree: Any, height: int, width: int) -> None:
    try:
        spec = spec_of(tree)
        sizes.check_fits(spec, height, width)
    except PipelineError:
        return
    if not sizes.follow(spec, point(height, width)).firm:
        return  # sizes that only chance knows are refused one by one when they are rendered
    compiled = Compiled(spec, provenance=False)
    one = sample(height, width)
    for step in spec.nodes():
        one = movable(step.name, one)
    for draw in range(6):
        compiled(one, seed=1, draw=draw, view=0, key="")


@given(trees(), st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=6))
@settings(max_examples=120, deadline=None)
def test_misfits_of_many_are_those_of_each(tree: Any, given: list[tuple[int, int]]) -> None:
    """Sizes are followed as one range if that is enough, which must not hide one of them."""
    try:
        spec = spec_of(tree)
    except PipelineError:
        return
    found = sizes.misfits(spec, np.array(given, np.int64))
    assert found.tolist() == [sizes.misfit(spec, *size) is not None for size in given]


@given(trees(), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_what_does_not_fit_is_refused_in_every_draw_and_in_our_words(tree: Any, height: int, width: int) -> None:
    try:
        spec = spec_of(tree)
    except PipelineError:
        return
    words = sizes.misfit(spec, height, width)
    compiled = Compiled(spec, provenance=False)
    for draw in range(4):
        refused = None
        try:
            compiled(sample(height, width), seed=0, draw=draw, view=0, key="a")
        except RecordError as error:
            refused = error.detail
        assert refused == words if words is not None else UNFORESEEN not in (refused or "")


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (
            "[HorizontalFlip, RandomCrop: {height: 64, width: 64}]",
            [
                "transforms.1.RandomCrop: `RandomCrop` cannot take an image of 30 x 50",
                "64 x 64 pixels (height x width) from an image of 30 x 50",
                "set `pad_if_needed: true`, put `SmallestMaxSize` before it, or crop less",
            ],
        ),
        ("[OneOf: {transforms: [Crop: {x_max: 51, y_max: 20}]}]", ["transforms.0.OneOf.transforms.0.Crop"]),
        (
            "[RandomScale: {scale_limit: [-0.5, 0]}, CenterCrop: {height: 20, width: 20}]",
            ["an image of 15-30 x 25-50"],
        ),
        ("[CropNonEmptyMaskIfExists: {height: 31, width: 5}]", ["put `SmallestMaxSize` before it, or crop less"]),
        ("[RandomRotate90, CenterCrop: {height: 25, width: 45}]", ["CenterCrop"]),
        ("[RandomScale: {scale_limit: [-0.99, 0]}]", ["leaves nothing of an image of 30 x 50"]),
        (
            f"[{', '.join([f'Pad: {{padding: {limits.PAD_PX}}}'] * 8)}]",
            [f"pixels, the limit is {limits.OUTPUT_PIXELS} (OUTPUT_PIXELS)"],
        ),
    ],
)
def test_what_the_smallest_image_cannot_pass_is_refused(text: str, messages: list[str]) -> None:
    spec = spec_of(text)
    with pytest.raises(PipelineError) as caught:
        sizes.check_fits(spec, 30, 50, frozenset({"mask"}))
    for message in messages:
        assert message in str(caught.value)


def test_the_image_is_named() -> None:
    with pytest.raises(PipelineError, match=r"cannot take `cats/7` \(30 x 50\): it crops 64 x 64"):
        sizes.check_fits(spec_of("[CenterCrop: {height: 64, width: 64}]"), 30, 50, key="cats/7")


@pytest.mark.parametrize(
    "text",
    [
        "[RandomCrop: {height: 64, width: 64, pad_if_needed: true}]",
        "[SmallestMaxSize: {max_size: 64}, RandomCrop: {height: 64, width: 64}]",
        "[RandomCrop: {height: 30, width: 50}]",
        "[RandomCrop: {height: 64, width: 64, p: 0}]",
        "[PadIfNeeded: {min_height: 64, min_width: 64}, RandomCrop: {height: 64, width: 64}]",
        "[RandomResizedCrop: {size: [224, 224]}]",
        "[RandomSizedCrop: {min_max_height: [200, 300], size: [64, 64]}]",
        "[OneOf: {p: 0, transforms: [RandomCrop: {height: 64, width: 64}]}]",
    ],
)
def test_what_the_smallest_image_can_pass_is_not_refused(text: str) -> None:
    spec = spec_of(text)
    sizes.check_fits(spec, 30, 50)
    assert rendered_sizes(spec, 30, 50, 5)


def test_output_that_cannot_be_held_is_refused_before_any_image() -> None:
    side = limits.OUTPUT_SIDE_PX
    assert side**2 <= limits.OUTPUT_PIXELS
    largest = {"Resize": {"height": side, "width": side}}
    assert sizes.fixed_output(resolve([largest])) == (side, side)
    with pytest.raises(PipelineError, match=rf"pixels, the limit is {limits.OUTPUT_PIXELS} \(OUTPUT_PIXELS\)"):
        resolve([largest, *[{"Pad": {"padding": limits.PAD_PX}}] * 8])


def test_many_sizes_are_followed_as_one_range() -> None:
    several = {"SmallestMaxSize": {"max_size": list(range(100, 164))}}
    spec = spec_of([several, {"RandomScale": {"scale_limit": [-0.1, 0.1]}}, "RandomRotate90", several, several])
    walk = sizes.follow(spec, point(300, 400))
    assert not walk.findings
    assert 1 <= len(walk.outputs) <= sizes.MAX_EXTENTS
    for made in rendered_sizes(spec, 300, 400, 10):
        assert any(holds(one, *made) for one in walk.outputs)


def test_containers_that_multiply_sizes_are_followed_at_once() -> None:
    """Without a cache, this pipeline took 19 seconds (measured)."""
    each = {"max_size": list(range(100, 164))}
    order = {
        "RandomOrder": {"n": 64, "replace": True, "transforms": [{"SmallestMaxSize": each}, {"LongestMaxSize": each}]}
    }
    start = time.process_time()
    spec = spec_of([order] * 4)
    assert sizes.output_size(spec, 300, 400) is None
    assert time.process_time() - start < 5
    assert rendered_sizes(spec, 300, 400, 2)


def test_location_is_that_of_the_canonical_document() -> None:
    spec = spec_of("[NoOp, OneOf: {transforms: [NoOp, Rotate]}]")
    assert sizes.location(spec, (1, 1)) == ("transforms", 1, "OneOf", "transforms", 1, "Rotate")


@given(trees(), st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=4))
@settings(max_examples=120, deadline=None)
def test_a_dataset_is_judged_as_its_images_are(tree: Any, given: list[tuple[int, int]]) -> None:
    """The least sides are enough for most pipelines, which must not hide an image either."""
    try:
        spec = spec_of(tree)
    except PipelineError:
        return
    found = [sizes.misfit(spec, *size) is not None for size in given]
    try:
        notices = sizes.check_dataset(spec, Sized(given))  # type: ignore[arg-type]  # what is asked of a dataset
    except PipelineError:
        assert all(found)
    else:
        assert [notice.split()[0] for notice in notices] == [str(sum(found))] * any(found)


class Sized:
    """Sizes and targets of a dataset, as a declaration reads them."""

    targets: frozenset[str] = frozenset()

    def __init__(self, given: list[tuple[int, int]]) -> None:
        self._given = given

    def sizes(self) -> np.ndarray:
        return np.array(self._given, np.int64)

    def min_size(self) -> Size:
        return Size(min(size[0] for size in self._given), min(size[1] for size in self._given), "0")

    def keys(self, places: list[int]) -> list[str]:
        return [str(place) for place in places]
