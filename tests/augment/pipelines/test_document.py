"""Text to values: YAML 1.2 and JSON, refused content and its lines."""

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.errors import PipelineError
from augment.pipelines import document
from augment.pipelines.document import Document, from_value, parse

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc:#-é ", max_size=5), inner, max_size=4),
    max_leaves=20,
)


def problem(text: str) -> str:
    with pytest.raises(PipelineError) as caught:
        parse(text)
    (found,) = caught.value.problems
    return str(found)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: no", "no"),
        ("a: yes", "yes"),
        ("a: True", True),
        ("a: ~", None),
        ("a:", None),
        ("a: 010", 10),
        ("a: 0o10", 8),
        ("a: 0x1F", 31),
        ("a: 1_000", "1_000"),
        ("a: 1e-05", 1e-05),
        ("a: 1E5", 1e5),
        ("a: .5", 0.5),
        ("a: +3", 3),
        ("a: 2024-01-01", "2024-01-01"),
        ("a: 12:30", "12:30"),
        ("a: '3'", "3"),
        ('a: "true"', "true"),
        ("a: =", "="),
        ("a: <<", "<<"),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    root = parse(text).root
    assert isinstance(root, dict)
    assert root["a"] == value
    assert type(root["a"]) is type(value)


@given(VALUES)
@settings(max_examples=200, deadline=None)
def test_json_reads_as_what_it_says(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, indent="\t"), json.dumps(value, indent=2, ensure_ascii=False)):
        assert parse(text).root == value


def test_json_may_write_a_character_as_two_escapes() -> None:
    assert parse(r'{"name": "\ud83d\ude00"}').root == {"name": "\U0001f600"}


def test_lines_are_those_of_the_text() -> None:
    text = "name: x\n\ntransforms:\n  - Rotate:\n      limit: 10\n  - {OneOf: {p: 1,\n     transforms: [A]}}\n"
    lines = parse(text).lines
    assert lines["name",] == 1
    assert lines["transforms",] == 3
    assert lines["transforms", 0] == 4
    assert lines["transforms", 0, "Rotate", "limit"] == 5
    assert lines["transforms", 1, "OneOf", "transforms", 0] == 7


def test_problem_takes_the_line_of_the_nearest_place() -> None:
    read = parse("a:\n  b: 1\n")
    assert read.problem(("a", "b", "c", 3), "wrong").line == 2
    assert Document({"a": 1}).problem(("a",), "wrong").line is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: a: `a` is written twice (first in line 1)"),
        ('{"a": 1,\n "a": 2}', "line 2: a: `a` is written twice"),
        ("a: .nan", "line 1: a: nan is not a finite number"),
        ("a: -.INF", "line 1: a: -inf is not a finite number"),
        ("a:\n  - 1e999", "line 2: a.0: inf is not a finite number"),
        (f"a: {'1' * 50_000}", "whole numbers may go up to 9007199254740991"),
        ("a: 9007199254740992", "whole numbers may go up to 9007199254740991"),
        ("a: !!python/object/apply:os.system [ls]", "is a tag"),
        ("a: !local x", "is a tag"),
        ("!!str a: 1", "is a tag"),
        ("a: &x [1]\nb: *x", "line 1: `&x` is an anchor"),
        ("b: *x", "line 1: `*x` is an alias"),
        ("1: a", "the key `1` is not text"),
        ("null: a", "the key `null` is not text"),
        ("? [a]\n: b", "a key is a list or a mapping"),
        ("a: 1\n---\nb: 2", "line 2: a second document begins here"),
        ("%YAML 1.1\n---\na: 1", "the document requires %YAML 1.1; write YAML 1.2"),
        ("a" * 129 + ": 1", "has 129 characters, keys may have 128"),
        ("", "the document is empty"),
        ("# only a comment\n", "the document is empty"),
        ("a: [1, 2", "this is not YAML"),
        ("a: b: c", "line 1: this is not YAML: mapping values are not allowed here"),
        ("a: \x00", "the character U+0000 is not allowed"),
        ('a: "\\UFFFFFFFF"', "this is not YAML"),
        ('a: "\\ud800"', "half of a surrogate pair"),
        ("\ud800", "the character U+D800 is not allowed"),
    ],
)
def test_what_a_pipeline_may_not_hold_is_refused_where_it_stands(text: str, message: str) -> None:
    assert message in problem(text)


def test_problems_that_hide_no_others_are_all_told() -> None:
    text = "a: .nan\nb: {c: 1, c: {d: .inf, d: 2}, e: [1, -.inf]}\n1: {a: .nan}\nf: 9007199254740992\nb: 2\ng: 1\n"
    read = parse(text, lenient=True)
    assert [(problem.line, problem.loc) for problem in read.problems] == [
        (1, ("a",)),
        (2, ("b", "c")),
        (2, ("b", "e", 1)),
        (3, ()),
        (4, ("f",)),
        (5, ("b",)),
    ]
    assert read.root == {"a": None, "b": {"c": 1, "e": [1, None]}, "f": None, "g": 1}
    assert read.lines["b", "c"] == 2
    with pytest.raises(PipelineError) as caught:
        parse(text)
    assert caught.value.problems == read.problems


def test_values_with_problems_that_hide_no_others_are_all_told() -> None:
    value = {"a": float("nan"), "b": [1, b"x"], 3: {"c": 1}, "d": {"e": 2**60}, "f": "text"}
    read = from_value(value, lenient=True)
    assert {problem.loc for problem in read.problems} == {("a",), ("b", 1), (), ("d", "e")}
    assert read.root == {"a": None, "b": [1, None], "d": {"e": None}, "f": "text"}
    assert value["b"] == [1, b"x"]
    with pytest.raises(PipelineError) as caught:
        from_value(value)
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_word_that_json_lacks_is_no_text_there(word: str) -> None:
    assert problem(f'{{"a": {word}}}') == f"line 1: a: {word} is not a finite number; write a number"
    assert parse(f'{{"a": "{word}"}}').root == {"a": word}
    assert parse(f"a: {word}").root == {"a": word}


def test_long_text_is_refused_with_its_size_and_the_limit() -> None:
    assert f"has 65537 bytes, a pipeline may have {document.MAX_TEXT_BYTES}" in problem("#" * 65_537)
    assert "has 65538 bytes" in problem("é" * 32_769)


def test_depth_is_limited_in_text_and_in_values() -> None:
    assert "nest more than 48 deep" in problem("[" * 49 + "]" * 49)
    assert parse("[" * 48 + "]" * 48).root is not None
    deep: Any = []
    for _ in range(49):
        deep = [deep]
    with pytest.raises(PipelineError, match="nest more than 48 deep"):
        from_value(deep)


def test_limits_are_those_of_the_kind_of_document() -> None:
    limits = document.DocumentLimits("a list", "names", max_bytes=20, max_depth=2, only_text_keys=False)
    assert parse("{0: a, ~: [b]}", limits=limits).root == {"0": "a", "~": ["b"]}
    for text, message in (
        ("#" * 21, "a list may have 20;"),
        ("[[[]]]", "nest more than 2 deep"),
        ("{0: a, '0': b}", "`0` is written twice"),
        ("a\n---\nb", "a list is one document"),
        ("", "write names"),
    ):
        with pytest.raises(PipelineError, match=message):
            parse(text, limits=limits)


@pytest.mark.parametrize(
    "text", ["[" * 65_536, "{" * 65_536, "[a," * 21_000, "- " * 32_768, "? " * 32_768, "{a: " * 16_384]
)
def test_deep_text_is_refused_at_once(text: str) -> None:
    """Fully scanned, the first of these takes three minutes (measured)."""
    start = time.process_time()
    assert problem(text).startswith("line 1: ")
    assert time.process_time() - start < 2


def test_values_that_refer_to_themselves_are_refused() -> None:
    ring: dict[str, Any] = {}
    ring["a"] = ring
    with pytest.raises(PipelineError, match="nest more than"):
        from_value(ring)
    wide: list[Any] = []
    for _ in range(40):
        wide = [wide, wide]
    with pytest.raises(PipelineError, match="more than 10000 values"):
        from_value(wide)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": float("nan")}, "a: nan is not a finite number"),
        ({"a": {1: 2}}, "a: the key `1` is not text"),
        ({"a": b"x"}, "a: a document cannot hold a bytes"),
        ({"a": {1, 2}}, "a: a document cannot hold a set"),
        ({"a": 2**60}, "a: whole numbers may go up to"),
    ],
)
def test_values_that_json_cannot_say_are_refused(value: object, message: str) -> None:
    with pytest.raises(PipelineError) as caught:
        from_value(value)
    assert message in str(caught.value)


@given(VALUES)
@settings(max_examples=100, deadline=None)
def test_values_and_their_text_are_one_document(value: Any) -> None:
    assert from_value(value).root == value


NOISE = st.text(max_size=60) | st.text(" \n\t-:?,[]{}#&*!|>'\"%@`ab1.0~\\xuU\x85\u2028\ufeff", max_size=60)


@given(NOISE)
@settings(max_examples=1000, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(PipelineError):
        json.dumps(parse(text).root, allow_nan=False)
    with contextlib.suppress(PipelineError):
        json.dumps(parse(text, lenient=True).root, allow_nan=False)
