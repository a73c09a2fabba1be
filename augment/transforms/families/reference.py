"""References: the look of other images, taken from a dataset that the pipeline names.

The look is a spectrum, a histogram, colours, or the image itself. Three classes have the names and parameters of
Albumentations 2.0.8's but not its pixels, which are wrong. ``PixelDistributionAdaptation`` makes every image black (it
reads shares of 255 as values). ``FDA`` replaces a square that is not centred on the frequency 0, so that amplitudes
differ from the reference's. ``HistogramMatching`` treats an image of one row as grey.
``TemplateTransform`` is from an earlier release.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from augment.transforms import limits, schema
from augment.transforms.albumentations_import import A, cv2
from augment.transforms.donors.source import Referring, as_pixels, fitted
from augment.transforms.entry import ALL_TARGETS, Range, TransformEntry
from augment.transforms.families.overlay import OverlayElements

_REFERENCES = {"references": schema.name("name of the dataset from which the references are taken")}
_BLEND = {"blend_ratio": schema.pair(schema.number(0, 1, "weight of the result; 0 keeps the image"))}


_Image = NDArray[np.uint8]
_Spectrum = NDArray[np.complex128]

_NO_PHASE = 1e-9
"""Share of the largest possible amplitude below which a phase is only a rounding error."""


class FDA(Referring, A.ImageOnlyTransform):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Transform that gives the image's low frequencies the amplitudes of the reference's, and keeps their phases.

    Yang and Soatto, "FDA: Fourier Domain Adaptation for Semantic Segmentation", 2020. It changes all frequencies of at
    most ``beta`` times the shorter side in both directions; at 0 that is the mean of each channel. The reference is
    resized to the image's size. The result is clipped to 0 to 255.
    """

    def __init__(self, references: str, beta_limit: Range = (0.0, 0.1), p: float = 0.5) -> None:
        super().__init__(p=p)
        self.references = references
        self.beta_limit = beta_limit

    def get_params(self) -> dict[str, Any]:
        return {"beta": self.py_random.uniform(*self.beta_limit)}

    def apply(self, img: _Image, *, beta: float, reference_image: _Image, **_: Any) -> _Image:
        height, width = img.shape[:2]
        most = int(min(height, width) * beta)
        reference = fitted(reference_image, height, width)
        out = np.empty_like(img)
        for channel in range(img.shape[2]):
            change = _change(_low(img[..., channel], most), _low(reference[..., channel], most), height * width)
            rows = np.zeros((height, most + 1), complex)
            rows[_within(most, height)] = change
            added = np.fft.irfft(np.fft.ifft(rows, axis=0), n=width, axis=1)
            out[..., channel] = as_pixels(img[..., channel] + added)
        return out


def _within(most: int, side: int) -> NDArray[np.int64]:
    """Return the indices in a spectrum of the frequencies of at most this many periods."""
    return np.unique(np.arange(-most, most + 1) % side)


def _low(channel: _Image, most: int) -> _Spectrum:
    """Return the spectrum's part of at most this many periods in both directions, and along x only the needed half."""
    rows: _Spectrum = np.fft.rfft(channel, axis=1)[:, : most + 1]
    columns: _Spectrum = np.fft.fft(rows, axis=0)
    return columns[_within(most, len(channel))]


def _change(source: _Spectrum, target: _Spectrum, num_pixels: int) -> _Spectrum:
    """Return the difference that gives one spectrum the other's amplitudes; a missing phase becomes 0.

    Amplitudes are square roots of sums, whose last bit is the same on every processor. NumPy's ``abs`` of complex
    numbers differs with AVX-512.
    """
    before, after = (np.sqrt(one.real**2 + one.imag**2) for one in (source, target))
    has_phase = before > _NO_PHASE * 255 * num_pixels
    factors = np.divide(after, before, out=np.ones_like(before), where=has_phase) - 1
    return np.where(has_phase, source * factors, after - source)


class HistogramMatching(Referring, A.ImageOnlyTransform):  # type: ignore[misc]  # the metaclass is untyped
    """Transform that gives each channel the reference's histogram, blended with the image by ``blend_ratio``.

    At a weight of 1 it is ``skimage.exposure.match_histograms`` to the last bit.
    """

    def __init__(self, references: str, blend_ratio: Range = (0.5, 1.0), p: float = 0.5) -> None:
        super().__init__(p=p)
        self.references = references
        self.blend_ratio = blend_ratio

    def get_params(self) -> dict[str, Any]:
        return {"blend_ratio": self.py_random.uniform(*self.blend_ratio)}

    def apply(self, img: _Image, *, blend_ratio: float, reference_image: _Image, **_: Any) -> _Image:
        out = np.empty_like(img)
        for channel in range(img.shape[2]):
            matched = np.floor(_matching(img[..., channel], reference_image[..., channel]))
            table = as_pixels(blend_ratio * matched + (1 - blend_ratio) * np.arange(256))
            out[..., channel] = table[img[..., channel]]
        return out


def _matching(channel: _Image, reference: _Image) -> NDArray[np.float64]:
    """Return for each value of a channel the reference's value with the same share of pixels below."""
    counts, target_counts = (np.bincount(one.ravel(), minlength=256) for one in (channel, reference))
    values = np.flatnonzero(target_counts)
    return np.interp(np.cumsum(counts) / channel.size, np.cumsum(target_counts[values]) / reference.size, values)


class PixelDistributionAdaptation(Referring, A.ImageOnlyTransform):  # type: ignore[misc]  # the metaclass is untyped
    """Transform that moves the image's colours to the reference's, blended with the image by ``blend_ratio``.

    ``standard``: mean and deviation of each channel become the reference's. ``minmax``: its least and largest value do.
    ``pca``: the mean colour and the principal axes of the colours do, and their spread stays. An axis has no sign, so
    each of the reference's is turned to the side of the image's (qudida, the method's source, turns all or none and may
    give an image the complements of its colours).
    """

    def __init__(
        self,
        references: str,
        blend_ratio: Range = (0.25, 1.0),
        transform_type: Literal["pca", "standard", "minmax"] = "pca",
        p: float = 0.5,
    ) -> None:
        super().__init__(p=p)
        self.references = references
        self.blend_ratio = blend_ratio
        self.transform_type = transform_type

    def get_params(self) -> dict[str, Any]:
        return {"blend_ratio": self.py_random.uniform(*self.blend_ratio)}

    def apply(self, img: _Image, *, blend_ratio: float, reference_image: _Image, **_: Any) -> _Image:
        factors, shift = _ADAPTATIONS[self.transform_type](img, reference_image)
        values = np.arange(256)
        out = np.empty_like(img)
        for channel in range(3):
            total: Any = 0.0
            for source in range(3):
                table = blend_ratio * factors[channel, source] * values
                if source == channel:
                    table += (1 - blend_ratio) * values + blend_ratio * shift[channel]
                total = total + table[img[..., source]]
            out[..., channel] = as_pixels(total)
        return out


_Affine = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Factors (3, 3) from channels to channels, and the offset of each."""


def _to_extremes(image: _Image, reference: _Image) -> _Affine:
    low, high = (image.min(axis=(0, 1)).astype(float), image.max(axis=(0, 1)).astype(float))
    target_low, target_high = (reference.min(axis=(0, 1)).astype(float), reference.max(axis=(0, 1)).astype(float))
    factors = (target_high - target_low) / np.maximum(high - low, 1)
    return np.diag(factors), target_low - factors * low


def _to_deviations(image: _Image, reference: _Image) -> _Affine:
    (mean, covariance), (target_mean, target_covariance) = _moments(image), _moments(reference)
    deviations, target_deviations = np.sqrt(np.diag(covariance)), np.sqrt(np.diag(target_covariance))
    factors = np.divide(target_deviations, deviations, out=np.ones(3), where=deviations > 0)
    return np.diag(factors), target_mean - factors * mean


def _to_axes(image: _Image, reference: _Image) -> _Affine:
    (mean, covariance), (target_mean, target_covariance) = _moments(image), _moments(reference)
    (_, _, axes), (_, _, target_axes) = cv2.eigen(covariance), cv2.eigen(target_covariance)
    signs = np.where((axes * target_axes).sum(axis=1) < 0, -1.0, 1.0)
    factors = np.zeros((3, 3))
    for axis, target_axis, sign in zip(axes, target_axes, signs, strict=True):
        factors += np.outer(sign * target_axis, axis)
    shift = target_mean - (factors * mean).sum(axis=1)
    return factors, shift


_ADAPTATIONS = {"minmax": _to_extremes, "standard": _to_deviations, "pca": _to_axes}


def _moments(image: _Image) -> _Affine:
    """Return mean and covariance of the colours, from sums that are exact in any order."""
    pixels = image.reshape(-1, 3).astype(np.float64)
    count, sums, products = len(pixels), pixels.sum(axis=0), pixels.T @ pixels
    exact = [[count * int(products[i, j]) - int(sums[i]) * int(sums[j]) for j in range(3)] for i in range(3)]
    return sums / count, np.array([[value / count**2 for value in row] for row in exact])


class TemplateTransform(Referring, A.ImageOnlyTransform):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Transform that blends the image with a resized reference, whose weight is 1 - ``img_weight``."""

    def __init__(self, references: str, img_weight: Range = (0.5, 0.5), p: float = 0.5) -> None:
        super().__init__(p=p)
        self.references = references
        self.img_weight = img_weight

    def get_params(self) -> dict[str, Any]:
        return {"img_weight": self.py_random.uniform(*self.img_weight)}

    def apply(self, img: _Image, *, img_weight: float, reference_image: _Image, **_: Any) -> _Image:
        template = fitted(reference_image, *img.shape[:2])
        values = np.arange(256)
        return as_pixels((img_weight * values)[img] + ((1 - img_weight) * values)[template])


ENTRIES = (
    TransformEntry(
        "FDA",
        "Gives the image's low frequencies the amplitudes of a reference's (Yang and Soatto, 2020).",
        {
            **_REFERENCES,
            "beta_limit": schema.pair(
                schema.number(0, 0.5, "highest frequency that is changed, as a share of the shorter side's pixels"),
                scalar="from-zero",
            ),
        },
        references=True,
        implementation=FDA,
    ),
    TransformEntry(
        "HistogramMatching",
        "Gives each channel the histogram of a reference.",
        {**_REFERENCES, **_BLEND},
        references=True,
        implementation=HistogramMatching,
    ),
    TransformEntry(
        "PixelDistributionAdaptation",
        "Moves the colours to those of a reference.",
        {
            **_REFERENCES,
            **_BLEND,
            "transform_type": schema.choice(
                {
                    "pca": "mean and principal axes of the colours",
                    "standard": "mean and deviation of each channel",
                    "minmax": "least and largest value of each channel",
                },
                "properties taken from the reference",
            ),
        },
        references=True,
        implementation=PixelDistributionAdaptation,
    ),
    TransformEntry(
        "TemplateTransform",
        "Blends the image with a reference resized to its size.",
        {
            **_REFERENCES,
            "img_weight": schema.pair(
                schema.number(0, 1, "weight of the image; the reference has the rest"),
                scalar="repeat",
            ),
        },
        references=True,
        implementation=TemplateTransform,
    ),
    TransformEntry(
        "OverlayElements",
        "Pastes elements of references onto the image, cut out by their masks if they have some.",
        {
            **_REFERENCES,
            "num_elements": schema.pair(schema.integer(1, limits.ELEMENTS, "number of elements"), scalar="repeat"),
            "scale_range": schema.pair(
                schema.number(0, 1, "size of an element: the share of height and width that it fits into", above=True)
            ),
            "fill_mask": schema.optional(
                schema.integer(0, 255, "class index of the mask below an element"), "the mask is kept"
            ),
        },
        targets=ALL_TARGETS,
        references=True,
        implementation=OverlayElements,
    ),
)
