"""Noise: values that a sensor, a wire or a film adds."""

from collections.abc import Mapping
from typing import Any

from augment.transforms import limits, schema
from augment.transforms.entry import Entry
from augment.transforms.schema import Schema

FAMILY = "noise"

_NOISE_PARAMS: Mapping[str, Mapping[str, Schema]] = {
    "uniform": {
        "ranges": schema.array(
            schema.pair(schema.number(-1, 1, "range of the noise as a share of 255")),
            1,
            3,
            "one range, or one a channel",
        )
    },
    "gaussian": {
        "mean_range": schema.pair(schema.number(-1, 1, "mean as a share of 255")),
        "std_range": schema.pair(schema.number(0, 1, "standard deviation as a share of 255")),
    },
    "laplace": {
        "mean_range": schema.pair(schema.number(-1, 1, "mean as a share of 255")),
        "scale_range": schema.pair(schema.number(0, 1, "scale as a share of 255")),
    },
    "beta": {
        "alpha_range": schema.pair(schema.number(0.01, 100, "first shape parameter")),
        "beta_range": schema.pair(schema.number(0.01, 100, "second shape parameter")),
        "scale_range": schema.pair(schema.number(0, 1, "scale as a share of 255")),
    },
}


def _noise_branch(kind: str, properties: Mapping[str, Schema]) -> Schema:
    named = {"noise_type": schema.choice({kind: kind}, "as noise_type outside")} | dict(properties)
    return schema.record(named, f"parameters of {kind} noise", required=list(properties)) | {"title": kind}


def _params_fit_type(params: Mapping[str, Any]) -> str | None:
    kind, given = params["noise_type"], params["noise_params"]
    if given is None or (
        set(given) - {"noise_type"} == set(_NOISE_PARAMS[kind]) and given.get("noise_type", kind) == kind
    ):
        return None
    return f"noise_params of {kind} noise are {', '.join(_NOISE_PARAMS[kind])}"


def _ranges_fit_mode(params: Mapping[str, Any]) -> str | None:
    ranges = (params["noise_params"] or {}).get("ranges", [None])
    if len(ranges) == 1 or (len(ranges) == 3 and params["spatial_mode"] != "shared"):
        return None
    return f"noise_params.ranges has {len(ranges)} ranges; it needs one, or (unless spatial_mode is shared) three"


ENTRIES = (
    Entry(
        "GaussNoise",
        "Adds Gaussian noise.",
        {
            "std_range": schema.pair(schema.number(0, 1, "standard deviation as a share of 255")),
            "mean_range": schema.pair(schema.number(-1, 1, "mean as a share of 255")),
            "per_channel": schema.flag("draw each channel by itself, else all alike"),
            "noise_scale_factor": schema.number(0.05, 1, "draw the noise at this share of the size and enlarge it"),
        },
    ),
    Entry(
        "AdditiveNoise",
        "Adds noise of a chosen distribution: one value for all, for each pixel, or for each pixel in all channels.",
        {
            "noise_type": schema.choice(
                {"uniform": "uniform", "gaussian": "Gaussian", "laplace": "Laplace", "beta": "beta"}, "distribution"
            ),
            "spatial_mode": schema.choice(
                {
                    "constant": "one value a channel",
                    "per_pixel": "each value by itself",
                    "shared": "each pixel, alike in all channels",
                },
                "what is drawn",
            ),
            "noise_params": schema.optional(
                schema.either(
                    "parameters of the distribution",
                    *(_noise_branch(kind, properties) for kind, properties in _NOISE_PARAMS.items()),
                ),
                "those that suit the distribution",
            ),
            "approximation": schema.number(0.05, 1, "draw the noise at this share of the size and enlarge it"),
        },
        rules=(
            ("noise_params are those of noise_type", _params_fit_type),
            ("one range, or three unless spatial_mode is shared", _ranges_fit_mode),
        ),
    ),
    Entry(
        "ISONoise",
        "The noise of a camera at high sensitivity: in colour and in brightness.",
        {
            "color_shift": schema.pair(schema.number(0, 1, "strength in colour, as a share of the colour circle")),
            "intensity": schema.pair(schema.number(0, limits.FACTOR, "strength in brightness")),
        },
    ),
    Entry(
        "MultiplicativeNoise",
        "Multiplies values by a random factor.",
        {
            "multiplier": schema.pair(schema.number(0, limits.FACTOR, "the factor; 1 changes nothing")),
            "per_channel": schema.flag("draw each channel by itself"),
            "elementwise": schema.flag("draw each pixel by itself"),
        },
    ),
    Entry(
        "ShotNoise",
        "The noise of single photons: brighter parts are noisier.",
        {"scale_range": schema.pair(schema.number(0.001, limits.FACTOR, "strength; more is less light"))},
    ),
    Entry(
        "SaltAndPepper",
        "Turns single pixels white or black.",
        {
            "amount": schema.pair(schema.number(0, 1, "share of the pixels")),
            "salt_vs_pepper": schema.pair(schema.number(0, 1, "share of them that turns white")),
        },
    ),
)
