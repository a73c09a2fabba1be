"""Families of transforms, one file each, in the order in which people look for them.

A family's file holds our classes of its transforms, the rules for their sizes, and the entries. A class of ours
replaces one of Albumentations 2.0.8 that is needlessly slow, or has an error that would refuse good records or spoil
targets. That is the last release under its licence, so the errors will stay. Name, parameters and draws are the
original's. The docstring states what differs, and by how much at most if the pixels are not the same bytes.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from augment.transforms.entry import TransformEntry
from augment.transforms.families import (
    blur,
    colour,
    crop,
    distortion,
    donors,
    dropout,
    flip,
    geometry,
    light,
    noise,
    policy,
    quality,
    reference,
    resize,
    weather,
)

FAMILIES: Final[Mapping[str, tuple[TransformEntry, ...]]] = MappingProxyType(
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
        "container": policy.CONTAINER_ENTRIES,
    }
)
"""Entries by the name of their family. A new family is one line here."""
