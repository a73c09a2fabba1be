"""Colours of targets that are drawn for people: classes of masks, and bright ones for boxes, objects and keypoints.

Classes of masks have the colours of PASCAL VOC's palette, in which class 0 is black; objects, box labels and keypoints
have bright colours that are far apart for neighbouring numbers.
"""

import colorsys
import math

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

_GOLDEN = (math.sqrt(5) - 1) / 2


def class_colour(value: int) -> Colour:
    """The colour of a class of a mask: PASCAL VOC's palette (its development kit's ``VOClabelcolormap``)."""
    red = green = blue = 0
    for bit in range(8):
        red |= (value >> (3 * bit) & 1) << (7 - bit)
        green |= (value >> (3 * bit + 1) & 1) << (7 - bit)
        blue |= (value >> (3 * bit + 2) & 1) << (7 - bit)
    return red, green, blue


def bright(number: int) -> Colour:
    """A bright colour for a label or an object: hues a golden section apart, so that neighbours differ most."""
    red, green, blue = colorsys.hsv_to_rgb((0.02 + number * _GOLDEN) % 1.0, 0.85, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)
