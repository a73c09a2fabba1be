"""Compare the operations of policies with torchvision's, pixel by pixel: ``python -m bench.beside_torchvision``.

Prints the table of docs/policies.md. torchvision is not a dependency of this package: install it first. For each
operation and each of torchvision's two kinds of images it prints the share of values that differ, the share that
differs by more than 1 level, the largest difference and the mean.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from skimage import data
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from augment.transforms.albumentations_import import cv2
from augment.transforms.policies import operations
from augment.transforms.policies.policy import applied

# ruff: noqa: T201 - a benchmark prints


Pixels = np.ndarray[Any, Any]
FACTORS = (0.01, 0.1, 0.37, 0.46, 0.73, 1.0, 1.18, 1.27, 1.54, 1.63, 1.9, 1.99)
DEGREES = (-135, -30, -13.5, -1, 4.5, 9, 27, 45, 117, 135)
FILTERS = {"nearest": (0, InterpolationMode.NEAREST), "bilinear": (1, InterpolationMode.BILINEAR)}


def patterns() -> list[Pixels]:
    rng = np.random.default_rng(0)
    ramp = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    return [
        rng.integers(0, 256, (97, 131, 3), dtype=np.uint8),
        rng.integers(20, 90, (64, 48, 3), dtype=np.uint8),
        np.full((30, 40, 3), (7, 200, 99), np.uint8),
        np.stack([ramp, ramp.T, np.full_like(ramp, 128)], axis=-1),
        *(np.ascontiguousarray(_photograph(name)[:300, :401]) for name in ("astronaut", "coffee", "chelsea")),
    ]


def _photograph(name: str) -> Pixels:
    photograph: Pixels = getattr(data, name)()
    return photograph


def cases() -> Iterator[tuple[str, Callable[[Pixels], Pixels], Callable[[Any], Any]]]:
    """Yield the operations to compare: name, our function, torchvision's function."""
    enhancements = {
        "Brightness": functional.adjust_brightness,
        "Color": functional.adjust_saturation,
        "Contrast": functional.adjust_contrast,
        "Sharpness": functional.adjust_sharpness,
    }
    for name, function in enhancements.items():
        for factor in FACTORS:
            yield name, _ours(name, factor), functools.partial(_called, function, factor)
    for bits in range(1, 9):
        yield "Posterize", _ours("Posterize", bits), functools.partial(functional.posterize, bits=bits)
    for threshold in (0.0, 1.0, 25.6, 77.3, 128.0, 179.2, 230.0, 255.0):
        yield "Solarize", _ours("Solarize", threshold), functools.partial(functional.solarize, threshold=threshold)
    yield "AutoContrast", _ours("AutoContrast", None), functional.autocontrast
    yield "Equalize", _ours("Equalize", None), functional.equalize
    yield "Invert", _ours("Invert", None), functional.invert
    yield "Grayscale", lambda one: np.repeat(operations.luma(one)[..., np.newaxis], 3, axis=2), _grey
    for sigma in (0.1, 0.3, 0.7, 1.0, 1.5, 2.0):
        yield "GaussianBlur", functools.partial(_blurred, sigma=sigma), functools.partial(_their_blur, sigma=sigma)
    for title, (ours, theirs) in FILTERS.items():
        for degrees in DEGREES:
            yield f"Rotate, {title}", _ours("Rotate", degrees, ours), _turned(degrees, theirs)
        for degrees in (-90, 90):
            yield f"Rotate by 90, {title}", _ours("Rotate", degrees, ours), _turned(degrees, theirs)
        for factor in (-0.99, -0.3, -0.2, -0.09, 0.01, 1 / 15, 0.2, 0.27, 0.66, 0.99):
            angle = math.degrees(math.atan(factor))
            yield f"ShearX, {title}", _ours("ShearX", factor, ours), _moved(theirs, shear=[angle, 0.0], center=[0, 0])
            yield f"ShearY, {title}", _ours("ShearY", factor, ours), _moved(theirs, shear=[0.0, angle], center=[0, 0])
        for pixels in (-32, -7, 1, 15, 32):
            yield f"TranslateX, {title}", _ours("TranslateX", pixels, ours), _moved(theirs, translate=[pixels, 0])
            yield f"TranslateY, {title}", _ours("TranslateY", pixels, ours), _moved(theirs, translate=[0, pixels])


def _called(function: Callable[[Any, float], Any], factor: float, one: Any) -> Any:
    return function(one, factor)


def _ours(name: str, magnitude: float | None, interpolation: int = 0) -> Callable[[Pixels], Pixels]:
    return lambda one: applied(one, [(name, magnitude)], interpolation, 0)


def _blurred(one: Pixels, sigma: float) -> Pixels:
    return cv2.GaussianBlur(one, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)


def _their_blur(one: Any, sigma: float) -> Any:
    if isinstance(one, Image.Image):
        return one.filter(ImageFilter.GaussianBlur(sigma))
    return functional.gaussian_blur(one, [23, 23], [sigma, sigma])


def _grey(one: Any) -> Any:
    return functional.rgb_to_grayscale(one, 3)


def _turned(degrees: float, interpolation: InterpolationMode) -> Callable[[Any], Any]:
    return lambda one: functional.rotate(one, float(degrees), interpolation=interpolation)


def _moved(interpolation: InterpolationMode, **how: Any) -> Callable[[Any], Any]:
    still: dict[str, Any] = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    return lambda one: functional.affine(one, **still | how, interpolation=interpolation)


def main() -> None:
    found: dict[tuple[str, str], list[Pixels]] = {}
    for name, ours, theirs in cases():
        for one in patterns():
            mine = ours(one).astype(int)
            tensor = theirs(torch.from_numpy(one).permute(2, 0, 1).contiguous()).permute(1, 2, 0).numpy()
            for kind, other in (("tensors", tensor), ("Pillow", np.array(theirs(Image.fromarray(one))))):
                found.setdefault((name, kind), []).append(np.abs(mine - other).ravel())
    for (name, kind), differences in found.items():
        each = np.concatenate(differences)
        print(
            f"{name:24} {kind:8} differ {(each > 0).mean():9.4%}  by more than 1 {(each > 1).mean():9.4%}"
            f"  at most {each.max():3}  mean {each.mean():.4f}"
        )


if __name__ == "__main__":
    main()
