"""Normalisation of a user's or a stream's images, and its inverse, by a section instead of a method."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.errors import CallError
from augment.normalize import pixel_format, section
from augment.normalize.methods import ByDataset, Normalization
from augment.normalize.pixel_format import PixelFormat
from augment.validation import JSON


def normalize_images(
    images: Any, normalize: Mapping[str, Any] | None = None, *, dtype: str = "float32", layout: str = "NHWC"
) -> Any:
    """Normalise images, uint8 (..., H, W, 3), or a list of them, to floats in new arrays.

    ``normalize`` is a section as in a pipeline, by default ``{"method": "min_max"}``; ``dtype`` is float32, float16 or
    uint8 (which only changes the layout), ``layout`` NHWC or NCHW. Raises PipelineError for an invalid section,
    CallError for everything else.
    """
    return pixel_format.convert(images, _method(normalize), dtype, layout)


def denormalise_images(images: Any, normalize: Mapping[str, Any] | None = None, *, layout: str = "NHWC") -> Any:
    """Return images to look at, uint8 (..., H, W, 3), from the result of ``normalize_images`` with the same section.

    If each float depends on the value alone, this restores the image exactly. For ``statistics: image`` and ``input:
    image`` it is a stretch for display, since the floats do not hold the image's brightness.
    """
    return pixel_format.denormalise(images, _method(normalize), layout)


def seen(image: NDArray[np.uint8], normalize: Mapping[str, Any] | None) -> NDArray[np.uint8]:
    """Return an image, uint8 (H, W, 3), as it looks after normalisation and back: the same if nothing is lost."""
    method = _method(normalize)
    if method is None or isinstance(method, ByDataset):
        return image
    shown: NDArray[np.uint8] = pixel_format.denormalise(method.apply(image), method)
    return shown


def normalize(images: Any, normalization: Mapping[str, JSON] | None, form: PixelFormat) -> Any:
    """Normalise a stream's images to float32 in their layout. Raises CallError for floats or a missing section."""
    if form.is_float:
        raise CallError(
            f"the images of this stream are {form.dtype}, normalised already; take the batch's images as they are, "
            "or declare the stream with dtype uint8"
        )
    if normalization is None:
        raise CallError("the pipeline has no `normalize` section; add one, or give the stream `normalize`")
    last = _channels_last(images, form)
    return pixel_format.convert(last, section.parse(normalization), "float32", form.layout)


def denormalise(images: Any, normalization: Mapping[str, JSON] | None, form: PixelFormat) -> Any:
    """Return images to look at, uint8 (..., H, W, 3), from a stream's images in their layout."""
    return pixel_format.denormalise(images, _method(normalization), form.layout)


def _method(normalization: object) -> Normalization | None:
    return None if normalization is None else section.parse_given(normalization)


def _channels_last(images: Any, form: PixelFormat) -> Any:
    if isinstance(images, list | tuple):
        return [_channels_last(image, form) for image in images]
    array = np.asarray(images)
    return np.moveaxis(array, -3, -1) if form.channels_first and array.ndim >= 3 else array
