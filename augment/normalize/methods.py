"""Methods of normalisation: from pixels to floats, and back for people to look at.

Samples stay uint8 to the end; normalisation is arithmetic on a finished batch, for callers that need floats. A
channel has 256 values, so every method is a table of 256 floats for each channel: one table for all images
(``ByValue``), or one computed from each image's pixels (``ByImage``). Tables are computed in float64 and rounded
once; ``look_up`` writes straight into the type and layout of the result. No method looks beyond one image, so
nothing depends on batches, workers or an order. ``ByDataset`` takes its numbers from the split that is read, when a
stream is declared.

Min-max: map one range of values linearly to another.

    y = low + (high - low) · (x - a) / (b - a)

for values x from 0 to 255, ``output: [low, high]`` and ``input: [a, b]``. If the input is ``image`` or
``image_channels``, a and b are the least and the greatest value of each image, or of each of its channels, and
``epsilon`` is added to b - a (I. H. Witten, E. Frank, M. A. Hall, Data Mining, 3rd ed., 2011, section 2.4; the formula
of scikit-learn's MinMaxScaler, and with ``epsilon: 0.0001`` of Albumentations' min_max).

Log and gamma: curves from black to white that spread the dark values, or the bright ones.

    v = x / 255
    log      y = low + (high - low) · log(1 + gain · v) / log(1 + gain)
    gamma    y = low + (high - low) · v^gamma

The log transformation s = c · log(1 + r) and the power law s = c · r^gamma of R. C. Gonzalez and R. E. Woods (Digital
Image Processing, section 3.2), with c such that white stays white. ``gain: 255`` is r = x, ``gain: 1`` scikit-image's
``adjust_log``. ``gamma: 2.2`` roughly undoes the coding of a display and gives linear light; 1/2.2 lifts the shadows.

Standard score: the distance of a value from the mean, in standard deviations.

    y = (x / max_pixel_value - mean) / std        for each channel, with fixed numbers
    y = (x - mean) / (std + epsilon)              with each image's own, or each channel's; cut to ±limit if given

The fixed form is torchvision's ``Normalize`` after ``ToTensor``. An image's own is TensorFlow's
``per_image_standardization`` (which keeps std above 1/sqrt(number of values): no image of more than one value is
below that), and with ``epsilon: 0.0001, limit: 20`` Albumentations' ``image`` and ``image_per_channel``. Deviations are
population deviations: divided by the number of values.

Tanh and arctan: a standard score squashed to a finite range, so that outliers have a bounded effect.

    z = (x / 255 - mean) / std                         for each channel
    tanh      y = low + (high - low) · (tanh z + 1) / 2
    arctan    y = low + (high - low) · (2/π · arctan z + 1) / 2

With the default ``output: [-1, 1]`` that is tanh z and 2/π · arctan z. F. R. Hampel's tanh estimators as A. Jain,
K. Nandakumar and A. Ross give them (Score normalization in multimodal biometric systems, Pattern Recognition 38, 2005:
0.5 · (tanh(0.01 · (x - mean)/std) + 1)) are ``output: [0, 1]`` and a hundred times that deviation as ``std``.
"""

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from augment.errors import CallError
from augment.images import histogram
from augment.images.histogram import LEVELS
from augment.normalize.parameters import DATASET, IMAGE, IMAGE_CHANNELS, LARGEST, NAMED, Channels, Reader
from augment.validation import JSON

Table: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[Any]]
"""Function from the pixels (H, W, 3) of one image to its table (3, 256), in the requested type."""

_PIXELS_AT_ONCE: Final = 1 << 16
"""NumPy uses indices of eight bytes; this many fit a processor's cache."""


def look_up(images: NDArray[np.uint8], table: Table, dtype: np.dtype[Any], *, first: bool) -> NDArray[Any]:
    """Map uint8 (..., H, W, 3) to a new contiguous array of the same shape, or (..., 3, H, W) if ``first`` is True."""
    check_images(images)
    *outer, height, width, _ = images.shape
    shape = (*outer, 3, height, width) if first else images.shape
    result = np.empty(shape, dtype)
    if not result.size:
        return result
    rows = min(height, max(1, _PIXELS_AT_ONCE // width))
    begins = np.tile(np.arange(3, dtype=np.intp) * LEVELS, rows * width)
    for place in np.ndindex(*outer):
        image, into = images[place], result[place]
        floats = table(image)
        for top in range(0, height, rows):
            part = image[top : top + rows]
            if first:
                for channel in range(3):
                    np.take(floats[channel], part[..., channel], out=into[channel, top : top + rows], mode="clip")
            else:
                places = part.reshape(-1) + begins[: part.size]
                np.take(floats.reshape(-1), places, out=into[top : top + rows].reshape(-1), mode="clip")
    return result


def check_images(images: NDArray[Any]) -> None:
    """Raise CallError unless these are images."""
    if images.dtype != np.uint8 or images.ndim < 3 or images.shape[-1] != 3:
        raise CallError(f"images are uint8 (..., H, W, 3), not {images.dtype} {images.shape}; give uint8 RGB images")


TOP: Final = LEVELS - 1
"""White."""

_VALUES: Final = np.arange(LEVELS, dtype=np.float64)

GREY: Final = 128
"""Value for an image of one value if only its contrast is known."""


class Normalization(ABC):
    """Method of normalisation for uint8 pixels: a dataclass of a section's parameters, in their canonical order.

    Two are equal if their canonical sections are.
    """

    METHOD: ClassVar[str]

    def canonical(self) -> dict[str, JSON]:
        """Return the section with all defaults filled in; ``section.parse`` reads it back to an equal value."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}  # type: ignore[arg-type]  # it is one
        return {"method": self.METHOD} | {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    @abstractmethod
    def table(self, image: NDArray[np.uint8], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return the floats of the 256 values of each channel for an image (H, W, 3): (3, 256)."""

    @abstractmethod
    def denormalise(self, image: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Return pixels to look at, uint8 (H, W, 3), from the floats (H, W, 3) of one image; a new array."""

    def apply(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Normalise uint8 (..., H, W, 3): float32 of the same shape, a new array."""
        dtype = np.dtype(np.float32)
        return look_up(images, lambda image: self.table(image, dtype), dtype, first=False)


class ByValue(Normalization):
    """Method whose float depends on the value and the channel alone. Hashable.

    ``denormalise`` returns the value whose float is nearest, the lower one of two at the same distance. Floats from
    ``apply`` come back exactly if ``is_distinct`` is True for their type. For float32 it always is, because
    ``section.parse`` refuses other sections, unless a section asks to clip. NaN becomes 0.
    """

    @abstractmethod
    def floats(self) -> NDArray[np.float64]:
        """Return the floats of the 256 values of each channel, increasing with the value: (3, 256)."""

    def table(self, image: NDArray[np.uint8], dtype: np.dtype[Any]) -> NDArray[Any]:  # noqa: ARG002 - one for all
        return _rounded(self, dtype)

    def is_distinct(self, dtype: Any = np.float32) -> bool:
        """Return True if the values of a channel become different floats of this type, none infinite."""
        table = _rounded(self, np.dtype(dtype)).astype(np.float64)
        return bool(np.isfinite(table).all() and (np.diff(table) > 0).all())

    def denormalise(self, image: NDArray[np.floating]) -> NDArray[np.uint8]:
        table = _rounded(self, image.dtype).astype(np.float64)
        middles = (table[:, :-1] + table[:, 1:]) / 2
        pixels = np.empty(image.shape, np.uint8)
        for channel in range(3):
            pixels[..., channel] = np.searchsorted(middles[channel], image[..., channel].astype(np.float64))
        pixels[np.isnan(image)] = 0
        return pixels


class ByImage(Normalization):
    """Method that depends on each image's pixels, so that its floats do not determine the image.

    ``denormalise`` stretches the floats for display: the least of the image becomes 0, the greatest 255, linearly
    between; an image of one value becomes grey. NaN becomes 0.
    """

    @abstractmethod
    def floats(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the floats of the 256 values of each channel for this image: (3, 256)."""

    def table(self, image: NDArray[np.uint8], dtype: np.dtype[Any]) -> NDArray[Any]:
        return self.floats(image).astype(dtype)

    def denormalise(self, image: NDArray[np.floating]) -> NDArray[np.uint8]:
        known = np.isfinite(image)
        floats = np.where(known, image, 0).astype(np.float64)
        low, high = floats.min(where=known, initial=np.inf), floats.max(where=known, initial=-np.inf)
        shown = np.full(image.shape, GREY, np.uint8)
        if low < high:
            shown = np.rint((floats - low) * (TOP / (high - low))).clip(0, TOP).astype(np.uint8)
        shown[~known] = 0
        return shown


@functools.lru_cache(maxsize=64)
def _rounded(method: ByValue, dtype: np.dtype[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):  # infinity is found by `is_distinct`
        table: NDArray[Any] = method.floats().astype(dtype)
    table.setflags(write=False)
    return table


def _spread(output: tuple[float, float], shares: ArrayLike) -> NDArray[np.float64]:
    """Map 0 to the low end and 1 to the high end of ``output``, linearly."""
    low, high = output
    return low + (high - low) * np.asarray(shares)


FORMAT: Final = "format"
"""Input range of uint8 images: 0 to 255."""

_BLACK_TO_WHITE: Final = (0.0, float(TOP))
_UNIT: Final = (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class MinMax(ByValue):
    """Min-max from a fixed range. Values outside it also exceed ``output``, unless ``clip`` limits them to its ends."""

    METHOD = "min_max"

    input: tuple[float, float] = _BLACK_TO_WHITE
    output: tuple[float, float] = _UNIT
    clip: bool = False

    @staticmethod
    def read(params: Reader) -> Normalization:
        output = params.interval("output", _UNIT)
        if params.is_text("input"):
            word = params.word("input", (FORMAT, IMAGE, IMAGE_CHANNELS))
            if word in {IMAGE, IMAGE_CHANNELS}:
                params.absent(("clip",), f"input: {word}")
                return ImageMinMax(word, output, params.number("epsilon", 0.0, 0.0, LARGEST))
            ends = _BLACK_TO_WHITE
        else:
            ends = params.interval("input", _BLACK_TO_WHITE)
        clip = params.flag("clip", default=False)
        is_within = ends[0] <= 0 and ends[1] >= TOP
        return MinMax(ends, output, clip and not is_within)  # if all values are inside, clipping changes nothing

    def floats(self) -> NDArray[np.float64]:
        return np.tile(_scaled(self.input, self.output, clip=self.clip), (3, 1))

    def denormalise(self, image: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Return the nearest value of the input range for floats that were clipped."""
        shown = ByValue.denormalise(self, image)
        return shown.clip(max(0, math.ceil(self.input[0])), min(TOP, math.floor(self.input[1]))) if self.clip else shown


@dataclass(frozen=True, slots=True)
class ImageMinMax(ByImage):
    """Min-max from each image's own range, or each channel's. A single value becomes the low end of ``output``."""

    METHOD = MinMax.METHOD

    input: str
    output: tuple[float, float] = _UNIT
    epsilon: float = 0.0

    def floats(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        if self.input == IMAGE:
            return np.tile(self._of(int(image.min()), int(image.max())), (3, 1))
        ends = zip(image.min(axis=(0, 1)).tolist(), image.max(axis=(0, 1)).tolist(), strict=True)
        return np.stack([self._of(low, high) for low, high in ends])

    def _of(self, low: int, high: int) -> NDArray[np.float64]:
        wide = high - low + self.epsilon
        return _scaled((low, low + wide) if wide else (low, np.inf), self.output, clip=False)


def _scaled(ends: tuple[float, float], output: tuple[float, float], *, clip: bool) -> NDArray[np.float64]:
    values = _VALUES.clip(*ends) if clip else _VALUES
    return _spread(output, (values - ends[0]) / (ends[1] - ends[0]))


_GAIN: Final = (float(TOP), 1e-6, LARGEST)
_GAMMA: Final = (2.2, 1e-3, 100.0)
"""Default and bounds: beyond them a float32 cannot distinguish 256 values."""


@dataclass(frozen=True, slots=True)
class Log(ByValue):
    """Logarithm: the larger ``gain``, the more of the range is given to the dark values."""

    METHOD = "log"

    gain: float = _GAIN[0]
    output: tuple[float, float] = _UNIT

    @classmethod
    def read(cls, params: Reader) -> Normalization:
        return cls(params.number("gain", *_GAIN), params.interval("output", _UNIT))

    def floats(self) -> NDArray[np.float64]:
        white = math.log1p(self.gain)
        curve = [math.log1p(self.gain * level / TOP) / white for level in range(LEVELS)]
        return np.tile(_spread(self.output, curve), (3, 1))


@dataclass(frozen=True, slots=True)
class Gamma(ByValue):
    """Gamma curve: above 1 it gives more of the range to the bright values, below 1 to the dark ones."""

    METHOD = "gamma"

    gamma: float = _GAMMA[0]
    output: tuple[float, float] = _UNIT

    @classmethod
    def read(cls, params: Reader) -> Normalization:
        return cls(params.number("gamma", *_GAMMA), params.interval("output", _UNIT))

    def floats(self) -> NDArray[np.float64]:
        curve = [math.pow(level / TOP, self.gamma) for level in range(LEVELS)]
        return np.tile(_spread(self.output, curve), (3, 1))


@dataclass(frozen=True, slots=True)
class ByDataset(Normalization):
    """Section without its ``mean`` and ``std``. It has a canonical form but no floats."""

    rest: Mapping[str, JSON]

    def canonical(self) -> dict[str, JSON]:
        return {**self.rest, "statistics": DATASET}

    def table(self, image: NDArray[np.uint8], dtype: np.dtype[Any]) -> NDArray[Any]:  # noqa: ARG002
        raise _unknown()

    def denormalise(self, image: NDArray[np.floating]) -> NDArray[np.uint8]:  # noqa: ARG002
        raise _unknown()


def _unknown() -> CallError:
    return CallError(
        f"`statistics: {DATASET}` has no numbers without a dataset: use the section of a stream (its document has "
        "them), or write the mean and std that `augment stats` prints"
    )


_IMAGENET: Final = NAMED["imagenet"]


@dataclass(frozen=True, slots=True)
class Standard(ByValue):
    """Standard score with fixed numbers, by default those of ImageNet."""

    METHOD = "standard"

    mean: Channels = _IMAGENET.mean
    std: Channels = _IMAGENET.std
    max_pixel_value: float = float(TOP)

    @classmethod
    def read(cls, params: Reader) -> Normalization:
        numbers = params.statistics(_IMAGENET.mean, _IMAGENET.std, (DATASET, IMAGE, IMAGE_CHANNELS))
        if isinstance(numbers, str):
            params.absent(("max_pixel_value",), f"statistics: {numbers}")
            if numbers == DATASET:
                return ByDataset({"method": cls.METHOD})
            epsilon = params.number("epsilon", 0.0, 0.0, LARGEST)
            limit = params.number("limit", LARGEST, 0.0, LARGEST, above=True) if params.is_given("limit") else None
            params.allow("limit")
            return ImageStandard(numbers, epsilon, limit)
        if params.is_given("statistics"):  # named numbers are for values in [0, 1]
            params.absent(("max_pixel_value",), "statistics")
        top = params.number("max_pixel_value", float(TOP), 0.0, LARGEST, above=True, hint="; 255 is usual")
        return cls(*numbers, top)

    def floats(self) -> NDArray[np.float64]:
        values = _VALUES / self.max_pixel_value
        return np.stack([(values - mean) / std for mean, std in zip(self.mean, self.std, strict=True)])


@dataclass(frozen=True, slots=True)
class ImageStandard(ByImage):
    """Standard score with each image's own numbers, or each channel's. A single value becomes 0."""

    METHOD = Standard.METHOD

    statistics: str
    epsilon: float = 0.0
    limit: float | None = None

    def floats(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        counts = histogram.count(image)
        if self.statistics == IMAGE:
            counts = np.tile(counts.sum(axis=0), (3, 1))
        known = [histogram.mean_and_std(each) for each in counts]
        floats = np.stack([(_VALUES - mean) / (std + self.epsilon or np.inf) for mean, std in known])
        return floats if self.limit is None else floats.clip(-self.limit, self.limit)


_HALF: Final = (0.5, 0.5, 0.5)
_AROUND_0: Final = (-1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Squash(ByValue):
    """Bounded standard score. By default black is z = -1 and white z = 1."""

    mean: Channels = _HALF
    std: Channels = _HALF
    output: tuple[float, float] = _AROUND_0

    @classmethod
    def read(cls, params: Reader) -> Normalization:
        output = params.interval("output", _AROUND_0)
        numbers = params.statistics(_HALF, _HALF)
        if isinstance(numbers, str):
            return ByDataset({"method": cls.METHOD, "output": list(output)})
        return cls(*numbers, output)

    @staticmethod
    @abstractmethod
    def bend(z: float) -> float:
        """Map z to -1 to 1. NumPy's functions are not used, because their last bit depends on the processor."""

    def floats(self) -> NDArray[np.float64]:
        shares = [
            [(self.bend((level / TOP - mean) / std) + 1) / 2 for level in range(LEVELS)]
            for mean, std in zip(self.mean, self.std, strict=True)
        ]
        return _spread(self.output, shares)


class Tanh(Squash):
    METHOD = "tanh"

    @staticmethod
    def bend(z: float) -> float:
        return math.tanh(z)


class Arctan(Squash):
    METHOD = "arctan"

    @staticmethod
    def bend(z: float) -> float:
        return math.atan(z) * 2 / math.pi
