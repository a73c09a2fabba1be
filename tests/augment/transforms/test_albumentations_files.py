"""Files written by Albumentations itself."""

import io
import json
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augment.errors import PipelineError, Problem
from augment.normalize.section import parse as parse_section
from augment.pipelines.document import Loc, parse
from augment.pipelines.spec import PipelineSpec
from augment.transforms.albumentations_import import A
from augment.transforms.catalogue import catalogue
from augment.transforms.resolve import resolve
from tests.augment.transforms.catalogue_cases import LEAVES, NEEDED, values

OF_ALBUMENTATIONS = [name for name in LEAVES if hasattr(A, name)]


def built(name: str, *args: Any, **params: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two transforms complain whenever they are built
        return getattr(A, name)(*args, **params)


def saved(transform: Any, data_format: str) -> str:
    buffer = io.StringIO()
    A.save(transform, buffer, data_format=data_format)
    return buffer.getvalue()


def problems(source: Any) -> tuple[Problem, ...]:
    with pytest.raises(PipelineError) as caught:
        resolve(parse(source) if isinstance(source, str) else source)
    return caught.value.problems


@pytest.mark.parametrize("data_format", ["json", "yaml"])
@pytest.mark.parametrize("name", OF_ALBUMENTATIONS)
def test_what_albumentations_saves_is_what_one_would_write(name: str, data_format: str) -> None:
    params = dict(NEEDED.get(name, {}))
    file = saved(built("Compose", [built(name, **params)]), data_format)
    imported = resolve(parse(file))
    by_hand = resolve([{name: params}])
    assert imported.canonical() == by_hand.canonical()
    assert imported.digest == by_hand.digest
    assert imported.notices == ()


@pytest.mark.parametrize("name", [name for name in OF_ALBUMENTATIONS if name != "ShiftScaleRotate"])
def test_any_arguments_survive_albumentations_file(name: str) -> None:
    """Excludes empty lists, which it does not write; null means the same for the one argument that may be empty."""
    properties = catalogue()[name].schema["properties"]

    @given(st.fixed_dictionaries({}, optional={key: values(schema) for key, schema in properties.items()}))
    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    def survives(params: dict[str, Any]) -> None:
        params = dict(NEEDED.get(name, {})) | {key: value for key, value in params.items() if value != []}
        try:
            by_hand = resolve([{name: params}])
        except PipelineError:
            return  # a rule between parameters
        assert resolve(parse(saved(built("Compose", [built(name, **params)]), "json"))) == by_hand

    survives()


@pytest.mark.parametrize(
    "params",
    [{"scale_limit": 0.3}, {"scale_limit": [-0.123, 7]}, {"shift_limit": 0.2}, {"shift_limit": [0, 0.1], "p": 1}],
)
def test_arguments_that_albumentations_writes_changed_are_changed_back(params: dict[str, Any]) -> None:
    file = saved(built("ShiftScaleRotate", **params), "json")
    assert resolve(parse(file)) == resolve([{"ShiftScaleRotate": params}])


NESTED = """\
transforms:
  - OneOf: {p: 0.3, transforms: [GaussNoise, {GaussianBlur: {p: 0.2}}]}
  - SomeOf: {n: 2, replace: true, p: 0.9, transforms: [HorizontalFlip, VerticalFlip, Transpose]}
  - RandomOrder: {n: 1, transforms: [InvertImg, Sequential: {p: 0.7, transforms: [ToGray]}]}
  - OneOrOther: {p: 0.4, transforms: [Rotate, SafeRotate: {limit: 10}]}
  - Sequential: {p: 0.6, transforms: [RandomCrop: {height: 32, width: 48}]}
"""


def nested() -> Any:
    return built(
        "Compose",
        [
            A.OneOf([A.GaussNoise(), A.GaussianBlur(p=0.2)], p=0.3),
            A.SomeOf([A.HorizontalFlip(), A.VerticalFlip(), A.Transpose()], n=2, replace=True, p=0.9),
            A.RandomOrder([A.InvertImg(), A.Sequential([A.ToGray()], p=0.7)], n=1),
            A.OneOrOther(A.Rotate(), A.SafeRotate(limit=10), p=0.4),
            A.Compose([A.RandomCrop(32, 48)], p=0.6),
        ],
    )


@pytest.mark.parametrize("data_format", ["json", "yaml"])
def test_containers_are_imported(data_format: str) -> None:
    assert resolve(parse(saved(nested(), data_format))).canonical() == resolve(parse(NESTED)).canonical()


def test_values_are_imported_like_text() -> None:
    document = A.to_dict(nested())
    assert resolve(document) == resolve(document["transform"]) == resolve(parse(NESTED))


def test_class_names_may_have_their_module() -> None:
    long = {"__class_fullname__": "albumentations.augmentations.geometric.flip.HorizontalFlip", "p": 0.5}
    root = {"__class_fullname__": "albumentations.core.composition.Compose", "p": 1.0, "transforms": [long]}
    assert resolve({"__version__": "1.3.1", "transform": root}) == resolve(["HorizontalFlip"])


def test_a_root_that_is_no_compose_is_a_pipeline_of_one() -> None:
    assert resolve(A.to_dict(A.HorizontalFlip(p=0.2))) == resolve([{"HorizontalFlip": {"p": 0.2}}])
    replay = built("ReplayCompose", [A.HorizontalFlip(p=0.2)])
    assert resolve(A.to_dict(replay)) == resolve([{"HorizontalFlip": {"p": 0.2}}])


def test_a_compose_that_is_not_always_applied_is_a_sequential() -> None:
    assert resolve(A.to_dict(A.Compose([A.HorizontalFlip()], p=0.5))) == resolve(
        [{"Sequential": {"p": 0.5, "transforms": ["HorizontalFlip"]}}]
    )


NORMALIZE = {"__class_fullname__": "Normalize", "p": 1.0, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1]}
TO_TENSOR = {"__class_fullname__": "albumentations.pytorch.transforms.ToTensorV2", "transpose_mask": False, "p": 1.0}
FLIP = {"__class_fullname__": "HorizontalFlip", "p": 0.5}


def compose(*transforms: Any, name: str = "Compose", **arguments: Any) -> dict[str, Any]:
    return {"__class_fullname__": name, "p": 1.0, "transforms": list(transforms), **arguments}


def file(*transforms: Any, **arguments: Any) -> str:
    return json.dumps({"__version__": "2.0.8", "transform": compose(*transforms, **arguments)}, indent=1)


def test_a_normalize_at_the_end_moves_to_its_section() -> None:
    written = saved(
        built("Compose", [A.HorizontalFlip(), A.Normalize(mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1))]), "yaml"
    )
    for text in (written, file(FLIP, NORMALIZE, TO_TENSOR), file(compose(FLIP), compose(NORMALIZE, TO_TENSOR))):
        spec = resolve(parse(text))
        assert spec.normalize == {
            "method": "standard",
            "mean": [0.5, 0.4, 0.3],
            "std": [0.2, 0.2, 0.1],
            "max_pixel_value": 255.0,
        }
        assert any("`Normalize` is moved to `normalize:`" in notice for notice in spec.notices)
        assert any("`ToTensorV2` is dropped" in notice for notice in spec.notices) == ("ToTensorV2" in text)
    assert [node.name for node in resolve(parse(written)).transforms] == ["HorizontalFlip"]


UNIT = {"method": "min_max", "input": [0.0, 255.0], "output": [0.0, 1.0], "clip": False}


@pytest.mark.parametrize(
    ("max_value", "section"),
    [
        (None, UNIT),
        (255.0, UNIT),
        (100, {"method": "standard", "mean": [0.0] * 3, "std": [1.0] * 3, "max_pixel_value": 100.0}),
    ],
)
def test_to_float_at_the_end_is_a_section_too(max_value: float | None, section: dict[str, Any]) -> None:
    spec = resolve(A.to_dict(A.Compose([A.HorizontalFlip(), A.ToFloat(max_value=max_value, p=1.0)])))
    assert spec.normalize == section
    assert len(spec.notices) == 1


FLAT = np.full((8, 9, 3), 77, np.uint8)
SPIKE = FLAT.copy()
SPIKE[3, 4] = [78, 255, 0]


@pytest.mark.parametrize("word", ["standard", "image", "image_per_channel", "min_max", "min_max_per_channel"])
def test_floats_of_a_normalize_that_is_moved_are_those_of_albumentations(word: Any) -> None:
    theirs = A.Normalize(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), normalization=word)
    section = resolve(A.to_dict(A.Compose([A.HorizontalFlip(), theirs]))).normalize
    assert section is not None
    ours = parse_section(section)
    assert ours.canonical() == section
    noise = np.random.default_rng(3).integers(20, 200, (31, 17, 3), np.uint8)
    for image in (noise, SPIKE, FLAT):
        np.testing.assert_allclose(ours.apply(image), theirs(image=image)["image"], rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("transforms", "loc", "message"),
    [
        ([NORMALIZE, FLIP], ("transform", "transforms", 0), "write it as `normalize:`"),
        ([TO_TENSOR, FLIP], ("transform", "transforms", 0), "leave it out"),
        ([compose(NORMALIZE, p=0.5)], ("transform", "transforms", 0, "transforms", 0), "write it as `normalize:`"),
        ([NORMALIZE, NORMALIZE], ("transform", "transforms", 0), "write it as `normalize:`"),
        ([NORMALIZE | {"p": 0.5}], ("transform", "transforms", 0, "p"), "every sample is normalised"),
        (
            [NORMALIZE | {"normalization": "z"}],
            ("transform", "transforms", 0, "normalization"),
            "has `standard`, ",
        ),
        ([NORMALIZE | {"std": [0, 0, 0]}], ("transform", "transforms", 0, "std"), "is not three numbers"),
    ],
)
def test_what_makes_floats_elsewhere_is_refused(transforms: Any, loc: tuple[str | int, ...], message: str) -> None:
    found = {problem.loc: problem for problem in problems(file(*transforms))}
    assert message in found[loc].msg


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"bbox_params": {"format": "coco", "label_fields": ["a"]}},
            "`bbox_params` is dropped: the dataset defines how targets are written",
        ),
        ({"keypoint_params": {"format": "xy"}}, "`keypoint_params` is dropped"),
        ({"additional_targets": {"image2": "image"}}, "`additional_targets` is dropped"),
        ({"seed": 137}, "`seed` is dropped"),
        ({"mask_interpolation": 1}, "`mask_interpolation` is dropped"),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_what_belongs_elsewhere_is_dropped_and_said(arguments: dict[str, Any], message: str, inside: bool) -> None:
    spec = resolve(parse(file(compose(FLIP, **arguments)) if inside else file(FLIP, **arguments)))
    (notice,) = spec.notices
    assert message in notice
    assert notice.startswith("line ")


def test_real_bbox_and_keypoint_params_are_dropped() -> None:
    transform = A.Compose(
        [A.HorizontalFlip()],
        bbox_params=A.BboxParams("coco", label_fields=["labels"]),
        keypoint_params=A.KeypointParams("xy"),
        additional_targets={"image2": "image"},
        seed=137,
    )
    spec = resolve(A.to_dict(transform))
    assert spec == resolve(["HorizontalFlip"])
    assert len(spec.notices) == 3  # Albumentations does not write the seed


def test_a_transform_without_p_is_read_as_albumentations_reads_it() -> None:
    spec = resolve(compose({"__class_fullname__": "Resize", "height": 8, "width": 8}))
    assert spec.transforms[0].params["p"] == 0.5
    assert "`Resize` has no p" in spec.notices[0]


@pytest.mark.parametrize(
    ("transform", "loc", "message"),
    [
        ({"__class_fullname__": "HorizontalFlip", "p": 1, "always_apply": False}, ("always_apply",), "write `p: 1.0`"),
        (
            {"__class_fullname__": "RandomResizedCrop", "p": 1, "height": 8, "width": 8},
            ("height",),
            "`size: [height, width]`",
        ),
        ({"__class_fullname__": "Blurr", "p": 1}, (), "did you mean `Blur`?"),
        ({"__class_fullname__": "mylab.transforms.Secret", "p": 1}, ("__class_fullname__",), "cannot name code"),
        ({"__class_fullname__": "Lambda", "__name__": "f", "p": 1}, (), "a pipeline names no code"),
        ({"p": 1}, (), "`__class_fullname__` is missing"),
        ("HorizontalFlip", (), "a transform is a mapping with `__class_fullname__`"),
        ({"__class_fullname__": "OneOf", "p": 1, "transforms": 3}, ("transforms",), "is a list of transforms, not 3"),
    ],
)
def test_problems_point_into_the_file(transform: Any, loc: tuple[str, ...], message: str) -> None:
    found = {problem.loc: problem for problem in problems(file(FLIP, transform))}
    place: Loc = ("transform", "transforms", 1, *loc)
    assert message in found[place].msg
    assert (found[place].line or 0) > 9


@pytest.mark.parametrize("root", [{"__version__": "2.0.8"}, {"__version__": "2.0.8", "transform": [3]}, compose(sed=1)])
def test_broken_files_are_refused(root: Any) -> None:
    assert problems(root)


def test_a_pipeline_of_ours_is_not_taken_for_theirs() -> None:
    spec = resolve({"name": "transform", "transforms": [], "description": "__version__"})
    assert isinstance(spec, PipelineSpec)
    assert spec.name == "transform"
