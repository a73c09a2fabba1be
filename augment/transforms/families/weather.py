"""Weather and outdoor effects: rain, snow, fog, sun, shadows, dirt."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from augment.transforms import limits, schema
from augment.transforms.albumentations_import import A
from augment.transforms.entry import Extent, Params, TransformEntry, Unfit
from augment.transforms.schema import Schema


def _region(description: str) -> Schema:
    share: Schema = {"type": "number", "minimum": 0, "maximum": 1}
    return schema.array(share, 4, 4, f"{description}: x_min, y_min, x_max, y_max as shares of the image")


def _region_grows(name: str) -> tuple[str, Any]:
    def rule(params: Mapping[str, Any]) -> str | None:
        x_min, y_min, x_max, y_max = params[name]
        if x_min < x_max and y_min < y_max:
            return None
        return f"{name} is {params[name]}; x_min must be less than x_max, and y_min less than y_max"

    return (f"{name} has x_min < x_max and y_min < y_max", rule)


_RGB = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}, "minItems": 3, "maxItems": 3}


_DROPS: Final = {"drizzle": 4, "heavy": 1, "torrential": 1, "default": 3}
"""Number of rows for one drop; an image with fewer rows has no rain."""


def _rain(params: Params, before: Extent) -> Iterable[Extent]:
    length, first = params["drop_length"] or 1, _DROPS[params["rain_type"]]
    if before.surest[0] <= length and before.max_height >= first:
        raise Unfit(
            f"a drop of {length} pixels needs an image that is at least {length + 1} pixels high, not {before}; lower "
            "`drop_length`, or put `SmallestMaxSize` before it"
        )
    return (before,)


class RandomShadow(A.RandomShadow):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """RandomShadow whose region is at least one pixel wide and high; the original fails if a small image has none."""

    shadow_roi: tuple[float, float, float, float]

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        height, width = params["shape"][:2]
        region = self.shadow_roi
        (left, right), (top, bottom) = _some_pixel(*region[::2], width), _some_pixel(*region[1::2], height)
        self.shadow_roi = (left, top, right, bottom)
        try:
            drawn: dict[str, Any] = super().get_params_dependent_on_data(params, data)
        finally:
            self.shadow_roi = region
        return drawn


def _some_pixel(low: float, high: float, side: int) -> tuple[float, float]:
    """Return the shares of a side, widened to hold at least a pixel."""
    if int(high * side) > int(low * side):
        return low, high
    first = min(int(low * side), side - 1)
    return (first + 0.25) / side, (first + 1.25) / side


ENTRIES = (
    TransformEntry(
        "RandomRain",
        "Draws rain drops, blurs and darkens the image.",
        {
            "slant_range": schema.pair(schema.number(-45, 45, "slant of the drops in degrees")),
            "drop_length": schema.optional(
                schema.integer(1, limits.DROP_LENGTH_PX, "length of a drop in pixels"), "an eighth of the height"
            ),
            "drop_width": schema.integer(1, limits.DROP_WIDTH_PX, "width of a drop in pixels"),
            "drop_color": _RGB | {"title": "red, green, blue", "description": "colour of the drops"},
            "blur_value": schema.integer(1, limits.KERNEL_PX, "side of the blur kernel in pixels"),
            "brightness_coefficient": schema.number(0, 1, "factor of the brightness", above=True),
            "rain_type": schema.choice(
                {"default": "some", "drizzle": "drizzle", "heavy": "heavy", "torrential": "torrential"},
                "number of drops",
            ),
        },
        output_size=_rain,
    ),
    TransformEntry(
        "RandomSnow",
        "Whitens the darker parts like snow, or puts a texture of snow over the image.",
        {
            "snow_point_range": schema.pair(schema.number(0, 1, "amount of snow")),
            "brightness_coeff": schema.number(0, limits.FACTOR, "brightness of the snow", above=True),
            "method": schema.choice({"bleach": "whiten", "texture": "texture and sparkle"}, "method"),
        },
    ),
    TransformEntry(
        "RandomFog",
        "Puts discs of fog over the image.",
        {
            "fog_coef_range": schema.pair(schema.number(0.05, 1, "amount of fog")),
            "alpha_coef": schema.number(0, 1, "opacity of one disc"),
        },
    ),
    TransformEntry(
        "RandomSunFlare",
        "Draws the flare of a sun in the image.",
        {
            "flare_roi": _region("region for the sun"),
            "src_radius": schema.integer(2, limits.FLARE_RADIUS_PX, "radius of the sun in pixels"),
            "src_color": _RGB | {"title": "red, green, blue", "description": "colour of the sun"},
            "angle_range": schema.pair(schema.number(0, 1, "direction of the flare as a share of a turn")),
            "num_flare_circles_range": schema.pair(schema.integer(1, limits.FLARE_CIRCLES, "number of circles")),
            "method": schema.choice({"overlay": "circles", "physics_based": "rays and scattered light"}, "method"),
        },
        rules=(_region_grows("flare_roi"),),
    ),
    TransformEntry(
        "RandomShadow",
        "Darkens random polygons.",
        {
            "shadow_roi": _region("region for the shadows"),
            "num_shadows_limit": schema.pair(schema.integer(1, limits.SHADOWS, "number of shadows")),
            "shadow_dimension": schema.integer(3, limits.SHADOW_VERTICES, "corners of a shadow"),
            "shadow_intensity_range": schema.pair(schema.number(0, 1, "darkness of the shadows")),
        },
        rules=(_region_grows("shadow_roi"),),
        implementation=RandomShadow,
    ),
    TransformEntry(
        "RandomGravel",
        "Scatters pebbles in random patches.",
        {
            "gravel_roi": _region("region for the patches"),
            "number_of_patches": schema.integer(1, limits.GRAVEL_PATCHES, "number of patches"),
        },
        rules=(_region_grows("gravel_roi"),),
    ),
    TransformEntry(
        "Spatter",
        "Spatters the lens with rain or mud (Hendrycks and Dietterich, 2019).",
        {
            "mean": schema.pair(schema.number(0, 1, "mean of the liquid's noise"), scalar="from-zero"),
            "std": schema.pair(schema.number(0, 1, "standard deviation of the liquid's noise"), scalar="from-zero"),
            "gauss_sigma": schema.pair(schema.number(0.1, limits.SIGMA_PX, "size of the drops, in pixels")),
            "cutout_threshold": schema.pair(
                schema.number(0, 1, "threshold above which there is liquid"), scalar="from-zero"
            ),
            "intensity": schema.pair(schema.number(0, 1, "strength"), scalar="from-zero"),
            "mode": schema.choice({"rain": "rain", "mud": "mud"}, "which liquid"),
            "color": schema.optional(
                _RGB | {"title": "red, green, blue", "description": "colour of the liquid"}, "that of rain or mud"
            ),
        },
    ),
)
