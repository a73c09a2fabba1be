import hashlib
import json
import os
import pickle
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from augment.address import digest_fields
from augment.errors import CallError, PipelineError, Reason, RecordError
from augment.pipelines.spec import Node, PipelineSpec
from augment.samples.sample import Applied, Sample
from augment.transforms import albumentations_import, catalogue, limits
from augment.transforms.families import quality
from augment.transforms.runtime import compiler
from augment.transforms.runtime.compiler import Compiled
from augment.transforms.runtime.segment import UNFORESEEN, Segment
from augment.transforms.runtime.trace import INLINE_MAX, drawn
from tests.augment.transforms.catalogue_cases import compiled, node, noise_image, sample

ADDRESS: dict[str, Any] = {"seed": 0, "draw": 0, "view": 0, "key": "k"}


def container(name: str, *children: Node, **params: Any) -> Node:
    return Node(name, catalogue.fill(name, params), children)


def compose_of(transform: Compiled) -> Any:
    (segment,) = transform._steps
    assert isinstance(segment, Segment)
    return segment._compose


def everything(transform: Any) -> Iterator[Any]:
    yield transform
    for child in getattr(transform, "transforms", ()):
        if hasattr(child, "py_random"):  # ColorJitter keeps functions under that name
            yield from everything(child)


NESTED = (
    container("OneOf", container("SomeOf", node("HorizontalFlip"), node("ColorJitter"), n=1), node("Blur"), p=0.5),
    container("Sequential", container("RandomOrder", node("VerticalFlip"), node("GaussNoise"), n=2), p=1),
    container("OneOrOther", node("ToGray"), container("OneOf", node("ToSepia"))),
    node("Rotate"),
)


# ------------------------------------------------------------------------------------------------------------- chance


def test_every_node_shares_the_very_same_generators() -> None:
    transform = compiled(*NESTED)
    found = list(everything(compose_of(transform)))
    assert len(found) == 15
    assert {id(one.random_generator) for one in found} == {id(transform._chance.generator)}
    assert {id(one.py_random) for one in found} == {id(transform._chance.py_random)}


def test_generators_stay_shared_after_many_samples() -> None:
    transform = compiled(*NESTED)
    for draw in range(50):
        transform(sample(), seed=0, draw=draw, view=0, key="k")
    found = list(everything(compose_of(transform)))
    assert {id(one.random_generator) for one in found} == {id(transform._chance.generator)}
    assert {id(one.py_random) for one in found} == {id(transform._chance.py_random)}


@pytest.mark.parametrize("field", ["seed", "draw", "view", "key"])
def test_every_part_of_the_address_decides_the_pixels(field: str) -> None:
    transform = compiled(node("GaussNoise"))
    one, *_ = transform(sample(), **ADDRESS)
    other, *_ = transform(sample(), **{**ADDRESS, field: "l" if field == "key" else 1})
    assert not np.array_equal(one.image, other.image)


def test_seed_and_draw_are_not_summed() -> None:
    transform = compiled(node("GaussNoise"))
    one, *_ = transform(sample(), seed=1, draw=5, view=0, key="k")
    other, *_ = transform(sample(), seed=2, draw=4, view=0, key="k")
    assert not np.array_equal(one.image, other.image)


def test_other_processes_give_the_same_bytes() -> None:
    program = (
        "import hashlib\n"
        "from tests.augment.transforms.test_compiler import NESTED, compiled, sample\n"
        "out, *_ = compiled(*NESTED)(sample(), seed=5, draw=1, view=0, key='k')\n"
        "print(hashlib.blake2b(out.image.tobytes()).hexdigest())"
    )
    out, *_ = compiled(*NESTED)(sample(), seed=5, draw=1, view=0, key="k")
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", program]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    assert printed.strip() == hashlib.blake2b(out.image.tobytes()).hexdigest()


def test_a_compiled_pipeline_per_thread_gives_the_same_bytes() -> None:
    expected = [compiled(*NESTED)(sample(), seed=0, draw=draw, view=0, key="k")[0].image for draw in range(8)]
    results: dict[int, list[np.ndarray]] = {}

    def render(number: int) -> None:
        transform = compiled(*NESTED)
        order = list(range(8))
        random.Random(number).shuffle(order)
        images = {draw: transform(sample(), seed=0, draw=draw, view=0, key="k")[0].image for draw in order}
        results[number] = [images[draw] for draw in range(8)]

    threads = [threading.Thread(target=render, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for images in results.values():
        assert all(np.array_equal(one, other) for one, other in zip(images, expected, strict=True))


def test_empty_pipeline_gives_a_copy() -> None:
    given = sample()
    out, applied, *_ = compiled()(given, **ADDRESS)
    assert applied == ()
    assert np.array_equal(out.image, given.image)
    assert not np.shares_memory(out.image, given.image)


def test_read_only_images_are_taken_and_results_can_be_written() -> None:
    given = sample()
    given.image.flags.writeable = False
    out, *_ = compiled(node("Equalize", mode="pil"), node("InvertImg"))(given, **ADDRESS)
    out.image[0, 0] = 0


# ------------------------------------------------------------------------------------------------------------ applied


def test_applied_names_each_transform_in_its_order_with_what_was_drawn() -> None:
    transform = compiled(
        container("Sequential", node("RandomBrightnessContrast"), container("OneOf", node("RandomGamma"), p=1), p=1),
        node("HorizontalFlip", p=0.0),
        container("OneOrOther", node("ChannelShuffle"), node("ChannelShuffle")),
        node("CoarseDropout", num_holes_range=[3, 3]),
    )
    _, applied, *_ = transform(sample(), **ADDRESS)
    assert [one.name for one in applied] == [
        "RandomBrightnessContrast",
        "RandomGamma",
        "ChannelShuffle",
        "CoarseDropout",
    ]
    assert set(applied[0].params) == {"alpha", "beta"}
    assert isinstance(applied[1].params["gamma"], float)
    assert sorted(applied[2].params["channels_shuffled"]) == [0, 1, 2]  # type: ignore[call-overload]  # a list
    assert np.array(applied[3].params["holes"]).shape == (3, 4)


def test_applied_is_empty_where_nothing_was() -> None:
    _, applied, *_ = compiled(node("HorizontalFlip", p=0), container("OneOf", node("Blur"), p=0))(sample(), **ADDRESS)
    assert applied == ()


def test_the_same_transform_twice_is_applied_twice() -> None:
    _, applied, *_ = compiled(container("SomeOf", node("RandomGamma"), n=3, replace=True, p=1))(sample(), **ADDRESS)
    assert [one.name for one in applied] == ["RandomGamma"] * 3
    assert len({json.dumps(one.params) for one in applied}) == 3


def test_provenance_is_small_whatever_was_drawn() -> None:
    transform = compiled(node("GaussNoise"), node("ElasticTransform"), node("RandomFog"), node("RandomSunFlare"))
    _, applied, *_ = transform(sample(224, 224), **ADDRESS)
    assert len(json.dumps([(one.name, one.params) for one in applied])) < 4_096


def test_without_provenance_names_remain_and_pixels_are_the_same() -> None:
    spec = PipelineSpec((node("GaussNoise"), node("Rotate")))
    full, bare = compiler.Compiled(spec), compiler.Compiled(spec, provenance=False)
    one, described, *_ = full(sample(), **ADDRESS)
    other, named, *_ = bare(sample(), **ADDRESS)
    assert np.array_equal(one.image, other.image)
    assert named == tuple(Applied(found.name, {}) for found in described)


def test_drawn_shows_long_arrays_by_digest_and_long_lists_by_length() -> None:
    array = np.arange(INLINE_MAX + 2, dtype=">f4").reshape(2, -1)
    params = {
        "shape": (4, 5, 3),
        "fill": 3,
        "interpolation": 1,
        "array": array,
        "fortran": np.asfortranarray(array),
        "little": array.astype("<f4"),
        "scalar": np.float32(0.5),
        "word": np.str_("r90"),
        "infinite": float("inf"),
        "nested": {"x": (1, np.int64(2)), "y": None},
        "long": list(range(INLINE_MAX + 1)),
        "flag": np.bool_(True),
    }
    shown = drawn(params)
    digest = digest_fields(("<f4", "[2, 33]", array.astype("<f4").tobytes())).hex()
    by_digest = {"shape": [2, 33], "dtype": "float32", "digest": digest}
    assert shown == {
        "array": by_digest,
        "fortran": by_digest,
        "little": by_digest,
        "scalar": 0.5,
        "word": "r90",
        "infinite": "inf",
        "nested": {"x": [1, 2], "y": None},
        "long": {"length": 65, "digest": digest_fields((json.dumps(list(range(65))),)).hex()},
        "flag": True,
    }
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    with pytest.raises(TypeError, match="a drawn parameter is a object"):
        drawn({"thing": object()})


# ------------------------------------------------------------------------------------------------------------- errors


def test_image_a_transform_refuses_is_a_refused_record() -> None:
    transform = compiled(node("HorizontalFlip"), node("RandomCrop", height=64, width=64))
    with pytest.raises(RecordError) as caught:
        transform(sample(40, 50), seed=0, draw=0, view=0, key="a/b")
    assert caught.value.key == "a/b"
    assert caught.value.reason is Reason.NOT_RENDERABLE
    assert caught.value.detail.startswith("RandomCrop on 40 x 50 pixels: it crops 64 x 64")
    assert pickle.loads(pickle.dumps(caught.value)).detail == caught.value.detail  # noqa: S301 - our own bytes


def test_exception_of_a_library_is_never_the_reason_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("division by zero at /opt/somewhere")

    monkeypatch.setattr(quality.Downscale, "apply", fail)
    with pytest.raises(RecordError) as caught:
        compiled(node("Downscale"))(sample(2, 3), **ADDRESS)
    assert caught.value.detail == f"Downscale on 2 x 3 pixels: {UNFORESEEN}"
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_pipeline_works_on_after_a_refused_record() -> None:
    transform = compiled(node("GaussNoise"), node("RandomCrop", height=41, width=20))
    expected, *_ = transform(sample(64, 64), **ADDRESS)
    with pytest.raises(RecordError):
        transform(sample(40, 50), **ADDRESS)
    again, *_ = transform(sample(64, 64), **ADDRESS)
    assert np.array_equal(again.image, expected.image)


@pytest.mark.parametrize(
    ("given_node", "missing"),
    [
        (node("BBoxSafeRandomCrop"), "boxes"),
        (node("RandomSizedBBoxSafeCrop"), "boxes"),
        (node("CropNonEmptyMaskIfExists"), "mask"),
        (node("ConstrainedCoarseDropout"), "mask"),
        (node("ConstrainedCoarseDropout", mask_indices=None, bbox_labels=[1]), "boxes"),
    ],
)
def test_missing_target_is_named(given_node: Node, missing: str) -> None:
    with pytest.raises(RecordError, match=rf"{given_node.name} needs {missing}, which this record does not have"):
        compiled(given_node)(Sample(noise_image(40, 50)), **ADDRESS)


class Failing:
    """Transform that raises an error of the machine."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, **_: Any) -> dict[str, Any]:
        raise self.error


@pytest.mark.parametrize("error", [MemoryError("no memory"), OSError(5, "input/output error"), KeyboardInterrupt()])
def test_faults_of_the_machine_pass(error: BaseException) -> None:
    transform = compiled(node("HorizontalFlip"))
    compose_of(transform).transforms.append(Failing(error))
    with pytest.raises(type(error)):
        transform(sample(), **ADDRESS)


def test_opencv_without_memory_is_a_memory_error() -> None:
    transform = compiled(node("HorizontalFlip"))
    error = albumentations_import.cv2.error("Insufficient memory")
    error.code = albumentations_import.cv2.Error.StsNoMem
    compose_of(transform).transforms.append(Failing(error))
    with pytest.raises(MemoryError):
        transform(sample(), **ADDRESS)


def test_result_beyond_the_limit_is_refused_before_it_is_made() -> None:
    square = Sample(np.zeros((2_100, 2_100, 3), np.uint8))
    wide = Sample(np.zeros((1, 20_000, 3), np.uint8))
    for given_node, image in (
        (node("SmallestMaxSize", max_size=4_096), wide),
        (node("RandomScale", scale_limit=[7, 7]), square),
        (node("Affine", scale=[8, 8], fit_output=True), square),
        (node("Pad", padding=2_048), wide),
        (node("CropAndPad", percent=2.0, px=None), square),
    ):
        with pytest.raises(RecordError, match=rf"the limit is {limits.OUTPUT_PIXELS} \(OUTPUT_PIXELS\)"):
            compiled(given_node)(image, **ADDRESS)


def test_border_that_mirrors_boxes_too_often_is_refused() -> None:
    given_node = node("Affine", scale=[0.01, 0.01], border_mode=4)
    with pytest.raises(RecordError, match=rf"the limit is {limits.MIRROR_IMAGES} \(MIRROR_IMAGES\)"):
        compiled(given_node)(sample(), **ADDRESS)
    without = sample()
    without.boxes = without.box_labels = None
    out, *_ = compiled(given_node)(without, **ADDRESS)
    assert out.image.shape == (40, 50, 3)


@pytest.mark.parametrize(
    ("nodes", "loc", "words"),
    [
        ((Node("Rotat", {}),), ("transforms", 0, "Rotat"), "did you mean `Rotate`?"),
        ((Node("Rotate", {"limit": 999}),), ("transforms", 0, "Rotate", "limit"), "must be at most 360"),
        ((Node("OneOf", {}),), ("transforms", 0, "OneOf"), "needs at least one transform"),
        ((container("OneOf", node("Blur", p=0)),), ("transforms", 0, "OneOf"), "needs a child with p above 0"),
        (
            (node("Blur"), container("Sequential", Node("Blur", {"p": 2}))),
            ("transforms", 1, "Sequential", "transforms", 0, "Blur", "p"),
            "is 2; it must be at most 1",
        ),
        ((Node("Blur", {}, (node("Blur"),)),), ("transforms", 0, "Blur"), "is not a container"),
    ],
)
def test_pipeline_that_cannot_be_built_is_refused_at_its_place(
    nodes: tuple[Node, ...], loc: tuple[str | int, ...], words: str
) -> None:
    with pytest.raises(PipelineError) as caught:
        compiled(*nodes)
    assert caught.value.problems[0].loc == loc
    assert words in caught.value.problems[0].msg


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_image_of_another_kind_is_refused(image: np.ndarray) -> None:
    with pytest.raises(CallError, match="an image is uint8"):
        compiled(node("HorizontalFlip"))(Sample(image), **ADDRESS)
