"""Images of a user or a stream, normalised and back, by a section instead of a method."""

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


def normalize(
    images: Any, normalization: Mapping[str, JSON] | None, form: PixelFormat, layout: str | None = None
) -> Any:
    """Float32 of a stream's images: uint8 NumPy arrays or tensors of PyTorch, TensorFlow or JAX, or a list of such.

    The result is of the kind, the layout and the device of what is given. ``layout`` is NHWC or NCHW; by default it is
    found by the axis that has three channels, and is the stream's if both have. CallError where the stream has floats
    or no section says how.
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
    """Images to look at, uint8 NumPy (..., H, W, 3): of arrays or tensors of either layout, or of a list of such."""
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
