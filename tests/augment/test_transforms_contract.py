"""What holds for every transform of the catalogue, whatever it does."""

import hashlib
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from scipy import ndimage, stats

from augment.errors import Reason, RecordError
from augment.pipeline import Node
from augment.sample import Sample
from augment.transforms import catalogue
from augment.transforms.library import cv2
from tests.augment.catalogue_cases import LEAVES, MOVING, compiled, node, noise_image, sample, some

SIZES = ((1, 1), (2, 3), (33, 65), (7, 100), (96, 96))
CATALOGUE = catalogue.catalogue()
EVERY = tuple(CATALOGUE)


def digest(rendered: Sample) -> str:
    hasher = hashlib.blake2b()
    for field in fields(rendered):
        value = getattr(rendered, field.name)
        hasher.update(f"{field.name} {getattr(value, 'shape', value)}".encode())
        hasher.update(value.tobytes() if isinstance(value, np.ndarray) else b"")
    return hasher.hexdigest()


@pytest.mark.parametrize("name", EVERY)
def test_result_is_a_contiguous_uint8_picture_of_its_own_at_any_size(name: str) -> None:
    transform = compiled(node(name))
    for height, width in SIZES:
        given = sample(height, width)
        refused: RecordError | None = None
        try:
            rendered, _ = transform(given, seed=0, draw=0, view=0, key="k")
        except RecordError as error:
            refused = error
        if refused is not None:
            assert (refused.key, refused.reason) == ("k", Reason.NOT_RENDERABLE)
            assert refused.detail.startswith(f"{name} on {height} x {width} pixels: ")
            assert height < 33, f"a picture of ordinary size is refused: {refused}"
            continue
        assert rendered.image.dtype == np.uint8
        assert rendered.image.ndim == 3
        assert rendered.image.shape[2] == 3
        assert rendered.image.flags.c_contiguous
        assert rendered.mask is not None
        assert rendered.mask.shape == rendered.image.shape[:2]
        assert rendered.mask.dtype == np.int64
        assert rendered.label == 5
        for field in ("image", "mask", "boxes", "box_labels", "keypoints"):
            assert not np.shares_memory(getattr(rendered, field), getattr(given, field)), field


@pytest.mark.parametrize("name", EVERY)
def test_given_sample_is_left_as_it_was(name: str) -> None:
    transform = compiled(node(name))
    grey = noise_image(40, 50)
    grey[..., 1] = grey[..., 2] = grey[..., 0]
    for image in (noise_image(40, 50), grey, np.zeros((40, 50, 3), np.uint8)):
        given, untouched = sample(), sample()
        given.image, untouched.image = image.copy(), image.copy()
        for draw in range(3):
            transform(given, seed=0, draw=draw, view=0, key="k")
        assert digest(given) == digest(untouched)


@pytest.mark.parametrize("name", EVERY)
def test_same_address_gives_same_bytes_after_any_other_sample(name: str) -> None:
    transform, other = compiled(node(name)), compiled(node(name))
    given = sample()
    addresses = [(draw, key) for draw in range(3) for key in ("a", "b")]

    def render(transform: Callable[..., Any], draw: int, key: str) -> tuple[str, str]:
        rendered, applied = transform(given, seed=1, draw=draw, view=0, key=key)
        return digest(rendered), json.dumps([(one.name, one.params) for one in applied], allow_nan=False)

    first = {address: render(transform, *address) for address in addresses}
    for address in reversed(addresses):
        transform(sample(45, 52, seed=9), seed=7, draw=address[0], view=3, key="between")
        assert render(transform, *address) == first[address]
        assert render(other, *address) == first[address]


@pytest.fixture
def poisoned() -> Iterator[Callable[[int], None]]:
    """A call that puts every global generator a library might read into another state."""
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
            rendered, _ = transform(sample(), seed=0, draw=draw, view=0, key="k")
            digests.add((draw, digest(rendered)))
        after = random.random(), np.random.random()  # noqa: NPY002 - the global one is the point
        poisoned(seed)
        assert after == (random.random(), np.random.random())  # noqa: NPY002 - the global one is the point
    assert len(digests) == 2


def variants() -> Iterator[tuple[str, str, Any]]:
    """Every transform with each choice, flag and null that is not its default, one at a time."""
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
        except catalogue.ParamsError as error:  # a rule between parameters forbids it alone
            assert {place for place, _ in error.problems} == {()}  # noqa: PT017 - not the exception of a test


@pytest.mark.parametrize("given_node", list(buildable()))
def test_every_variant_is_a_function_of_the_address_alone(given_node: Node, poisoned: Callable[[int], None]) -> None:
    given, untouched = sample(48, 56), sample(48, 56)
    digests = set()
    for seed in (1, 2):
        transform = compiled(given_node)
        poisoned(seed)
        if seed == 2:
            transform(sample(50, 60, seed=3), seed=9, draw=9, view=0, key="before")
        rendered, _ = transform(given, seed=0, draw=0, view=0, key="k")
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
            rendered, _ = compiled(node(name))(sample(150, 130), seed=0, draw=0, view=0, key="k")
            digests.add(digest(rendered))
    finally:
        cv2.setNumThreads(threads)
    assert len(digests) == 1


@pytest.mark.parametrize("name", EVERY)
def test_parameters_survive_json(name: str) -> None:
    params = node(name).params
    again = json.loads(json.dumps(params))
    assert again == params
    assert catalogue.fill(name, again) == params


@pytest.mark.parametrize("name", [name for name in LEAVES if CATALOGUE[name].targets == {"image"}])
def test_targets_stay_exactly_where_only_the_picture_changes(name: str) -> None:
    given = sample()
    rendered, _ = compiled(node(name))(given, seed=0, draw=0, view=0, key="k")
    for field in ("mask", "boxes", "box_labels", "keypoints"):
        assert np.array_equal(getattr(rendered, field), getattr(given, field))


@pytest.mark.parametrize("name", [name for name in LEAVES if name not in MOVING])
def test_pixels_that_do_not_move_keep_the_size(name: str) -> None:
    rendered, _ = compiled(node(name))(sample(), seed=0, draw=0, view=0, key="k")
    assert rendered.image.shape == (40, 50, 3)


# --------------------------------------------------------------------------------------- targets follow drawn pixels

HEIGHT, WIDTH = 120, 160
STRONGER: dict[str, dict[str, Any]] = {
    "Affine": {"scale": [0.8, 1.2], "rotate": [-30, 30], "shear": [-10, 10], "translate_percent": [-0.1, 0.1]},
    "AtLeastOneBBoxRandomCrop": {"height": 90, "width": 110},
    "CenterCrop": {"height": 110, "width": 150},
    "Crop": {"x_min": 5, "y_min": 3, "x_max": 150, "y_max": 100},
    "CropAndPad": {"px": [-12, 12]},
    "CropNonEmptyMaskIfExists": {"height": 90, "width": 110},
    "ElasticTransform": {"alpha": 150, "sigma": 12},
    "GridElasticDeform": {"num_grid_xy": [4, 4], "magnitude": 6},
    "LongestMaxSize": {"max_size": 200},
    "OpticalDistortion": {"distort_limit": 0.3},
    "Pad": {"padding": [5, 8, 11, 3]},
    "PadIfNeeded": {"min_height": 150, "min_width": 200},
    "PiecewiseAffine": {"scale": [0.08, 0.1]},
    "RandomCrop": {"height": 90, "width": 110},
    "RandomResizedCrop": {"size": [100, 140], "scale": [0.5, 1]},
    "RandomSizedBBoxSafeCrop": {"height": 100, "width": 130},
    "RandomSizedCrop": {"min_max_height": [80, 110], "size": [100, 100]},
    "Resize": {"height": 90, "width": 200},
    "SmallestMaxSize": {"max_size": 90},
    "ThinPlateSpline": {"scale_range": [0.05, 0.1]},
}
EXACT = 1e-3
RESAMPLED = 1.0
"""Albumentations scales keypoints and box edges from the picture's corner, pixels from their middles: half a pixel of
the larger picture apart, and a nearest neighbour is off by another half."""

BENDING = (
    "ElasticTransform",
    "GridDistortion",
    "GridElasticDeform",
    "OpticalDistortion",
    "PiecewiseAffine",
    "ThinPlateSpline",
)
BOX_TOLERANCE_PX: dict[str, float] = {"Morphological": 1.5, "SafeRotate": 1.6} | dict.fromkeys(BENDING, EXACT)
KEYPOINT_TOLERANCE_PX: dict[str, float] = dict.fromkeys(BENDING, 6.0)
"""A keypoint's distance from the middle of the blob it stood in: a bent blob has another middle. That the keypoint
itself is right to the pixel is tested with its field."""
EXACT_NAMES = frozenset(
    {
        "AtLeastOneBBoxRandomCrop",
        "BBoxSafeRandomCrop",
        "CenterCrop",
        "Crop",
        "CropNonEmptyMaskIfExists",
        "D4",
        "HorizontalFlip",
        "Pad",
        "PadIfNeeded",
        "RandomCrop",
        "RandomCropFromBorders",
        "RandomRotate90",
        "SquareSymmetry",
        "Transpose",
        "VerticalFlip",
    }
)


def blobs() -> Sample:
    """Six rectangles, each drawn in its own colour and class, with a box about it and a keypoint in its middle."""
    mask = np.zeros((HEIGHT, WIDTH), np.int64)
    boxes, keypoints = [], []
    for index, (y, x) in enumerate(itertools.product((15, 70), (15, 65, 115)), start=1):
        mask[y : y + 24, x : x + 20] = index
        boxes.append([x, y, x + 20, y + 24])
        keypoints.append([x + 9.5, y + 11.5])
    image = np.stack([mask * 40, mask * 20, 255 - mask * 30], axis=-1).astype(np.uint8)
    return Sample(
        image,
        mask=mask,
        boxes=np.array(boxes, np.float32),
        box_labels=np.arange(1, 7),
        keypoints=np.array(keypoints, np.float32),
    )


def oracle_params(name: str, **more: Any) -> dict[str, Any]:
    """Nearest neighbour for the picture too, and borders of class 0's colour, so that pixels name their class."""
    known = CATALOGUE[name].schema["properties"]
    nearest = 6 if name == "RandomCropKeepSize" else 0  # its masks use the exact one
    fill = 0 if name == "CropAndPad" else [0, 0, 255]
    wanted = {"interpolation": nearest, "mask_interpolation": 0, "fill": fill, **STRONGER.get(name, {}), **more}
    return {key: value for key, value in wanted.items() if key in known}


def whole_blobs(mask: np.ndarray) -> dict[int, list[tuple[np.ndarray, np.ndarray]]]:
    """The box and the middle of each connected part of each class that does not touch the frame."""
    found: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    for index in range(1, 7):
        parts, count = ndimage.label(mask == index)
        for part in range(1, count + 1):
            y, x = np.nonzero(parts == part)
            if min(y.min(), x.min()) > 1 and y.max() < mask.shape[0] - 2 and x.max() < mask.shape[1] - 2:
                box = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
                found.setdefault(index, []).append((box, np.array([x.mean(), y.mean()])))
    return found


@pytest.mark.parametrize("border_mode", [0, 4])
@pytest.mark.parametrize("name", [name for name in MOVING if name != "RandomGridShuffle"])
def test_targets_follow_drawn_pixels(name: str, border_mode: int) -> None:
    if border_mode and "border_mode" not in CATALOGUE[name].schema["properties"]:
        return
    transform = compiled(node(name, **oracle_params(name, border_mode=border_mode)))
    tolerance = EXACT if name in EXACT_NAMES else RESAMPLED
    seen = 0
    for draw in range(8):
        given = blobs()
        rendered, _ = transform(given, seed=1, draw=draw, view=0, key="k")
        assert rendered.mask is not None
        assert rendered.boxes is not None
        assert rendered.box_labels is not None
        assert rendered.keypoints is not None
        if not (name == "CropAndPad" and border_mode == 0):  # its fill is one value for all channels
            assert np.array_equal(rendered.image[..., 0], (rendered.mask * 40).astype(np.uint8))
        assert rendered.keypoints.shape == (6, 2)
        for index, parts in whole_blobs(rendered.mask).items():
            boxes = rendered.boxes[rendered.box_labels == index]
            corners = np.array([box for box, _ in parts])
            union = np.concatenate([corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)])
            for box in corners:  # a fold shows an object twice, and one box then holds both
                distance = min(np.abs(boxes - box).max(axis=1).min(), np.abs(boxes - union).max(axis=1).min())
                assert distance <= BOX_TOLERANCE_PX.get(name, tolerance), (draw, index)
            keypoint = rendered.keypoints[index - 1]
            nearest = min(np.abs(keypoint - middle).max() for _, middle in parts)
            inside = (keypoint >= 0).all() and (keypoint < rendered.mask.shape[::-1]).all()
            if inside:
                assert nearest <= KEYPOINT_TOLERANCE_PX.get(name, tolerance), (draw, index)
                seen += 1
    assert seen >= 12


def test_shuffled_tiles_carry_their_targets() -> None:
    transform = compiled(node("RandomGridShuffle", grid=[2, 2]))
    points = np.array([[10, 5], [100, 20], [30, 100], [150, 110], [-3, 4]], dtype=np.float32)
    for draw in range(8):
        image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        for index, (x, y) in enumerate(points[:4].astype(int), start=1):
            image[y, x] = index
        given = Sample(image, mask=image[..., 0].astype(np.int64), keypoints=points)
        rendered, _ = transform(given, seed=1, draw=draw, view=0, key="k")
        assert rendered.mask is not None
        assert rendered.keypoints is not None
        assert np.array_equal(rendered.mask, rendered.image[..., 0])
        for index, (x, y) in enumerate(rendered.keypoints[:4].astype(int), start=1):
            assert rendered.mask[y, x] == index
        assert np.array_equal(rendered.keypoints[4], points[4])


def test_shuffled_tiles_cut_boxes_and_join_what_touches_again() -> None:
    transform = compiled(node("RandomGridShuffle", grid=[3, 4]))
    counts = set()
    for draw in range(12):
        given = blobs()
        rendered, _ = transform(given, seed=1, draw=draw, view=0, key="k")
        assert rendered.mask is not None
        for index in range(1, 7):
            parts, count = ndimage.label(rendered.mask == index, structure=np.ones((3, 3)))
            boxes = some(rendered.boxes)[some(rendered.box_labels) == index]
            expected = {(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(parts)}
            assert {tuple(box) for box in np.rint(boxes).astype(int).tolist()} == expected
            assert len(boxes) == count
            counts.add(count)
    assert len(counts) > 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.int64, np.uint32])
@pytest.mark.parametrize("name", MOVING)
def test_mask_of_any_integer_type_keeps_type_and_classes(name: str, dtype: type[np.integer]) -> None:
    given = sample()
    assert given.mask is not None
    classes = np.array([0, 1, 200, 255 if dtype == np.uint8 else 30_000])
    given.mask = classes[given.mask].astype(dtype)
    needed = {"mask_indices": [1, 200]} if name == "ConstrainedCoarseDropout" else {}
    rendered, _ = compiled(node(name, **needed))(given, seed=0, draw=0, view=0, key="k")
    assert rendered.mask is not None
    assert rendered.mask.dtype == dtype
    assert set(np.unique(rendered.mask)) <= set(classes)


@pytest.mark.parametrize("name", LEAVES)
def test_no_boxes_and_no_keypoints_stay_none(name: str) -> None:
    given = sample()
    given.boxes, given.box_labels = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    given.keypoints = np.zeros((0, 2), np.float32)
    rendered, _ = compiled(node(name))(given, seed=0, draw=0, view=0, key="k")
    assert rendered.boxes is not None
    assert rendered.boxes.shape == (0, 4)
    assert rendered.box_labels is not None
    assert rendered.box_labels.shape == (0,)
    assert rendered.keypoints is not None
    assert rendered.keypoints.shape == (0, 2)


# --------------------------------------------------------------------------------------------------------- statistics

NUM_DRAWS = 10_000
ALPHA = 1e-6
"""Chance of a false alarm for each test; addresses are fixed, so a test that passes once passes always."""


def choices(nodes: tuple[Node, ...], num_draws: int = NUM_DRAWS) -> list[Counter[str]]:
    """Which transforms were applied, and how often, at each of so many addresses."""
    transform = compiled(*nodes)
    given = Sample(noise_image(4, 4))
    return [
        Counter(one.name for one in transform(given, seed=0, draw=draw % 100, view=0, key=str(draw // 100))[1])
        for draw in range(num_draws)
    ]


def test_two_flips_give_four_outcomes_a_quarter_each() -> None:
    outcomes = Counter(
        (bool(found["HorizontalFlip"]), bool(found["VerticalFlip"]))
        for found in choices((node("HorizontalFlip", p=0.5), node("VerticalFlip", p=0.5)))
    )
    assert len(outcomes) == 4
    assert stats.chisquare(list(outcomes.values())).pvalue > ALPHA


TEN = (
    "HorizontalFlip",
    "VerticalFlip",
    "Transpose",
    "InvertImg",
    "ToGray",
    "ToSepia",
    "Solarize",
    "Posterize",
    "RandomGamma",
    "ChannelShuffle",
)


def assert_uncorrelated(applied: np.ndarray, expected: float) -> None:
    """Each column is applied as often as it should be, and no two depend on one another.

    Under independence the phi coefficient of two columns times the square root of the number of draws is standard
    normal, and the frequency of a column binomial; both are bounded at ALPHA, shared among all that is tested.
    """
    num_draws, num_columns = applied.shape
    num_tests = num_columns * (num_columns + 1) // 2
    bound = stats.norm.isf(ALPHA / num_tests / 2)
    deviation = np.sqrt(expected * (1 - expected) / num_draws)
    assert (np.abs(applied.mean(axis=0) - expected) < bound * deviation).all()
    correlation = np.corrcoef(applied, rowvar=False) - np.eye(num_columns)
    assert (np.abs(correlation) < bound / np.sqrt(num_draws)).all()


def as_matrix(found: list[Counter[str]], names: tuple[str, ...]) -> np.ndarray:
    return np.array([[bool(one[name]) for name in names] for one in found], dtype=np.float64)


def test_no_two_choices_of_ten_transforms_correlate() -> None:
    found = choices(tuple(node(name, p=0.5) for name in TEN))
    assert_uncorrelated(as_matrix(found, TEN), 0.5)


def test_no_two_choices_correlate_between_sequences() -> None:
    pairs = [
        Node("Sequential", catalogue.fill("Sequential", {"p": 1}), tuple(node(name, p=0.5) for name in names))
        for names in (TEN[:3], TEN[3:6], TEN[6:10])
    ]
    found = choices(tuple(pairs))
    assert_uncorrelated(as_matrix(found, TEN), 0.5)


def test_one_of_chooses_by_weight_and_independently_of_the_next() -> None:
    weights = {"InvertImg": 1.0, "ToGray": 0.5, "ToSepia": 0.5}
    one_of = Node("OneOf", catalogue.fill("OneOf", {"p": 0.5}), tuple(node(name, p=p) for name, p in weights.items()))
    other = Node("OneOf", catalogue.fill("OneOf", {"p": 1}), tuple(node(name, p=1) for name in TEN[:2]))
    found = choices((one_of, other))
    assert all(sum(one.values()) <= 2 for one in found)
    outcomes = Counter((next((name for name in weights if one[name]), ""), bool(one[TEN[0]])) for one in found)
    expected = {"": 0.5, "InvertImg": 0.25, "ToGray": 0.125, "ToSepia": 0.125}
    places = [(name, flipped) for name in expected for flipped in (False, True)]
    observed = [outcomes[place] for place in places]
    assert sum(observed) == NUM_DRAWS
    assert stats.chisquare(observed, [expected[name] / 2 * NUM_DRAWS for name, _ in places]).pvalue > ALPHA


@pytest.mark.parametrize("container", ["SomeOf", "RandomOrder"])
def test_some_of_chooses_every_subset_alike_and_applies_each_by_its_own_p(container: str) -> None:
    names = TEN[:4]
    params = catalogue.fill(container, {"n": 2, "p": 1})
    subsets = list(itertools.combinations(names, 2))
    chosen = choices((Node(container, params, tuple(node(name, p=1) for name in names)),))
    observed = Counter(frozenset(one) for one in chosen)
    assert stats.chisquare([observed[frozenset(subset)] for subset in subsets]).pvalue > ALPHA
    halved = choices((Node(container, params, tuple(node(name, p=0.5) for name in names)),))
    counts = Counter(sum(one.values()) for one in halved)
    assert stats.chisquare([counts[k] for k in range(3)], [NUM_DRAWS * q for q in (0.25, 0.5, 0.25)]).pvalue > ALPHA


def test_one_or_other_applies_exactly_one() -> None:
    children = (node("HorizontalFlip", p=0.1), node("VerticalFlip", p=0.1))
    found = choices((Node("OneOrOther", catalogue.fill("OneOrOther", {"p": 0.3}), children),))
    assert all(sum(one.values()) == 1 for one in found)
    first = sum(one["HorizontalFlip"] for one in found)
    assert stats.binomtest(first, NUM_DRAWS, 0.3).pvalue > ALPHA


def test_drawn_values_do_not_depend_on_whether_another_was_applied() -> None:
    transform = compiled(node("RandomGamma", p=0.5), node("RandomShiftScale", p=1))
    given = Sample(noise_image(4, 4))
    factors: dict[bool, list[float]] = {False: [], True: []}
    for draw in range(2_000):
        _, found = transform(given, seed=0, draw=draw, view=0, key="k")
        factor = found[-1].params["factor"]
        assert isinstance(factor, float)
        factors[len(found) == 2].append(factor)
    assert stats.ks_2samp(factors[False], factors[True]).pvalue > ALPHA
    assert stats.kstest(factors[False] + factors[True], stats.uniform(0.9, 0.2).cdf).pvalue > ALPHA
