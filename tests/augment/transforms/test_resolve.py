"""Resolution of documents to pipelines: refusals, their locations and their messages."""

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.errors import PipelineError, Problem
from augment.pipelines.document import parse
from augment.pipelines.spec import PipelineSpec
from augment.transforms import albumentations_files
from augment.transforms.catalogue import catalogue
from augment.transforms.resolve import MAX_DEPTH, MAX_PROBLEMS, num_applications, resolve


def problems(source: Any) -> tuple[Problem, ...]:
    with pytest.raises(PipelineError) as caught:
        resolve(parse(source) if isinstance(source, str) else source)
    return caught.value.problems


MANY_WRONGS = """\
name: 3
transfroms: []
transforms:
  - Rotat: {p: 0.3}
  - Rotate:
      limit: 400
      bordermode: 4
  - OneOf: {p: 2, transforms: [HorizontalFlip, {VerticalFlip: {q: 1}}]}
  - Resize: {height: 10}
normalize: {method: standrad}
"""


def test_every_problem_is_found_at_its_place() -> None:
    found = {problem.loc: problem for problem in problems(MANY_WRONGS)}
    assert {loc: problem.line for loc, problem in found.items()} == {
        ("name",): 1,
        ("transfroms",): 2,
        ("transforms", 0): 4,
        ("transforms", 1, "Rotate", "limit"): 6,
        ("transforms", 1, "Rotate", "bordermode"): 7,
        ("transforms", 2, "OneOf", "p"): 8,
        ("transforms", 2, "OneOf", "transforms", 1, "VerticalFlip", "q"): 8,
        ("transforms", 3, "Resize"): 9,
        ("normalize", "method"): 10,
    }
    assert "did you mean `transforms`?" in found["transfroms",].msg
    assert "did you mean `Rotate`?" in found["transforms", 0].msg
    assert "400" in found["transforms", 1, "Rotate", "limit"].msg
    assert "360" in found["transforms", 1, "Rotate", "limit"].msg
    assert "did you mean `border_mode`?" in found["transforms", 1, "Rotate", "bordermode"].msg
    assert "did you mean `standard`?" in found["normalize", "method"].msg
    assert "width" in found["transforms", 3, "Resize"].msg


def test_problems_of_values_have_places_and_no_lines() -> None:
    (found,) = problems({"transforms": [{"HorizontalFlip": {"p": 1.5}}]})
    assert found.loc == ("transforms", 0, "HorizontalFlip", "p")
    assert found.line is None


@pytest.mark.parametrize(
    ("text", "loc", "message"),
    [
        ("3", (), "a pipeline is a mapping with `transforms`, or a list of transforms, not 3"),
        ("HorizontalFlip", (), 'not "HorizontalFlip"'),
        ("{}", (), "`transforms` is missing"),
        ("transforms: HorizontalFlip", ("transforms",), "`transforms` is a list"),
        ("transforms:", ("transforms",), "not nothing"),
        ("masks: {}\ntransforms: []", ("masks",), "`masks` is not a section of a pipeline"),
        ("boxes: 3\ntransforms: []", ("boxes",), "`boxes` is a mapping like {min_area: 16}, not 3"),
        ("boxes: {min_aera: 3}\ntransforms: []", ("boxes", "min_aera"), "unknown here; did you mean `min_area`?"),
        ("boxes: {min_area: -1}\ntransforms: []", ("boxes", "min_area"), "-1 is not a number of pixels in [0, 1e+09]"),
        ("boxes: {min_width: yes}\ntransforms: []", ("boxes", "min_width"), '"yes" is not a number of pixels'),
        ("boxes: {min_visibility: 1.5}\ntransforms: []", ("boxes", "min_visibility"), "1.5 is not a share, in [0, 1]"),
        ("keypoints: []\ntransforms: []", ("keypoints",), "`keypoints` is a mapping like {outside: drop}, not a list"),
        ("keypoints: {outside: dropp}\ntransforms: []", ("keypoints", "outside"), "did you mean `drop`?"),
        ("keypoints: {outside: [drop]}\ntransforms: []", ("keypoints", "outside"), "is not one of keep, drop, mark"),
        ("keypoints: {swap_sides: 1}\ntransforms: []", ("keypoints", "swap_sides"), "1 is not true or false"),
        ("name: 'a\n\n  b'\ntransforms: []", ("name",), "has the control character \\n"),
        ('description: "\\e[31m"\ntransforms: []', ("description",), "has the control character \\x1b"),
        (f"name: {'a' * 129}\ntransforms: []", ("name",), "has 129 characters, it may have 128"),
        ("normalize: standard\ntransforms: []", ("normalize",), "`normalize` is a mapping"),
        ("[3]", (0,), "a transform is written `Name: {argument: value}`, not as 3"),
        ("[[HorizontalFlip]]", (0,), "not as a list"),
        ("- HorizontalFlip:\n  p: 0.5", (0,), "indent the arguments below the name"),
        ("[HorizontalFlip: 0.5]", (0, "HorizontalFlip"), "the arguments of `HorizontalFlip` are a mapping"),
        ("[OneOf]", (0,), "`OneOf` is a container; give it `transforms:`"),
        ("[OneOf: {transforms: []}]", (0, "OneOf"), "a list of at least one transform"),
        ("[OneOf: {transforms: {A: 1}}]", (0, "OneOf", "transforms"), "is a list of transforms, not a mapping"),
        ("[HorizontalFlip: {transforms: [A]}]", (0, "HorizontalFlip", "transforms"), "is not a container"),
        ("[SomeOf: {n: 2, transforms: [NoOp]}]", (0, "SomeOf"), "n is 2; it must be at most 1"),
        ("[OneOf: {transforms: [{NoOp: {p: 0}}]}]", (0, "OneOf"), "needs a child with p above 0"),
        ("[OneOrOther: {transforms: [NoOp]}]", (0, "OneOrOther"), "has 1 transforms; it needs 2"),
        ("[Lambda]", (0,), "a pipeline names no code"),
        ("[TextImage: {font_path: /etc/passwd}]", (0,), "a pipeline names no files"),
        ("[albumentations.Rotate]", (0,), "there is no transform 'albumentations.Rotate'"),
        ("[__import__]", (0,), "there is no transform"),
        ("[Normalize]", (0,), "write it as `normalize:`"),
        ("[Resize: {height: 50, width: 50}, RandomCrop: {height: 64, width: 40}]", (1, "RandomCrop"), "of 50 x 50"),
        ("[Perspective: {keep_size: false, fit_output: true}]", (0, "Perspective"), "set `keep_size: true`"),
    ],
)
def test_what_is_wrong_is_said_where_it_is(text: str, loc: tuple[str | int, ...], message: str) -> None:
    found = problems(text)
    assert loc in [problem.loc for problem in found]
    assert message in next(problem.msg for problem in found if problem.loc == loc)


@pytest.mark.parametrize("argument", ["https://example.org/x.png", "file:///etc/passwd", "os.system", "/tmp/x"])
@pytest.mark.parametrize("name", sorted(catalogue()))
def test_no_argument_of_any_transform_takes_a_name_of_code_or_file(name: str, argument: str) -> None:
    for key in catalogue()[name].schema["properties"]:
        if key == "references" and argument == "os.system":
            continue  # it names a dataset of the caller's, and may be any name that is no path
        found = problems({"transforms": [{name: {key: argument}}]})
        assert any(problem.loc[2:] == (name, key) for problem in found)


def nested(depth: int) -> dict[str, Any]:
    node: Any = "HorizontalFlip"
    for _ in range(depth):
        node = {"Sequential": {"transforms": [node]}}
    return {"transforms": [node]}


def test_depth_and_length_are_limited() -> None:
    assert len(list(resolve(nested(MAX_DEPTH - 1)).nodes())) == MAX_DEPTH
    assert "nest more than 8 deep (MAX_DEPTH)" in problems(nested(MAX_DEPTH))[0].msg
    assert len(resolve(["HorizontalFlip"] * 64).transforms) == 64
    assert "has 65 transforms, it may have 64 (MAX_NODES)" in problems(["HorizontalFlip"] * 65)[0].msg


def test_work_that_multiplies_is_limited() -> None:
    some = {"SomeOf": {"n": 64, "replace": True, "transforms": ["NoOp"]}}
    assert len(resolve([some] * 4).transforms) == 4
    nested_some = {"SomeOf": {"n": 5, "replace": True, "transforms": [some]}}
    assert "one sample may pass 320 transforms, the limit is 256 (MAX_APPLICATIONS)" in problems([nested_some])[0].msg


@pytest.mark.parametrize(
    ("node", "count"),
    [
        ("[NoOp]", 1),
        ("[OneOf: {transforms: [NoOp, Sequential: {transforms: [NoOp, NoOp, NoOp]}]}]", 3),
        ("[SomeOf: {n: 2, transforms: [NoOp, NoOp, Sequential: {transforms: [NoOp, NoOp]}]}]", 3),
        ("[RandomOrder: {n: 4, replace: true, transforms: [NoOp, NoOp]}]", 4),
        ("[OneOrOther: {transforms: [NoOp, NoOp]}]", 1),
    ],
)
def test_applications_are_counted_at_worst(node: str, count: int) -> None:
    assert sum(map(num_applications, resolve(parse(node)).transforms)) == count


def test_long_lists_of_problems_are_cut() -> None:
    found = problems("\n".join(["- []"] * 5000))
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1].msg == "and 4900 more problems; correct these first"


def test_messages_stay_on_one_line_and_short() -> None:
    found = problems({"transforms": ["x" * 10_000, {"a\nb": {}, "c": {}}, "\x1b[31m"], "key\n": 1})
    assert len(found) == 4
    for problem in found:
        assert "\n" not in problem.msg
        assert "\x1b" not in problem.msg
        assert len(problem.msg) < 300


def test_a_seed_is_dropped_and_said() -> None:
    spec = resolve(parse("transforms: []\nseed: 7\n"))
    assert spec.notices == ("line 2: `seed` is dropped: a seed belongs to the call, not to a pipeline",)


@pytest.mark.parametrize(("name", "argument"), sorted(albumentations_files.OF_ONE))
def test_former_names_of_arguments_lead_to_present_ones(name: str, argument: str) -> None:
    properties = catalogue()[name].schema["properties"]
    assert argument not in properties
    hint = albumentations_files.hint(name, (argument,))
    assert any(f"`{key}" in hint for key in properties) or "removed" in hint
    (found,) = (one for one in problems({"transforms": [{name: {argument: 1}}]}) if one.loc[-1] == argument)
    assert hint in found.msg


def test_always_apply_is_explained_and_good_arguments_are_not() -> None:
    messages = {problem.loc[-1]: problem.msg for problem in problems([{"Equalize": {"always_apply": True, "mode": 3}}])}
    assert "write `p: 1.0`" in messages["always_apply"]
    assert "border" not in messages["mode"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "transforms",
                        "normalize",
                        "name",
                        "OneOf",
                        "Rotate",
                        "p",
                        "seed",
                        "__class_fullname__",
                        "transform",
                        "method",
                        "mean",
                    ]
                ),
                inner,
            )
        ),
        max_leaves=12,
    )
)
@settings(max_examples=300, deadline=None)
def test_any_values_resolve_or_are_refused(value: Any) -> None:
    with contextlib.suppress(PipelineError):
        assert isinstance(resolve(value), PipelineSpec)


PIECES = st.sampled_from(
    [
        "transforms:",
        "- ",
        "\n",
        "  ",
        "    ",
        "OneOf: ",
        "Rotate",
        ": {",
        "}",
        "[",
        "]",
        "p: 0.5",
        "limit: ",
        "90",
        ", ",
        "normalize:",
        "method: standard",
        "transform:",
        "__class_fullname__: ",
        "albumentations.",
        "~",
        "'",
        '"',
        "null",
        "&a ",
        "*a",
        "!!x ",
    ]
)


@given(st.lists(PIECES, max_size=25).map("".join))
@settings(max_examples=500, deadline=None)
def test_any_text_resolves_or_is_refused(text: str) -> None:
    with contextlib.suppress(PipelineError):
        assert isinstance(resolve(parse(text)), PipelineSpec)


@pytest.mark.parametrize(
    "text",
    [
        """
transforms:
  - Rotate: {limit: .nan, p: 3}
  - HorizontalFlip: {p: 0.5, p: 0.6}
  - RandomResizedCrop: {size: [.inf, 3], scale: [2, 3]}
  - HorizontalFilp: {}
""",
        """
{"transforms": [
  {"Rotate": {"limit": NaN, "p": 3}},
  {"HorizontalFlip": {"p": 0.5, "p": 0.6}},
  {"RandomResizedCrop": {"size": [Infinity, 3], "scale": [2, 3]}},
  {"HorizontalFilp": {}}]}
""",
    ],
    ids=["yaml", "json"],
)
def test_value_that_json_lacks_and_repeated_key_hide_no_other_problem(text: str) -> None:
    with pytest.raises(PipelineError) as caught:
        resolve(parse(text, lenient=True))
    places = {(problem.line, ".".join(map(str, problem.loc))) for problem in caught.value.problems}
    assert places == {
        (3, "transforms.0.Rotate.limit"),
        (3, "transforms.0.Rotate.p"),
        (4, "transforms.1.HorizontalFlip.p"),
        (5, "transforms.2.RandomResizedCrop.size.0"),
        (5, "transforms.2.RandomResizedCrop.scale.0"),
        (5, "transforms.2.RandomResizedCrop.scale.1"),
        (6, "transforms.3"),
    }
    assert len(caught.value.problems) == len(places)


def test_values_that_json_cannot_say_hide_no_other_problem() -> None:
    with pytest.raises(PipelineError) as caught:
        resolve({"transforms": [{"Rotate": {"limit": float("nan"), "p": 3}}, {"HorizontalFilp": {}}]})
    assert len(caught.value.problems) == 3
