"""Policies: operations drawn from a published space, one after another or mixed."""

from collections.abc import Mapping
from typing import Any

from augment.transforms import schema
from augment.transforms.entry import ALL_TARGETS, Entry, fill, fill_mask
from augment.transforms.schema import Schema

_MAX_BINS = 256
_MAX_OPS = 8
"""Operations of one call that provenance shows one by one; papers use 1 to 3."""


def _geometric(*, with_mask: bool = True) -> dict[str, Schema]:
    options = {value: title for value, title in schema.INTERPOLATIONS.items() if value <= 2}
    shared = {
        "interpolation": schema.choice(options, "how a turn, shear or shift computes pixels between pixels"),
        "fill": fill("colour of what a turn, shear or shift uncovers"),
    }
    return shared | ({"fill_mask": fill_mask("class index of what it uncovers in the mask")} if with_mask else {})


def _magnitude_below_bins(params: Mapping[str, Any]) -> str | None:
    magnitude, bins = params["magnitude"], params["num_magnitude_bins"]
    return None if magnitude < bins else f"magnitude is {magnitude}; with {bins} bins it must be at most {bins - 1}"


_BINS = schema.integer(2, _MAX_BINS, "steps of the magnitude, from nothing to the strongest")

ENTRIES = (
    Entry(
        "AutoAugment",
        "Applies one of the 25 pairs of operations that a search found for a data set.",
        {
            "policy": schema.choice(
                {"imagenet": "ImageNet: mostly colours", "cifar10": "CIFAR-10", "svhn": "SVHN: mostly shears"},
                "for which data set the pairs were found",
            )
        }
        | _geometric(),
        ALL_TARGETS,
        moves_pixels=True,
    ),
    Entry(
        "RandAugment",
        "Applies a few of fourteen operations, drawn at random, all at one strength.",
        {
            "num_ops": schema.integer(1, _MAX_OPS, "how many operations, one after another"),
            "magnitude": schema.integer(0, _MAX_BINS - 1, "how strong, as a step of the magnitude; 0 is the weakest"),
            "num_magnitude_bins": _BINS,
        }
        | _geometric(),
        ALL_TARGETS,
        moves_pixels=True,
        rules=(("magnitude is below num_magnitude_bins", _magnitude_below_bins),),
    ),
    Entry(
        "TrivialAugmentWide",
        "Applies one of fourteen operations at one strength, both drawn at random.",
        {"num_magnitude_bins": _BINS} | _geometric(),
        ALL_TARGETS,
        moves_pixels=True,
    ),
    Entry(
        "AugMix",
        "Mixes the picture with variants that chains of operations made of it; geometric ones move no targets.",
        {
            "severity": schema.integer(1, 10, "how strong operations are at most, in tenths"),
            "mixture_width": schema.integer(1, 10, "how many variants"),
            "chain_depth": schema.either(
                "how many operations make a variant",
                schema.choice({-1: "1 to 3, drawn for each"}, ""),
                schema.integer(1, _MAX_OPS, "") | {"title": "so many"},
            ),
            "alpha": schema.number(0.01, 100, "evenness of the weights: below 1 one prevails, above all are alike"),
            "geometric": schema.flag("turn, shear and shift too; then only pictures without targets can pass"),
            "all_ops": schema.flag("brightness, colour, contrast and sharpness too, which ImageNet-C tests"),
        }
        | _geometric(with_mask=False),
        moves_pixels=True,
        still_where=lambda params: not params["geometric"],
        remedy="set `geometric: false`",
    ),
    Entry(
        "ThreeAugment",
        "Makes the picture grey, solarises it or blurs it: the 3-Augment of DeiT III.",
    ),
)
