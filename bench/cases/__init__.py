"""Comparisons, one file each, in the order of the report."""

NAMES = (
    "uncached",
    "second_epoch",
    "twelve_megapixels",
    "four_trainers",
    "replicas",
    "repeats",
    "beyond_bare",
    "expansion",
    "one_shot",
    "many_records",
    "far_start",
)
