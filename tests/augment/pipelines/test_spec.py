"""The resolved pipeline: its digest, the content that counts in it, and its serialisation."""

import dataclasses
import json
import pickle
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.address import digest_fields
from augment.errors import PipelineError
from augment.pipelines.document import parse
from augment.pipelines.spec import Node, PipelineSpec
from augment.transforms.catalogue import catalogue
from augment.transforms.resolve import resolve
from tests.augment.transforms.catalogue_cases import LEAVES, NEEDED, values


def digest(text: str) -> str:
    return resolve(parse(text)).digest


def test_digest_is_of_the_canonical_json() -> None:
    spec = resolve(parse("[HorizontalFlip]"))
    canonical = (
        b'{"boxes":{"min_area":1,"min_height":1,"min_visibility":0,"min_width":1},'
        b'"keypoints":{"outside":"keep","swap_sides":true},"transforms":[{"HorizontalFlip":{"p":0.5}}]}'
    )
    assert rfc8785.dumps(spec.canonical()) == canonical
    assert spec.digest == digest_fields((canonical,)).hex()
    assert len(spec.digest) == 32


def test_digest_is_the_one_that_was_published() -> None:
    """A change here changes every address of every user: it needs a new render revision, never a new expected value."""
    text = "[RandomCrop: {height: 224, width: 200}, OneOf: {p: 0.3, transforms: [GaussianBlur, {Rotate: {limit: 9}}]}]"
    assert digest(text) == "94f28efe7ce33e1bc51e161442f414f6"


@pytest.mark.parametrize(
    "same",
    [
        "transforms: [{HorizontalFlip: {p: 0.5}}, {Rotate: {limit: [-10, 10], p: 1}}]",
        "name: other\ndescription: words\ntransforms: [HorizontalFlip, {Rotate: {p: 1.0, limit: 10}}] # comment",
        "- HorizontalFlip\n- Rotate:\n    limit: 10.0\n    p: 1\n",
        '{"transforms": [{"HorizontalFlip": null}, {"Rotate": {"limit": [-1e1, 10], "p": 1}}], "normalize": null}',
        "seed: 3\ntransforms: [{HorizontalFlip: {}}, {Rotate: {limit: 10, p: 1, fill: 0.0}}]",
        "{transforms: [HorizontalFlip, Rotate: {limit: 10, p: 1}], boxes: {min_area: 1}, keypoints: {outside: keep}}",
        "{transforms: [HorizontalFlip, Rotate: {limit: 10, p: 1}], boxes: null, keypoints: {}}",
    ],
)
def test_digest_does_not_depend_on_how_it_is_written(same: str) -> None:
    assert digest(same) == digest("[HorizontalFlip, Rotate: {limit: 10, p: 1}]")


@pytest.mark.parametrize(
    "other",
    [
        "[Rotate: {limit: 10, p: 1}, HorizontalFlip]",
        "[HorizontalFlip, Rotate: {limit: 11, p: 1}]",
        "[HorizontalFlip, Rotate: {limit: 10, p: 0.999}]",
        "[Sequential: {p: 1, transforms: [HorizontalFlip, Rotate: {limit: 10, p: 1}]}]",
        "{transforms: [HorizontalFlip, Rotate: {limit: 10, p: 1}], normalize: {method: min_max}}",
        "{transforms: [HorizontalFlip, Rotate: {limit: 10, p: 1}], boxes: {min_area: 2}}",
        "{transforms: [HorizontalFlip, Rotate: {limit: 10, p: 1}], keypoints: {outside: drop}}",
    ],
)
def test_digest_differs_where_pixels_may(other: str) -> None:
    assert digest(other) != digest("[HorizontalFlip, Rotate: {limit: 10, p: 1}]")


def test_an_empty_pipeline_is_the_identity() -> None:
    assert resolve({"transforms": []}).transforms == ()


@st.composite
def leaves(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(st.sampled_from(LEAVES))
    properties = catalogue()[name].schema["properties"]
    chosen = draw(st.sets(st.sampled_from(sorted(properties))))
    return {name: dict(NEEDED.get(name, {})) | {key: draw(values(properties[key])) for key in chosen}}


def containers(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    children = st.lists(inner, min_size=1, max_size=3)
    p = st.floats(0, 1)
    return st.builds(
        lambda name, p, transforms: {name: {"p": p, "transforms": transforms}},
        st.sampled_from(["OneOf", "Sequential", "SomeOf", "RandomOrder"]),
        p,
        children,
    )


TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=12)
DOCUMENTS = st.fixed_dictionaries(
    {"transforms": st.lists(st.recursive(leaves(), containers, max_leaves=4), max_size=3)},
    optional={
        "name": TEXT,
        "description": TEXT | st.lists(TEXT, max_size=4).map("\n".join),
        "normalize": st.sampled_from([None, {"method": "min_max"}, {"method": "standard", "std": 0.5}]),
        "boxes": st.sampled_from([None, {}, {"min_area": 7}, {"min_visibility": 0.25, "min_width": 2.5}]),
        "keypoints": st.sampled_from([None, {}, {"outside": "mark"}, {"outside": "drop", "swap_sides": False}]),
    },
)


@given(DOCUMENTS)
@settings(max_examples=150, deadline=None)
def test_any_pipeline_goes_out_and_comes_back(document: dict[str, Any]) -> None:
    try:
        spec = resolve(document)
    except PipelineError:
        return  # a rule between parameters, which schemas cannot draw
    for text in (spec.to_yaml(), spec.to_json()):
        back = resolve(parse(text))
        assert back == spec
        assert back.digest == spec.digest
        assert (back.name, back.description) == (spec.name, spec.description)
    assert resolve(spec.canonical()) == spec
    assert json.loads(spec.to_json())["transforms"] == spec.canonical()["transforms"]


def test_yaml_is_written_for_people() -> None:
    spec = resolve(parse("{name: mine, transforms: [OneOf: {p: 1, transforms: [HorizontalFlip, VerticalFlip]}]}"))
    assert spec.to_yaml() == (
        "name: mine\ntransforms:\n- OneOf:\n    p: 1\n    transforms:\n"
        "    - HorizontalFlip:\n        p: 0.5\n    - VerticalFlip:\n        p: 0.5\n"
        "boxes:\n  min_area: 1.0\n  min_width: 1.0\n  min_height: 1.0\n  min_visibility: 0.0\n"
        "keypoints:\n  outside: keep\n  swap_sides: true\n"
    )


def test_spec_is_a_value() -> None:
    one, two = (resolve(parse(f"{{name: {name}, transforms: [HorizontalFlip]}}")) for name in "ab")
    assert one == two
    assert {one: 1}[two] == 1
    again = pickle.loads(pickle.dumps(one))  # noqa: S301 - our own bytes
    assert again == one
    assert again.digest == one.digest


def test_nodes_are_walked_parents_first() -> None:
    inner = Node("OneOf", {"p": 1}, (Node("A", {}), Node("B", {})))
    assert [node.name for node in PipelineSpec((inner, Node("C", {}))).nodes()] == ["OneOf", "A", "B", "C"]


def test_a_spec_travels_whole_and_arrives_as_one_object() -> None:
    spec = resolve(
        {"name": "mine", "description": "why", "transforms": [{"HorizontalFlip": {"p": 0.25}}, {"Blur": {}}]}
    )
    noted = dataclasses.replace(spec, notices=("dropped",))
    there = pickle.loads(pickle.dumps(noted))  # noqa: S301
    assert [getattr(there, each.name) for each in dataclasses.fields(there)] == [
        getattr(noted, each.name) for each in dataclasses.fields(noted)
    ]
    assert there.digest == spec.digest
    assert pickle.loads(pickle.dumps(noted)) is there  # noqa: S301
    unnoted = pickle.loads(pickle.dumps(spec))  # noqa: S301
    assert unnoted.notices == ()  # equal to the other, and yet not taken for it
