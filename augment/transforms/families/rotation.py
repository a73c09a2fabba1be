"""Rotations about the picture's centre."""

from augment.transforms import schema
from augment.transforms.entry import ALL_TARGETS, Entry, warp

FAMILY = "rotation"

_LIMIT = schema.pair(schema.number(-360, 360, "angle in degrees, anticlockwise"), scalar="symmetric")
_ROTATE_METHOD = schema.choice(
    {"largest_box": "the rotated box's bounding box", "ellipse": "the bounding box of the ellipse in the box"},
    "how a box that no longer stands upright becomes one that does",
)

ENTRIES = (
    Entry(
        "RandomRotate90",
        "Turns the picture by 0, 90, 180 or 270 degrees; exact, and width and height may change places.",
        {},
        ALL_TARGETS,
        moves_pixels=True,
    ),
    Entry(
        "Rotate",
        "Turns the picture by a random angle and keeps its size; corners are cut off, or the empty border is.",
        {"limit": _LIMIT}
        | warp()
        | {
            "rotate_method": _ROTATE_METHOD,
            "crop_border": schema.flag(
                "cut the result to the largest upright rectangle without border; its size varies"
            ),
        },
        ALL_TARGETS,
        moves_pixels=True,
    ),
    Entry(
        "SafeRotate",
        "Turns the picture by a random angle and shrinks it until all of it fits into the size it had.",
        {"limit": _LIMIT} | warp() | {"rotate_method": _ROTATE_METHOD},
        ALL_TARGETS,
        moves_pixels=True,
    ),
)
