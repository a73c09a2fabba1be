import contextlib
import inspect
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import rfc8785
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from augment.pipelines.spec import Node
from augment.transforms import entry, limits, schema
from augment.transforms.albumentations_import import A
from augment.transforms.catalogue import (
    EXCLUDED,
    ParamsError,
    catalogue,
    children_problem,
    fill,
    transform_class,
)
from augment.transforms.families import FAMILIES
from tests.augment.transforms.catalogue_cases import CONTAINERS, LEAVES, NEEDED, compiled, values

CATALOGUE = catalogue()
ABSTRACT = frozenset({"BaseCompose", "BasicTransform", "DualTransform", "ImageOnlyTransform", "Transform3D"})
UNLISTED = {
    "Equalize": {"mask", "mask_params"},  # code, and names of data that only code could use
    "PlasmaShadow": {"plasma_size"},  # Albumentations ignores it
}


def all_classes() -> set[str]:
    bases = (A.BasicTransform, A.BaseCompose)
    return {name for name, value in vars(A).items() if inspect.isclass(value) and issubclass(value, bases)}


def problems(name: str, params: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    with pytest.raises(ParamsError) as caught:
        fill(name, params)
    return caught.value.problems


def test_every_class_of_albumentations_is_in_the_catalogue_or_left_out_for_a_reason() -> None:
    known = all_classes() - ABSTRACT
    optional = {"ToTensorV2", "ToTensor3D"}  # they exist where PyTorch does
    assert known - set(EXCLUDED) <= set(CATALOGUE)
    assert not set(EXCLUDED) & set(CATALOGUE)
    assert set(EXCLUDED) - known - optional <= {"MixUp", "CutMix"}  # they belong to streams
    assert all(reason[0].islower() and not reason.endswith(".") for reason in EXCLUDED.values())


def test_catalogue_is_sorted_and_every_family_has_a_transform() -> None:
    assert set(CONTAINERS) == {"OneOf", "OneOrOther", "RandomOrder", "Sequential", "SomeOf"}
    assert list(CATALOGUE) == sorted(CATALOGUE)
    assert {info.family for info in CATALOGUE.values()} == set(FAMILIES)


@pytest.mark.parametrize("name", CATALOGUE)
def test_help_is_a_sentence_and_every_parameter_is_described(name: str) -> None:
    info = CATALOGUE[name]
    assert info.help[0].isupper()
    assert info.help.endswith(".")
    assert len(info.help) <= 140
    assert info.schema["title"] == name
    for key, inner in info.schema["properties"].items():
        assert inner["description"], key
        assert not inner["description"].endswith("."), key


@pytest.mark.parametrize("name", LEAVES)
def test_parameters_are_those_of_the_class(name: str) -> None:
    theirs = set(inspect.signature(transform_class(name).__init__).parameters) - {"self"} - UNLISTED.get(name, set())
    assert set(CATALOGUE[name].schema["properties"]) | {"p"} == theirs | {"p"}


@pytest.mark.parametrize("name", LEAVES)
def test_targets_are_those_of_the_class(name: str) -> None:
    cls = transform_class(name)
    names = {"Image": "image", "Mask": "mask", "BBoxes": "boxes", "Keypoints": "keypoints"}
    theirs = {names[target.value] for target in cls._targets if target.value in names}
    left_out = {
        "AugMix": {"mask", "boxes", "keypoints"},  # it mixes images that moved differently
        "Morphological": {"mask", "boxes"},  # it moves them wrongly
    }.get(name, set())
    assert CATALOGUE[name].targets == theirs - left_out
    assert CATALOGUE[name].moves_pixels <= (theirs == entry.ALL_TARGETS)


def leaves(inner: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield every schema of a single value in this one."""
    for key in ("anyOf", "oneOf"):
        for branch in inner.get(key, ()):
            yield from leaves(branch)
    if "items" in inner:
        yield from leaves(inner["items"])
    for branch in inner.get("properties", {}).values():
        yield from leaves(branch)
    if not {"anyOf", "oneOf", "items", "properties"} & set(inner):
        yield inner


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_number_and_every_list_has_both_bounds(name: str) -> None:
    for leaf in leaves(CATALOGUE[name].schema):
        if leaf.get("type") in {"number", "integer"}:
            assert "minimum" in leaf or "exclusiveMinimum" in leaf
            assert math.isfinite(leaf["maximum"])
            assert leaf["maximum"] <= 16_777_216
        elif leaf.get("type") == "string":
            assert leaf["pattern"].endswith("{0,99}$")
        else:
            assert leaf.get("type") in {"boolean", "null"} or "const" in leaf

    def arrays(inner: Any) -> Iterator[Mapping[str, Any]]:
        if isinstance(inner, Mapping):
            if inner.get("type") == "array":
                yield inner
            for value in inner.values():
                yield from arrays(value)
        elif isinstance(inner, list):
            for value in inner:
                yield from arrays(value)

    assert all(array["maxItems"] <= limits.CHOICES for array in arrays(CATALOGUE[name].schema))


@pytest.mark.parametrize("name", CATALOGUE)
def test_schema_is_plain_json_and_its_defaults_obey_it(name: str) -> None:
    whole = CATALOGUE[name].schema
    assert json.loads(json.dumps(whole, allow_nan=False)) == whole
    assert set(whole["required"]) == {key for key, inner in whole["properties"].items() if "default" not in inner}
    for key, inner in whole["properties"].items():
        if "default" in inner:
            assert schema.check(inner["default"], inner) == (inner["default"], []), key


@pytest.mark.parametrize("name", LEAVES)
def test_defaults_are_albumentations_own(name: str) -> None:
    filled = fill(name, NEEDED.get(name, {}))
    cls = transform_class(name)
    signature = inspect.signature(cls.__init__).parameters
    for key in CATALOGUE[name].schema["properties"]:
        if key not in NEEDED.get(name, {}):
            given, default = filled[key], json.loads(json.dumps(signature[key].default))
            spelled, wrong = schema.check(default, CATALOGUE[name].schema["properties"][key])
            assert not wrong
            assert given == spelled or default is None or isinstance(given, dict), key


# ------------------------------------------------------------------------------------------ the schema is the check


@pytest.mark.parametrize("name", CATALOGUE)
def test_whatever_the_schema_allows_is_taken_and_built(name: str) -> None:
    rules = CATALOGUE[name].schema.get("x-rules", [])

    @settings(max_examples=25, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(values(CATALOGUE[name].schema))
    def holds(params: dict[str, Any]) -> None:
        refused: ParamsError | None = None
        try:
            filled = fill(name, params)
        except ParamsError as error:
            refused = error
        if refused is not None:  # only a rule between parameters may do so, and it is written down
            assert rules, f"{refused}: the schema allows {params}"
            assert {place for place, _ in refused.problems} == {()}
            assume(condition=False)
        assert fill(name, filled) == filled
        assert fill(name, json.loads(rfc8785.dumps(filled))) == filled
        assert rfc8785.dumps(filled) == rfc8785.dumps(fill(name, json.loads(rfc8785.dumps(filled))))
        if name in LEAVES:
            compiled(Node(name, filled))

    holds()


def just_outside(inner: Mapping[str, Any]) -> Iterator[Any]:
    """Yield values that just miss this schema, and values of another type."""
    if "anyOf" in inner:
        return outside_any(inner)
    if "oneOf" in inner:
        consts = [option["const"] for option in inner["oneOf"]]
        others: list[Any] = ["text", -1, 99, 1.5, [], {}, None]
        return iter([*(value for value in others if value not in consts), True, False])
    match inner["type"]:
        case "number" | "integer":
            return outside_number(inner)
        case "array":
            return outside_array(inner)
        case "boolean":
            return iter([0, 1, "true", None, []])
        case "string":
            return iter(["", "n" * 101, "a/b", "..", "a b", 1, None, True, ["others"]])
    return iter([[], "text", None, {"unknown": 1}])


def outside_any(inner: Mapping[str, Any]) -> Iterator[Any]:
    numbers = [leaf for leaf in leaves(inner) if leaf.get("type") in {"number", "integer"}]
    if numbers:
        low = min(leaf.get("minimum", leaf.get("exclusiveMinimum", math.inf)) for leaf in numbers)
        high = max(leaf["maximum"] for leaf in numbers)
        for beyond in (math.nextafter(high, math.inf), math.nextafter(low, -math.inf)):
            for branch in inner["anyOf"]:
                if branch.get("type") == "array":
                    yield [beyond] * branch["minItems"]
                if branch.get("type") in {"number", "integer"}:
                    yield beyond
    yield from ("text", True, math.nan, [], [[]], {"z": 1})


def outside_number(inner: Mapping[str, Any]) -> Iterator[Any]:
    high, low = inner["maximum"], inner.get("minimum")
    yield math.nextafter(high, math.inf)
    yield inner["exclusiveMinimum"] if low is None else math.nextafter(low, -math.inf)
    yield from (math.nan, math.inf, str(high), True, None, [high])
    if inner["type"] == "integer":
        yield from (high + 1, high - 0.5)
    if "not" in inner:
        yield from (4, 6.0)


def outside_array(inner: Mapping[str, Any]) -> Iterator[Any]:
    item = inner["items"]
    fine = [example(item)] * inner["minItems"]
    yield from (fine[:-1], fine * 65, "text", None, {"0": fine[0]}, True)
    for value in just_outside(item):
        yield [*fine[:-1], value]
    if inner.get("x-ordered") and item["maximum"] != example(item):
        yield [item["maximum"], example(item)]


def example(inner: Mapping[str, Any]) -> Any:
    """Return the lowest value that this schema allows."""
    if "anyOf" in inner:
        return example(inner["anyOf"][0])
    if inner["type"] == "array":
        return [example(inner["items"])] * inner["minItems"]
    return inner["minimum"] if "minimum" in inner else inner["maximum"]


@pytest.mark.parametrize("name", CATALOGUE)
def test_values_just_outside_are_refused_at_their_place(name: str) -> None:
    for key, inner in CATALOGUE[name].schema["properties"].items():
        for value in just_outside(inner):
            found = problems(name, {**NEEDED.get(name, {}), key: value})
            assert any(place[:1] == (key,) for place, _ in found), (key, value)


@pytest.mark.parametrize("name", LEAVES)
def test_number_and_text_are_never_confused(name: str) -> None:
    assert problems(name, {**NEEDED.get(name, {}), "p": "0.5"}) == [(("p",), 'is "0.5"; it must be a number')]
    assert problems(name, {**NEEDED.get(name, {}), "p": True}) == [(("p",), "is true; it must be a number")]
    assert problems(name, {**NEEDED.get(name, {}), "p": 1.5}) == [(("p",), "is 1.5; it must be at most 1")]


# ----------------------------------------------------------------------------------------------------- canonical form


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("Rotate", {"limit": 90}, {"limit": [-90, 90]}),
        ("Rotate", {"limit": 90}, {"limit": [-90.0, 90.0]}),
        ("Rotate", {}, {"limit": [-90, 90], "p": 0.5}),
        ("Rotate", {"limit": 0}, {"limit": [-0.0, 0]}),
        ("Blur", {"blur_limit": 7}, {"blur_limit": [3, 7]}),
        ("Blur", {"blur_limit": 7.0}, {"blur_limit": (3, 7)}),
        ("CLAHE", {"clip_limit": 4}, {"clip_limit": [1, 4.0]}),
        ("ColorJitter", {"brightness": 0.25, "hue": 0.5}, {"brightness": [0.75, 1.25], "hue": [-0.5, 0.5]}),
        ("ColorJitter", {"contrast": 2}, {"contrast": [0, 3]}),
        ("Posterize", {"num_bits": 3}, {"num_bits": [3, 3]}),
        ("Affine", {"scale": 1.5}, {"scale": {"x": [1.5, 1.5], "y": 1.5}}),
        ("Affine", {"shear": [-5, 5]}, {"shear": {"x": [-5, 5], "y": [-5, 5]}}),
        ("Affine", {"translate_px": None}, {"translate_px": 0}),
        ("ShiftScaleRotate", {"shift_limit": 0.1}, {"shift_limit_x": 0.1, "shift_limit_y": 0.1, "shift_limit": 0.1}),
        ("PlanckianJitter", {}, {"temperature_limit": [3_000, 15_000]}),
        ("PlanckianJitter", {"mode": "cied"}, {"mode": "cied", "temperature_limit": [4_000, 15_000]}),
        ("AdditiveNoise", {}, {"noise_params": {"ranges": [[-0.1, 0.1]]}}),
        ("Spatter", {"mode": "mud"}, {"mode": "mud", "color": [20, 42, 63]}),
        ("RandomShiftScale", {"shift_limit": 0.25}, {"shift_limit": [-0.25, 0.25]}),
        ("PiecewiseAffine", {"nb_rows": 4}, {"nb_rows": [4, 4]}),
        ("SomeOf", {"n": 2.0}, {"n": 2, "replace": False, "p": 1}),
    ],
)
def test_two_spellings_have_one_canonical_form(name: str, one: dict[str, Any], other: dict[str, Any]) -> None:
    assert rfc8785.dumps(fill(name, one)) == rfc8785.dumps(fill(name, other))


def as_saved(value: Any) -> Any:
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("name", [name for name in LEAVES if hasattr(A, name)])
def test_what_albumentations_saves_has_the_same_canonical_form(name: str) -> None:
    filled = fill(name, NEEDED.get(name, {}))
    original = getattr(A, name)
    known = set(CATALOGUE[name].schema["properties"])
    with pytest.warns() if name in {"PiecewiseAffine", "ShiftScaleRotate"} else contextlib.nullcontext():
        saved = original(**filled).to_dict()["transform"]
    again = fill(name, {key: as_saved(value) for key, value in saved.items() if key in known})
    assert json.dumps(again) == json.dumps(filled) or close(again, filled)


def close(one: Any, other: Any) -> bool:
    """Compare all but the last bits of a number: ShiftScaleRotate saves 1.1 - 1.0 for 0.1."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other))
    return one == other or (isinstance(one, float) and math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12))


@given(st.sampled_from(LEAVES), st.text(max_size=12))
@settings(max_examples=200, deadline=None, database=None, derandomize=True)
def test_unknown_parameter_is_refused_by_name(name: str, key: str) -> None:
    assume(key not in CATALOGUE[name].schema["properties"])
    found = problems(name, {**NEEDED.get(name, {}), key: 1})
    assert found[0][0] == (key,)
    assert f"{name} has no parameter {key!r}" in found[0][1]


# ----------------------------------------------------------------------------------------------------------- messages


@pytest.mark.parametrize(
    ("name", "params", "place", "words"),
    [
        ("Rotate", {"limits": 5}, ("limits",), "Rotate has no parameter 'limits'; did you mean `limit`?"),
        ("Rotate", {"limit": 400}, ("limit",), "is 400; it must be at most 360"),
        ("Rotate", {"limit": [10, -10]}, ("limit",), "is [10, -10]; the first must not be larger than the second"),
        ("Rotate", {"limit": [-400, 0]}, ("limit", 0), "is -400; it must be at least -360"),
        (
            "Rotate",
            {"interpolation": "bilinear"},
            ("interpolation",),
            'is "bilinear"; did you mean 1, the value of that name',
        ),
        ("Rotate", {"border_mode": "reflect 101"}, ("border_mode",), "did you mean 4"),
        ("Rotate", {"border_mode": 7}, ("border_mode",), "must be one of: 0 (constant: the fill value), 1 (replicate"),
        ("Rotate", {"fill": [1, 2]}, ("fill",), "is [1, 2]; it must be a number or a list of 3 numbers"),
        ("Blur", {"blur_limit": [3, 6]}, ("blur_limit", 1), "is 6; it must be odd"),
        ("Blur", {"blur_limit": [3, 999]}, ("blur_limit", 1), f"is 999; it must be at most {limits.MEDIAN_KERNEL_PX}"),
        ("RandomCrop", {"height": 5}, (), "RandomCrop needs width: width of the crop in pixels"),
        ("CropAndPad", {}, (), "give either px or percent"),
        ("LongestMaxSize", {"max_size": 5, "max_size_hw": [5, 5]}, (), "give either max_size or max_size_hw"),
        ("HEStain", {"preset": "dark"}, (), "preset must be null with the method random_preset"),
        ("Rotat", {}, (), "there is no transform 'Rotat'; did you mean `Rotate`?"),
        ("horizontal_flip", {}, (), "there is no transform 'horizontal_flip'; did you mean `HorizontalFlip`?"),
        ("Lambda", {}, (), "Lambda is not available: it runs code, and a pipeline names no code"),
        ("__import__", {}, (), "there is no transform '__import__'"),
        ("Sharpen", {"kernel_size": 4}, ("kernel_size",), "is 4; it must be odd"),
        ("GridDropout", {"ratio": 0}, ("ratio",), "is 0; it must be more than 0"),
        ("Superpixels", {"p_replace": {"a": 1}}, ("p_replace",), "it must be a list of 2 numbers or a number"),
    ],
)
def test_message_has_value_limit_and_remedy(
    name: str, params: dict[str, Any], place: tuple[str | int, ...], words: str
) -> None:
    found = problems(name, params)
    assert any(where == place and words in message for where, message in found), found


def test_every_problem_is_named_at_once() -> None:
    found = problems("Rotate", {"limit": 999, "p": 2, "colour": 1, "interpolation": 9})
    assert [place for place, _ in found] == [("colour",), ("limit",), ("interpolation",), ("p",)]


def test_params_error_reads_as_a_sentence() -> None:
    with pytest.raises(ParamsError, match=r"^limit is 999; it must be at most 360; p is 2; it must be at most 1$"):
        fill("Rotate", {"limit": 999, "p": 2})


@pytest.mark.parametrize(
    ("name", "params", "children_p", "words"),
    [
        ("OneOf", {}, [], "OneOf needs at least one transform"),
        ("OneOf", {}, [0, 0.0], "OneOf needs a child with p above 0"),
        ("OneOrOther", {}, [1, 1, 1], "OneOrOther has 3 transforms; it needs 2"),
        ("SomeOf", {"n": 3}, [1, 1], "n is 3; it must be at most 2"),
        ("RandomOrder", {"n": 3}, [1, 1], "n is 3; it must be at most 2"),
    ],
)
def test_children_a_container_cannot_hold_are_refused(
    name: str, params: dict[str, Any], children_p: list[float], words: str
) -> None:
    assert words in str(children_problem(name, fill(name, params), children(*children_p)))


def test_children_a_container_can_hold_are_no_problem() -> None:
    assert children_problem("SomeOf", fill("SomeOf", {"n": 3, "replace": True}), children(1, 1)) is None
    assert children_problem("OneOf", fill("OneOf", {}), children(0, 0.1)) is None
    assert children_problem("Sequential", fill("Sequential", {}), children(0)) is None


def children(*each_p: float) -> list[Node]:
    return [Node("NoOp", {"p": p}) for p in each_p]


@pytest.mark.parametrize("name", LEAVES)
def test_class_is_the_one_of_its_name_and_corrects_albumentations(name: str) -> None:
    cls = transform_class(name)
    assert cls.__name__ == name
    assert issubclass(cls, getattr(A, name, A.BasicTransform))
