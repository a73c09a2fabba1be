"""Normalisation of tensors by their own framework, on their own device: PyTorch, TensorFlow and JAX.

None of them is imported here: the owner of a tensor has imported its framework.
"""

import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from augment.errors import CallError
from augment.normalize.methods import ByValue, Normalization
from augment.normalize.pixel_format import dtype_name

LookUp: TypeAlias = Callable[[Any, Any, NDArray[np.float32], int], Any]
"""From a framework's module, a tensor of uint8, a table (3, 256) and the axis of channels to a tensor of floats."""


def framework_of(images: Any) -> str | None:
    """Return ``torch``, ``tensorflow`` or ``jax`` for a tensor of it, else None."""
    for name, (kind, _) in _FRAMEWORKS.items():
        tensor = getattr(sys.modules.get(name), kind, None)
        if tensor is not None and isinstance(images, tensor):
            return name
    return None


def as_array(images: Any) -> NDArray[Any]:
    """Return the values as a NumPy array, copied from the device of a tensor if it has one."""
    if framework_of(images) == "torch":
        images = images.detach().cpu()
    if not hasattr(images, "__array__") and hasattr(images, "__dlpack__"):
        return np.from_dlpack(images)
    return np.asarray(images)


def normalize_tensor(images: Any, method: Normalization, *, channels_first: bool) -> Any:
    """Return float32 of a tensor of uint8 (..., H, W, 3) or (..., 3, H, W), of its shape and on its device.

    The values are those of ``pixel_format.convert``, bit for bit. A method that looks at each image copies it to NumPy
    to choose the table, and so accepts no symbolic tensor. CallError for anything but such images.
    """
    axis = -3 if channels_first else -1
    shape = tuple(images.shape)
    if dtype_name(images.dtype) != "uint8" or len(shape) < 3 or shape[axis] != 3:
        axes = "(..., 3, H, W)" if channels_first else "(..., H, W, 3)"
        raise CallError(f"images are uint8 {axes}, not {dtype_name(images.dtype)} {shape}; give them as they come")
    name = framework_of(images)
    if name is None:
        raise CallError(f"images are {type(images).__name__}; give NumPy arrays or tensors of {', '.join(_FRAMEWORKS)}")
    module, look_up = sys.modules[name], _FRAMEWORKS[name][1]
    if isinstance(method, ByValue):
        return look_up(module, images, method.floats().astype(np.float32), axis)
    if len(shape) > 3 and shape[0]:
        stack = module.numpy.stack if name == "jax" else module.stack
        return stack([normalize_tensor(image, method, channels_first=channels_first) for image in images])
    pixels = np.moveaxis(as_array(images), axis, -1)
    table = method.table(pixels, np.dtype(np.float32)) if pixels.size else np.zeros((3, 256), np.float32)
    return look_up(module, images, table, axis)


def _look_up_torch(torch: Any, images: Any, table: NDArray[np.float32], axis: int) -> Any:
    floats = torch.tensor(table, device=images.device)
    return torch.stack([floats[c][channel.int()] for c, channel in enumerate(images.unbind(axis))], axis)


def _look_up_tensorflow(tensorflow: Any, images: Any, table: NDArray[np.float32], axis: int) -> Any:
    channels = tensorflow.unstack(tensorflow.cast(images, tensorflow.int32), 3, axis)
    return tensorflow.stack([tensorflow.gather(table[c], channel) for c, channel in enumerate(channels)], axis)


def _look_up_jax(jax: Any, images: Any, table: NDArray[np.float32], axis: int) -> Any:
    floats = jax.numpy.asarray(table)
    channels = [jax.numpy.take(images, c, axis) for c in range(3)]
    return jax.numpy.stack([jax.numpy.take(floats[c], channel) for c, channel in enumerate(channels)], axis)


_FRAMEWORKS: Final[Mapping[str, tuple[str, LookUp]]] = MappingProxyType(
    {
        "torch": ("Tensor", _look_up_torch),
        "tensorflow": ("Tensor", _look_up_tensorflow),
        "jax": ("Array", _look_up_jax),
    }
)
"""The class of a framework's tensors, and how it looks values up."""
