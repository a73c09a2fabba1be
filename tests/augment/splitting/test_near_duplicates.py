"""Near-duplicate images."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter

from augment.errors import CallError
from augment.scanning.scan import scan
from augment.splitting import near_duplicates
from augment.splitting.near_duplicates import image_hash, near_pairs
from augment.workers.pool import LocalWorkers
from tests.augment.folders_for_tests import lay


def scene(seed: int, size: int = 200) -> Image.Image:
    """Return soft blobs, as different from those of another seed as two photographs."""
    noise = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    return Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, image_format: str = "jpeg", **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=40), st.integers(0, 12), st.randoms())
@settings(deadline=None)
def test_near_pairs_are_those_that_comparing_all_finds(hashes: list[int], distance: int, chance: object) -> None:
    flipped = [each ^ sum(1 << bit for bit in chance.sample(range(64), 5)) for each in hashes]  # type: ignore[attr-defined]
    several = np.array([*hashes, *flipped, *hashes[:3]], np.uint64)
    pairs, distances = near_pairs(several, distance)
    first = {int(each): i for i, each in reversed(list(enumerate(several)))}
    wanted = {
        (min(i, k), max(i, k)): (left ^ right).bit_count()
        for left, i in first.items()
        for right, k in first.items()
        if i < k and (left ^ right).bit_count() <= distance
    }
    wanted |= {(first[int(each)], i): 0 for i, each in enumerate(several) if first[int(each)] != i}
    assert dict(zip(map(tuple, pairs.tolist()), distances.tolist(), strict=True)) == wanted


def test_near_pairs_of_a_thousand_equal_hashes_are_a_thousand() -> None:
    pairs, distances = near_pairs(np.zeros(1000, np.uint64), 6)
    assert pairs.tolist() == [[0, i] for i in range(1, 1000)]
    assert not distances.any()


def test_near_pairs_of_many_hashes_do_not_compare_all_with_all() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**64, 30_000, dtype=np.uint64)
    hashes[29_000] = hashes[17] ^ np.uint64(0b1001 << 40)
    compared = sum(
        len(left)
        for band in range(7)
        for left, _ in near_duplicates._sharing(hashes >> np.uint64(9 * band) & np.uint64(511))
    )
    assert compared < 30_000**2 / 2 / 50
    assert [17, 29_000] in near_pairs(hashes, 6)[0].tolist()


@pytest.mark.parametrize("seed", range(5))
def test_hash_hardly_changes_with_size_compression_and_light(seed: int) -> None:
    image = scene(seed)
    original = image_hash(np.asarray(image))
    for changed in (
        image.resize((71, 71), Image.Resampling.LANCZOS),
        ImageEnhance.Brightness(image).enhance(1.1),
        image.filter(ImageFilter.GaussianBlur(1)),
        Image.open(io.BytesIO(encoded(image, quality=30))),
    ):
        assert (image_hash(np.asarray(changed)) ^ original).bit_count() <= near_duplicates.MAX_DISTANCE
    assert (image_hash(np.asarray(scene(seed + 100))) ^ original).bit_count() > 12


@pytest.fixture
def data(tmp_path: Path) -> Path:
    files: dict[str, bytes | None] = {f"{i:02}.jpg": encoded(scene(i)) for i in range(80)}
    files["05 small.png"] = encoded(scene(5).resize((90, 90), Image.Resampling.LANCZOS), "png")
    files["60 again.jpg"] = encoded(scene(60), quality=40)
    files["broken.jpg"] = encoded(scene(0))[:2000]
    return lay(tmp_path / "data", files)


def test_pairs_of_a_dataset_are_found_in_workers_as_without(data: Path) -> None:
    dataset = scan(data)
    shown: list[tuple[int, int, int]] = []
    with LocalWorkers(2) as workers:
        near = near_duplicates.find(dataset, workers=workers, progress=lambda *each: shown.append(each))
    assert [dataset.keys(pair) for pair in near.pairs.tolist()] == [["05", "05 small"], ["60", "60 again"]]
    assert near.num_undecodable == 1
    assert shown[-1] == (83, 83, 1)
    alone = near_duplicates.find(dataset)
    assert (alone.pairs == near.pairs).all()
    assert (alone.distances == near.distances).all()


@pytest.mark.parametrize("distance", [-1, 13])
def test_distance_out_of_range_is_refused(data: Path, distance: int) -> None:
    with pytest.raises(CallError, match=rf"max_distance is {distance}; .* in \[0, 12\]"):
        near_duplicates.find(scan(data), max_distance=distance)
