"""Contract of every transform of the catalogue."""

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from augment.errors import Reason, RecordError
from augment.pipelines.spec import Node
from augment.samples.sample import Sample
from augment.transforms.albumentations_import import cv2
from augment.transforms.catalogue import ParamsError, catalogue, fill
from tests.augment.transforms.catalogue_cases import EVERY, LEAVES, MOVING, compiled, movable, node, noise_image, sample

SIZES = ((1, 1), (2, 3), (33, 65), (7, 100), (96, 96))
CATALOGUE = catalogue()


def digest(rendered: Sample) -> str:
    hasher = hashlib.blake2b()
    for field in fields(rendered):
        value = getattr(rendered, field.name)
        hasher.update(f"{field.name} {getattr(value, 'shape', value)}".encode())
        hasher.update(value.tobytes() if isinstance(value, np.ndarray) else b"")
    return hasher.hexdigest()


@pytest.mark.parametrize("name", EVERY)
def test_result_is_a_contiguous_uint8_image_of_its_own_at_any_size(name: str) -> None:
    transform = compiled(node(name))
    for height, width in SIZES:
        given = movable(name, sample(height, width))
        refused: RecordError | None = None
        try:
            rendered, *_ = transform(given, seed=0, draw=0, view=0, key="k")
        except RecordError as error:
            refused = error
        if refused is not None:
            assert (refused.key, refused.reason) == ("k", Reason.NOT_RENDERABLE)
            assert refused.detail.startswith(f"{name} on {height} x {width} pixels: ")
            assert height < 33, f"an image of ordinary size is refused: {refused}"
            continue
        assert rendered.image.dtype == np.uint8
        assert rendered.image.ndim == 3
        assert rendered.image.shape[2] == 3
        assert rendered.image.flags.c_contiguous
        if given.mask is not None:
            assert rendered.mask is not None
            assert rendered.mask.shape == rendered.image.shape[:2]
            assert rendered.mask.dtype == np.int64
        assert rendered.label == 5
        for field in ("image", "mask", "boxes", "box_labels", "keypoints"):
            if getattr(given, field) is not None:
                assert not np.shares_memory(getattr(rendered, field), getattr(given, field)), field


@pytest.mark.parametrize("name", EVERY)
def test_given_sample_is_left_as_it_was(name: str) -> None:
    transform = compiled(node(name))
    grey = noise_image(40, 50)
    grey[..., 1] = grey[..., 2] = grey[..., 0]
    for image in (noise_image(40, 50), grey, np.zeros((40, 50, 3), np.uint8)):
        given, untouched = movable(name, sample()), movable(name, sample())
        given.image, untouched.image = image.copy(), image.copy()
        for draw in range(3):
            transform(given, seed=0, draw=draw, view=0, key="k")
        assert digest(given) == digest(untouched)


@pytest.mark.parametrize("name", EVERY)
def test_same_address_gives_same_bytes_after_any_other_sample(name: str) -> None:
    transform, other = compiled(node(name)), compiled(node(name))
    given = movable(name, sample())
    addresses = [(draw, key) for draw in range(3) for key in ("a", "b")]

    def render(transform: Callable[..., Any], draw: int, key: str) -> tuple[str, str]:
        rendered, applied, *_ = transform(given, seed=1, draw=draw, view=0, key=key)
        return digest(rendered), json.dumps([(one.name, one.params) for one in applied], allow_nan=False)

    first = {address: render(transform, *address) for address in addresses}
    for address in reversed(addresses):
        transform(movable(name, sample(45, 52, seed=9)), seed=7, draw=address[0], view=3, key="between")
        assert render(transform, *address) == first[address]
        assert render(other, *address) == first[address]


@pytest.fixture
def poisoned() -> Iterator[Callable[[int], None]]:
    """Yield calls that change the state of every global generator that a library might read."""
    before = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global one is the point

    def poison(seed: int) -> None:
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the global one is the point
        cv2.setRNGSeed(seed)

    yield poison
    random.setstate(before[0])
    np.random.set_state(before[1])  # noqa: NPY002 - the global one is the point


@pytest.mark.parametrize("name", EVERY)
def test_no_global_generator_is_read_or_moved(name: str, poisoned: Callable[[int], None]) -> None:
    digests = set()
    for seed in (1, 2):
        transform = compiled(node(name))
        poisoned(seed)
        for draw in range(2):
            rendered, *_ = transform(movable(name, sample()), seed=0, draw=draw, view=0, key="k")
            digests.add((draw, digest(rendered)))
        after = random.random(), np.random.random()  # noqa: NPY002 - the global one is the point
        poisoned(seed)
        assert after == (random.random(), np.random.random())  # noqa: NPY002 - the global one is the point
    assert len(digests) == 2


def variants() -> Iterator[tuple[str, str, Any]]:
    """Yield every transform with each choice, flag and null that is not its default, one at a time."""
    for name in LEAVES:
        usual = node(name).params
        for key, inner in CATALOGUE[name].schema["properties"].items():
            branches = inner.get("anyOf", [inner])
            options = [option["const"] for branch in branches for option in branch.get("oneOf", ())]
            options += [value for branch in branches if branch.get("type") == "boolean" for value in (True, False)]
            options += [None for branch in branches if branch.get("type") == "null"]
            yield from ((name, key, value) for value in options if value != usual[key])


def buildable() -> Iterator[Any]:
    for name, key, value in variants():
        try:
            yield pytest.param(node(name, **{key: value}), id=f"{name}-{key}-{value}")
        except ParamsError as error:  # a rule between parameters forbids it alone
            assert {place for place, _ in error.problems} == {()}  # noqa: PT017 - not the exception of a test


@pytest.mark.parametrize("given_node", list(buildable()))
def test_every_variant_is_a_function_of_the_address_alone(given_node: Node, poisoned: Callable[[int], None]) -> None:
    given, untouched = movable(given_node.name, sample(48, 56)), movable(given_node.name, sample(48, 56))
    digests = set()
    for seed in (1, 2):
        transform = compiled(given_node)
        poisoned(seed)
        if seed == 2:
            transform(movable(given_node.name, sample(50, 60, seed=3)), seed=9, draw=9, view=0, key="before")
        rendered, *_ = transform(given, seed=0, draw=0, view=0, key="k")
        assert rendered.image.dtype == np.uint8
        digests.add(digest(rendered))
    assert len(digests) == 1
    assert digest(given) == digest(untouched)


@pytest.mark.parametrize("name", EVERY)
def test_number_of_opencv_threads_does_not_matter(name: str) -> None:
    threads = cv2.getNumThreads()
    digests = set()
    try:
        for number in (1, 2, 5):
            cv2.setNumThreads(number)
            rendered, *_ = compiled(node(name))(movable(name, sample(150, 130)), seed=0, draw=0, view=0, key="k")
            digests.add(digest(rendered))
    finally:
        cv2.setNumThreads(threads)
    assert len(digests) == 1


@pytest.mark.parametrize("name", EVERY)
def test_parameters_survive_json(name: str) -> None:
    params = node(name).params
    again = json.loads(json.dumps(params))
    assert again == params
    assert fill(name, again) == params


@pytest.mark.parametrize("name", [name for name in LEAVES if CATALOGUE[name].targets == {"image"}])
def test_targets_stay_exactly_where_only_the_image_changes(name: str) -> None:
    given = movable(name, sample())
    rendered, *_ = compiled(node(name))(given, seed=0, draw=0, view=0, key="k")
    for field in ("mask", "boxes", "box_labels", "keypoints"):
        assert np.array_equal(getattr(rendered, field), getattr(given, field))


@pytest.mark.parametrize("name", [name for name in LEAVES if name not in MOVING])
def test_pixels_that_do_not_move_keep_the_size(name: str) -> None:
    rendered, *_ = compiled(node(name))(movable(name, sample()), seed=0, draw=0, view=0, key="k")
    assert rendered.image.shape == (40, 50, 3)


# --------------------------------------------------------------------------------------- targets follow drawn pixels
