"""Near-duplicate images: a perceptual hash of each image, and the pairs whose hashes hardly differ.

The hash is ``imagehash.phash``: the image in grey at 32 x 32, the 8 x 8 lowest frequencies of its cosine transform,
each compared with their median. These 64 bits hardly change with size, compression, brightness and a little noise. They
do change with a flip, a rotation or a crop. By default two images are near-duplicates if at most 6 bits differ. Among
7,000 images of CIFAR-10, all 7 such pairs are the same image twice; of the next 6 pairs (at 8 bits), 2 are (checked by
eye).

Pairs are found by multi-index hashing (Norouzi, Punjani and Fleet, Fast search in Hamming space, CVPR 2012). If two
hashes differ in at most d bits and are cut into d + 1 bands, at least one band is equal. So only hashes that share a
band are compared. Images of equal hash are joined to the first of them, so that a thousand black images make a thousand
pairs and not half a million.
"""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from augment.dataset_stats.pixels import Progress
from augment.datasets.dataset import Dataset, in_ranges
from augment.errors import CallError, RecordError, require
from augment.images.decode import FULL, decode_image
from augment.samples.sample import Record
from augment.workers import task
from augment.workers.files import MemoryFile
from augment.workers.task import Guard, Workers

MAX_DISTANCE = 6
"""Default number of the 64 bits that may differ."""

LARGEST_DISTANCE = 12
"""Largest allowed distance. Above it, even random hashes of 100,000 images have neighbours."""

_BITS = 64
_SMALLEST_SIDE_PX = 256
"""Least shorter side of a JPEG that is decoded at a reduced size; the hash needs 32."""
_IMAGES_A_TASK = 64
_PAIRS_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Pairs of near-duplicates, and their distances.

    ``pairs`` are indices of records, int64 (N, 2), the smaller first, sorted; ``distances`` are int64 (N,), in bits.
    ``num_undecodable`` images have no hash and so no neighbour.
    """

    pairs: NDArray[np.int64]
    distances: NDArray[np.int64]
    num_undecodable: int = 0


@dataclass(frozen=True, slots=True)
class HashTask:
    """Hash a range of records; the hash is None for records that cannot be decoded."""

    dataset: Dataset
    records: range

    def run(self, guard: Guard) -> tuple[range, list[int | None]]:
        """Return the records' indices and their hashes; each record is decoded once."""
        return self.records, [self._hash(record, guard) for record in self.dataset.records(self.records)]

    def _hash(self, record: Record, guard: Guard) -> int | None:
        try:
            return guard(
                f"{record.digest}-hash",
                record.key,
                lambda: image_hash(decode_image(self.dataset.read(record), eighths=_eighths)),
            )
        except RecordError:
            return None


def image_hash(image: NDArray[np.uint8]) -> int:
    """Return the hash of an uint8 (H, W, 3) RGB image, as an integer of 64 bits."""
    import imagehash  # noqa: PLC0415 - in the extra `tools`; a division without near-duplicates does not need it

    bits = np.asarray(imagehash.phash(Image.fromarray(image)).hash, np.bool_)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def find(
    dataset: Dataset,
    *,
    max_distance: int = MAX_DISTANCE,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> NearDuplicates:
    """Decode and hash every record of the dataset, and find the pairs. Raises CallError, StorageError, WorkerError."""
    check_distance(max_distance)
    require("imagehash")
    hashes = np.zeros(dataset.num_records, np.uint64)
    missing = np.zeros(dataset.num_records, np.bool_)
    done = 0
    with MemoryFile("dataset") as file:
        file.write(dataset.to_buffer())
        shared = Dataset.open(file.path).choose(dataset.split) if dataset.split else Dataset.open(file.path)
        tasks = (HashTask(shared, some) for some in in_ranges(shared, _IMAGES_A_TASK))
        with contextlib.closing(task.run_all(workers, tasks, lambda _: None)) as results:
            for records, found in results:
                for place, value in zip(records, found, strict=True):
                    hashes[place], missing[place] = value or 0, value is None
                done += len(found)
                if progress is not None:
                    progress(done, dataset.num_records, int(missing.sum()))
    places = np.flatnonzero(~missing)
    found_pairs, distances = near_pairs(hashes[places], max_distance)
    return NearDuplicates(places[found_pairs], distances, int(missing.sum()))


def check_distance(max_distance: int) -> None:
    """Raise CallError if the distance is out of range."""
    if not 0 <= max_distance <= LARGEST_DISTANCE:
        raise CallError(
            f"max_distance is {max_distance}; give a number of bits in [0, {LARGEST_DISTANCE}], of the {_BITS} that a "
            "hash has"
        )


def near_pairs(hashes: NDArray[np.uint64], max_distance: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all pairs of different hashes within a distance, and each repeated hash paired with its first occurrence.

    A hash that occurs more than once is represented by its first index. Pairs are int64 (N, 2), distances (N,).
    """
    distinct, first, numbered = np.unique(hashes, return_index=True, return_inverse=True)
    others = np.flatnonzero(first[numbered] != np.arange(len(hashes)))
    same = np.column_stack([first[numbered[others]], others])
    found = [np.column_stack([same, np.zeros(len(same), np.int64)])]
    edges = [round(band * _BITS / (max_distance + 1)) for band in range(max_distance + 2)]
    for low, high in itertools.pairwise(edges):
        for left, right in _sharing(distinct >> np.uint64(low) & np.uint64((1 << (high - low)) - 1)):
            distances = np.bitwise_count(distinct[left] ^ distinct[right])
            near = distances <= max_distance
            pairs = np.sort(np.column_stack([first[left[near]], first[right[near]]]), axis=1)
            found.append(np.column_stack([pairs, distances[near].astype(np.int64)]))
    rows = np.unique(np.concatenate(found).astype(np.int64), axis=0)
    return rows[:, :2], rows[:, 2]


def _sharing(band: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield all pairs of indices with equal values, some millions at a time."""
    order = np.argsort(band, kind="stable")
    ordered = band[order]
    stops = np.searchsorted(ordered, ordered, side="right")
    numbers = stops - np.arange(len(band)) - 1  # the number of later indices with the same value
    cut = np.cumsum(numbers)
    start = 0
    while start < len(band):
        before = cut[start - 1] if start else 0
        stop = max(int(np.searchsorted(cut, before + _PAIRS_AT_ONCE, side="right")), start + 1)
        left = np.repeat(np.arange(start, stop), numbers[start:stop])
        within = np.arange(len(left)) - np.repeat(cut[start:stop] - numbers[start:stop] - before, numbers[start:stop])
        yield order[left], order[left + 1 + within]
        start = stop


def _eighths(height: int, width: int) -> int:
    """Return the least number of eighths that keeps the shorter side long enough; 8 for a small image."""
    wanted = -(-_SMALLEST_SIDE_PX * FULL // min(height, width))
    return min(wanted, FULL)
