"""Pixel format of a batch: uint8 or floats, channels last or first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from augment import validation
from augment.errors import CallError
from augment.normalize.methods import MinMax, Normalization, check_images, look_up
from augment.validation import did_you_mean

T = TypeVar("T")

DTYPES: Final = ("uint8", "float32", "float16")
LAYOUTS: Final = ("NHWC", "NCHW")


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """Pixel format: ``dtype`` is one of ``DTYPES``, ``layout`` one of ``LAYOUTS``, else CallError is raised."""

    dtype: str = "uint8"
    layout: str = "NHWC"

    def __post_init__(self) -> None:
        for name, value, words in (("dtype", self.dtype, DTYPES), ("layout", self.layout, LAYOUTS)):
            if value not in words:
                hint = did_you_mean(str(value), words)
                raise CallError(f"{name} is {validation.quoted(value)}; it is one of {', '.join(words)}{hint}")

    @property
    def is_float(self) -> bool:
        return self.dtype != "uint8"

    @property
    def itemsize(self) -> int:
        """Bytes of one value."""
        return np.dtype(self.dtype).itemsize

    @property
    def channels_first(self) -> bool:
        return self.layout == "NCHW"

    @property
    def dim_names(self) -> tuple[str, str, str]:
        """Names of an image's axes."""
        return ("C", "H", "W") if self.channels_first else ("H", "W", "C")

    def shape(self, image_shape: tuple[T, T, T]) -> tuple[T, T, T]:
        """Return the shape of an image (H, W, 3) in this layout."""
        height, width, channels = image_shape
        return (channels, height, width) if self.channels_first else image_shape


PLAIN: Final = PixelFormat()
"""Format of images inside the engine."""


def dtype_name(dtype: object) -> str:
    """Return the name of a dtype of NumPy, PyTorch, TensorFlow or JAX: float32 of PyTorch's too."""
    if isinstance(dtype, str):
        return dtype
    try:
        name: str = np.dtype(dtype).name  # type: ignore[call-overload]  # TypeError if it is none of NumPy's
    except TypeError:
        return str(getattr(dtype, "name", dtype)).rpartition(".")[2]
    return name


def layout_of(shape: Sequence[int | None], otherwise: str) -> str:
    """Return the layout by the axis that has three channels, ``otherwise`` if both axes have three, or neither."""
    if len(shape) < 3 or (shape[-3] == 3) == (shape[-1] == 3):
        return otherwise
    return "NCHW" if shape[-3] == 3 else "NHWC"


def convert(
    images: NDArray[np.uint8] | list[NDArray[np.uint8]] | tuple[NDArray[np.uint8], ...],
    normalization: Normalization | None = None,
    dtype: str = "float32",
    layout: str = "NHWC",
) -> Any:
    """Convert images, uint8 (..., H, W, 3), or a list of them, to another type and layout in new arrays.

    Floats are rounded once from float64. Without a ``normalization`` they are in [0, 1]; uint8 takes none. No
    intermediate copy is made.
    """
    form = PixelFormat(dtype, layout)
    if isinstance(images, list | tuple):
        return [convert(image, normalization, dtype, layout) for image in images]
    array = np.asarray(images)
    if not form.is_float:
        check_images(array)
        return np.array(np.moveaxis(array, -1, -3) if form.channels_first else array, order="C")
    method, kind = normalization or MinMax(), np.dtype(dtype)
    return look_up(array, lambda image: method.table(image, kind), kind, first=form.channels_first)


def denormalise(images: Any, normalization: Normalization | None = None, layout: str = "NHWC") -> Any:
    """Return images to look at: uint8 (..., H, W, 3) from the result of ``convert``, or a list of them; new arrays.

    Each method documents its exactness. For uint8 only the layout changes.
    """
    first = PixelFormat(layout=layout).channels_first
    if isinstance(images, list | tuple):
        return [denormalise(image, normalization, layout) for image in images]
    array = np.asarray(images)
    if array.ndim < 3 or array.shape[-3 if first else -1] != 3 or (array.dtype.kind != "f" and array.dtype != np.uint8):
        axes = "(..., 3, H, W)" if first else "(..., H, W, 3)"
        raise CallError(f"images are floats {axes} in the layout {layout}, not {array.dtype} {array.shape}")
    last = np.moveaxis(array, -3, -1) if first else array
    if array.dtype == np.uint8:
        return np.array(last, order="C")
    method = normalization or MinMax()
    out = np.empty(last.shape, np.uint8)
    for place in np.ndindex(*last.shape[:-3]):
        out[place] = method.denormalise(last[place])
    return out
