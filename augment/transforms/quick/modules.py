"""The modules of this room whose classes stand in the catalogue, as a list; a new one is added here."""

from types import ModuleType
from typing import Final

from augment.transforms.quick import colour, dots, histogram, jitter, mirror, noise, resized_crop, square

MODULES: Final[tuple[ModuleType, ...]] = (mirror, square, resized_crop, noise, dots, colour, jitter, histogram)
