"""Random generators of one sample, set from its address, and the order of an epoch.

No state is kept between two addresses. A generator is built once per worker, because building one takes longer than
rendering a flip. Its *whole* state is set before each sample; a buffered word or half of a 64-bit draw would otherwise
leak into the next one.
"""

import functools
import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment import validation
from augment.address import digest_fields
from augment.errors import CallError

FISHER_YATES_MAX = 65_536
"""Largest number of records that is shuffled as a whole; above it, each position of an epoch is computed separately."""

_FEISTEL_ROUNDS = 8
_ORDER_PERSON = b"augment.order"


NUMBER_MAX = 2**64 - 1
"""Largest number in an address: the largest integer that clients in any language can hold."""


def check_address(*, seed: object, draw: object, view: object, key: object) -> None:
    """Raise CallError unless these can be part of an address.

    Numbers are integers in [0, 2**64), which clients in any language can hold. 1.0 and True are refused: their digits
    differ from those of 1, so they would be other samples. A key is text that UTF-8 can hold.
    """
    for name, value in (("seed", seed), ("draw", draw), ("view", view)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or not 0 <= value <= NUMBER_MAX:
            raise CallError(f"{name} is {validation.quoted(value)}; it must be an integer in [0, {NUMBER_MAX}]")
    validation.text("key", key)


class Chance:
    """One ``numpy`` generator and one ``random.Random``, shared by all transforms of a pipeline.

    Not thread-safe: each worker has its own.
    """

    def __init__(self) -> None:
        self._philox = np.random.Philox(key=0)
        self.generator = np.random.Generator(self._philox)
        self.py_random = random.Random()  # noqa: S311 - augmentation, not cryptography
        self._key: dict[str, tuple[int, ...]] = {"counter": (0, 0, 0, 0), "key": (0, 0)}
        self._state: Any = {  # integers, because Philox takes them five times as fast as arrays
            "bit_generator": "Philox",
            "state": self._key,
            "buffer": (0, 0, 0, 0),
            "buffer_pos": 4,
            "has_uint32": 0,
            "uinteger": 0,
        }

    def reset(self, seed: int, draw: int, view: int, key: str) -> None:
        """Set both generators to the state of the address (seed, draw, view, key)."""
        number = int.from_bytes(digest_fields((seed, draw, view, key)), "little")
        self._key["key"] = (number & NUMBER_MAX, number >> 64)
        self._philox.state = self._state
        self.py_random.seed(number)


class EpochOrder:
    """Order in which an epoch visits records: a permutation of ``range(num_records)`` keyed by (seed, epoch).

    Up to ``FISHER_YATES_MAX`` records it is a Fisher-Yates shuffle. Above, it is a balanced Feistel network of eight
    rounds over the next power of four, walked along its cycles until it lands inside the range (Black and Rogaway,
    "Ciphers with Arbitrary Finite Domains", 2002). Any position among a billion is then computed directly, and nothing
    is kept. Without ``shuffle`` it is the identity.
    """

    def __init__(self, num_records: int, seed: int, epoch: int, *, shuffle: bool = True) -> None:
        epoch = validation.integer("epoch", epoch, 0, NUMBER_MAX)
        if num_records < 1:
            raise CallError(f"num_records is {num_records}; an order needs at least one record")
        self.num_records = num_records
        self._seed = seed
        self._epoch = epoch
        self._shuffle = shuffle

    def take(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the records at these positions, in ``[0, num_records)``: a new int64 array of the same length."""
        if positions.size and (positions.min() < 0 or positions.max() >= self.num_records):
            raise CallError(f"positions must be in [0, {self.num_records}), the number of records")
        if not self._shuffle:
            return positions.astype(np.int64)
        if self.num_records <= FISHER_YATES_MAX:
            return _fisher_yates(self.num_records, self._seed, self._epoch)[positions]
        return self._walk(positions.astype(np.uint64)).astype(np.int64)

    def _walk(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        half_bits = ((self.num_records - 1).bit_length() + 1) // 2
        round_keys = _feistel_keys(self._seed, self._epoch)
        limit = np.uint64(self.num_records)
        values = _feistel(values, half_bits, round_keys)
        while (outside := values >= limit).any():
            values[outside] = _feistel(values[outside], half_bits, round_keys)
        return values


@functools.lru_cache(maxsize=8)
def _fisher_yates(num_records: int, seed: int, epoch: int) -> NDArray[np.int64]:
    key = np.frombuffer(digest_fields((seed, epoch), person=_ORDER_PERSON), dtype="<u8").astype(np.uint64)
    order = np.random.Generator(np.random.Philox(key=key)).permutation(num_records)  # Fisher-Yates, of indices
    order.flags.writeable = False
    return order


@functools.lru_cache(maxsize=64)
def _feistel_keys(seed: int, epoch: int) -> tuple[np.uint64, ...]:
    digests = (digest_fields((seed, epoch, i), person=_ORDER_PERSON) for i in range(_FEISTEL_ROUNDS))
    return tuple(np.uint64(int.from_bytes(digest[:8], "little")) for digest in digests)


def _feistel(values: NDArray[np.uint64], half_bits: int, round_keys: tuple[np.uint64, ...]) -> NDArray[np.uint64]:
    shift, mask = np.uint64(half_bits), np.uint64((1 << half_bits) - 1)
    left, right = values >> shift, values & mask
    for round_key in round_keys:
        left, right = right, left ^ (_mix(right ^ round_key) & mask)
    return (left << shift) | right


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Apply SplitMix64's finaliser (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
