"""Images of a user or a stream, normalised and back, by a section instead of a method."""

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
    """Floats of images: uint8 (..., H, W, 3), or a list of such; new arrays.

    ``normalize`` is a section as a pipeline has it, by default ``{"method": "min_max"}``; ``dtype`` is float32, float16
    or uint8 (which is only laid out), ``layout`` NHWC or NCHW. Raises PipelineError where the section is wrong,
    CallError for everything else.
    """
    return pixel_format.convert(images, _method(normalize), dtype, layout)


def denormalise_images(images: Any, normalize: Mapping[str, Any] | None = None, *, layout: str = "NHWC") -> Any:
    """Images to look at, uint8 (..., H, W, 3), of what ``normalize_images`` gave with the same section.

    Where the float follows from the value alone that is the very image; of ``statistics: image`` and ``input:
    image`` it is a stretch for display, since the floats no longer say how bright the image was.
    """
    return pixel_format.denormalise(images, _method(normalize), layout)


def seen(image: NDArray[np.uint8], normalize: Mapping[str, Any] | None) -> NDArray[np.uint8]:
    """An image uint8 (H, W, 3) as it looks when its floats are made pixels again: the same where nothing is lost."""
    method = _method(normalize)
    if method is None or isinstance(method, ByDataset):
        return image
    made: NDArray[np.uint8] = pixel_format.denormalise(method.apply(image), method)
    return made


def normalize(images: Any, normalization: Mapping[str, JSON] | None, form: PixelFormat) -> Any:
    """Float32 of a stream's images, in their layout; CallError where they are floats or no section says how."""
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
    """Images to look at, uint8 (..., H, W, 3), of a stream's images in their layout."""
    return pixel_format.denormalise(images, _method(normalization), form.layout)


def _method(normalization: object) -> Normalization | None:
    return None if normalization is None else section.parse_given(normalization)


def _channels_last(images: Any, form: PixelFormat) -> Any:
    if isinstance(images, list | tuple):
        return [_channels_last(image, form) for image in images]
    array = np.asarray(images)
    return np.moveaxis(array, -3, -1) if form.channels_first and array.ndim >= 3 else array
