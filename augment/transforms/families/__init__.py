"""The families of transforms, one file each, in the order in which people look for them.

A family's file holds the entries of its transforms, the rules for their sizes and the classes that are ours. Some
classes of ours take the place of one of Albumentations that is slow for no reason: same parameters, same draws, same
results. A docstring says what differs, and by how much at most, if the pixels are not the very same bytes.
"""

from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import Final

from augment.transforms.entry import Entry
from augment.transforms.families import (
    blur,
    colour,
    container,
    crop,
    distortion,
    donors,
    dropout,
    flip,
    geometry,
    light,
    noise,
    overlay,
    policy,
    quality,
    reference,
    resize,
    weather,
)

FAMILIES: Final[Mapping[str, tuple[Entry, ...]]] = MappingProxyType(
    {
        "flip": flip.ENTRIES,
        "rotation": flip.ROTATION_ENTRIES,
        "crop": crop.ENTRIES,
        "resize": resize.ENTRIES,
        "geometry": geometry.ENTRIES,
        "distortion": distortion.ENTRIES,
        "colour": colour.ENTRIES,
        "light": light.ENTRIES,
        "noise": noise.ENTRIES,
        "blur": blur.ENTRIES,
        "sharpness": blur.SHARPNESS_ENTRIES,
        "quality": quality.ENTRIES,
        "dropout": dropout.ENTRIES,
        "weather": weather.ENTRIES,
        "policy": policy.ENTRIES,
        "mixing": donors.ENTRIES,
        "reference": reference.ENTRIES,
        "container": container.ENTRIES,
    }
)
"""Entries by the name of their family. A new family is one line here."""

CLASS_MODULES: Final[tuple[ModuleType, ...]] = (
    *(geometry, reference, overlay, flip, crop, noise, dropout, colour, light),
    *(blur, quality, weather),
)
"""The families that hold classes of ours."""
