"""Documents for a stream's ``mix``, and the messages for invalid ones."""

import pickle

import pytest

from augment.errors import PipelineError
from augment.mixing.mix import parse_mix
from augment.pipelines import document

BOTH = {"OneOf": {"p": 0.5, "transforms": [{"MixUp": {"p": 0.25}}, {"CutMix": {"alpha": 0.5, "per": "row"}}]}}
RGB = (32, 32, 3)


def problems_of(value: object) -> list[tuple[str, str]]:
    with pytest.raises(PipelineError) as caught:
        parse_mix(value)
    return [(".".join(map(str, problem.loc)), problem.msg) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("MixUp", {"MixUp": {"alpha": 0.8, "per": "batch", "p": 1.0}}),
        ({"MixUp": None}, {"MixUp": {"alpha": 0.8, "per": "batch", "p": 1.0}}),
        ({"CutMix": {"p": 1, "per": "row"}}, {"CutMix": {"alpha": 1.0, "per": "row", "p": 1.0}}),
        (
            BOTH,
            {
                "OneOf": {
                    "p": 0.5,
                    "transforms": [
                        {"MixUp": {"alpha": 0.8, "per": "batch", "p": 0.25}},
                        {"CutMix": {"alpha": 0.5, "per": "row", "p": 1.0}},
                    ],
                }
            },
        ),
    ],
)
def test_mix_fills_in_what_is_left_out(written: object, canonical: object) -> None:
    mix = parse_mix(written)
    assert mix.canonical() == canonical
    assert parse_mix(mix.canonical()) == mix == pickle.loads(pickle.dumps(mix))  # noqa: S301 - our own
    assert hash(mix) == hash(parse_mix(mix.canonical()))


def test_mix_reads_yaml_and_json_and_names_the_line() -> None:
    assert parse_mix(document.parse("CutMix: {alpha: 0.5}")) == parse_mix({"CutMix": {"alpha": 0.5}})
    assert parse_mix(document.parse("MixUp")) == parse_mix("MixUp")
    with pytest.raises(PipelineError) as caught:
        parse_mix(document.parse("OneOf:\n  transforms:\n    - MixUp: {alpha: 1}\n    - CutMix: {alpha: 0}\n"))
    assert [problem.line for problem in caught.value.problems] == [4]


def test_mix_tells_every_problem_with_its_place() -> None:
    steps = ["CutMx", {"MixUp": {"alfa": 1, "alpha": 0, "per": "rows"}}, "HorizontalFlip"]
    found = problems_of({"OneOf": {"p": 2, "transforms": steps}})
    assert [loc for loc, _ in found] == [
        "mix.OneOf.p",
        "mix.OneOf.transforms.0",
        "mix.OneOf.transforms.1.MixUp.alfa",
        "mix.OneOf.transforms.1.MixUp.alpha",
        "mix.OneOf.transforms.1.MixUp.per",
        "mix.OneOf.transforms.2",
    ]
    text = "\n".join(msg for _, msg in found)
    for words in ("at most 1", "did you mean `CutMix`?", "it has alpha, per, p", "more than 0", '"batch", "row"'):
        assert words in text
    assert "belong in the pipeline" in text


@pytest.mark.parametrize(
    ("value", "loc", "words"),
    [
        (None, "mix", "a name or a mapping like {MixUp: {alpha: 0.8}}, not nothing"),
        (["MixUp"], "mix", "not a list"),
        (0.4, "mix", "not 0.4"),
        ({}, "mix", "a mapping of 0 keys"),
        ({"MixUp": {}, "CutMix": {}}, "mix", "a mapping of 2 keys"),
        ({"MixUp": 3}, "mix.MixUp", "a mapping like {p: 0.5}, not 3"),
        ({"MixUp": {"alpha": float("nan")}}, "mix.MixUp.alpha", "not a finite number"),
        ({"MixUp": {"p": True}}, "mix.MixUp.p", "it must be a number"),
        ({"CutMix": {"transforms": []}}, "mix.CutMix.transforms", "only OneOf has"),
        ({"OneOf": {}}, "mix.OneOf.transforms", "a list of MixUp and CutMix"),
        ({"OneOf": {"transforms": "MixUp"}}, "mix.OneOf.transforms", "a list of transforms"),
        ({"OneOf": {"transforms": [{"OneOf": {"transforms": ["MixUp"]}}]}}, "mix.OneOf.transforms.0", "write MixUp"),
        ({"OneOf": {"transforms": [{"MixUp": {"p": 0}}]}}, "mix.OneOf.transforms", "all weights are 0"),
        ("mosaic", "mix", "does not mix the rows of a batch"),
    ],
)
def test_mix_that_is_none_is_refused_once(value: object, loc: str, words: str) -> None:
    ((found, msg),) = problems_of(value)
    assert found == loc
    assert words in msg


def test_mix_needs_images_of_one_size() -> None:
    msg = parse_mix(BOTH).problem(frozenset({"label"}), None)
    assert msg is not None
    assert msg.startswith("MixUp and CutMix")
    assert "RandomResizedCrop" in msg
    assert parse_mix(BOTH).problem(frozenset({"label"}), RGB) is None


def test_mixup_of_class_masks_is_refused_and_cutmix_is_not() -> None:
    for value in ("MixUp", BOTH):
        msg = parse_mix(value).problem(frozenset({"mask"}), RGB)
        assert msg is not None
        assert "use CutMix" in msg
    assert parse_mix("CutMix").problem(frozenset({"mask"}), RGB) is None
    assert parse_mix("MixUp").problem(frozenset({"boxes", "instance_masks", "keypoints"}), RGB) is None


def test_mix_adds_weights_where_there_are_classes() -> None:
    assert parse_mix("MixUp").targets(frozenset({"label"})) == {"label", "labels"}
    assert parse_mix("MixUp").targets(frozenset({"boxes"})) == {"boxes"}
