"""Normalisation of a user's or a stream's images, and its inverse, by a section instead of a method."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.errors import CallError
from augment.normalize import pixel_format, section
from augment.normalize.methods import ByDataset, Normalization
from augment.normalize.pixel_format import PixelFormat, layout_of
from augment.normalize.tensors import as_array, framework_of, normalize_tensor
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


def normalize(
    images: Any, normalization: Mapping[str, JSON] | None, form: PixelFormat, layout: str | None = None
) -> Any:
    """Normalise a stream's images to float32: uint8 arrays of NumPy, tensors of PyTorch, TensorFlow or JAX, or a list.

    The result has the kind, the layout and the device of its argument. ``layout`` is NHWC or NCHW; by default it is
    found by the axis that has three channels, and is the stream's if both have. Raises CallError for a stream of floats
    or a missing section.
    """
    if form.is_float:
        raise CallError(
            f"the images of this stream are {form.dtype}, normalised already; take the batch's images as they are, "
            "or declare the stream with dtype uint8"
        )
    if normalization is None:
        raise CallError("the pipeline has no `normalize` section; add one, or give the stream `normalize`")
    return _normalize(images, section.parse(normalization), form.layout, layout)


def denormalise(images: Any, normalization: Mapping[str, JSON] | None, form: PixelFormat) -> Any:
    """Return images to look at, uint8 NumPy (..., H, W, 3), from arrays or tensors of either layout, or a list."""
    if isinstance(images, list | tuple):
        return [denormalise(image, normalization, form) for image in images]
    array = as_array(images)
    return pixel_format.denormalise(array, _method(normalization), layout_of(array.shape, form.layout))


def _normalize(images: Any, method: Normalization, of_stream: str, given: str | None) -> Any:
    if isinstance(images, list | tuple):
        return [_normalize(image, method, of_stream, given) for image in images]
    is_tensor = framework_of(images) is not None
    if not is_tensor:
        images = as_array(images)
    layout = PixelFormat(layout=given or layout_of(images.shape, of_stream)).layout
    if is_tensor:
        return normalize_tensor(images, method, channels_first=layout == "NCHW")
    last = np.moveaxis(images, -3, -1) if layout == "NCHW" and images.ndim >= 3 else images
    return pixel_format.convert(last, method, "float32", layout)


def _method(normalization: object) -> Normalization | None:
    return None if normalization is None else section.parse_given(normalization)
