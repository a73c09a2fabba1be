"""Options of an expansion: each one's name, type, default and description.

Library, command, HTTP models and client derive from these fields. Nothing of the engine is imported, because the
client has these options too; ``spec.checked`` checks their values.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import Field, dataclass, fields
from typing import Any, TypeAlias, TypedDict

from augment.validation import DEFAULT_QUALITY, SEED_MAX, MaxFailures, option

Copies: TypeAlias = int | Mapping[str, int] | str
"""A number, numbers by class (``*`` for all others), ``"balance"`` or ``"balance:N"``."""


class ExpansionKeywords(TypedDict, total=False):
    """The fields of ``ExpansionOptions`` as keyword arguments; a test compares them."""

    copies: Copies
    seed: int
    split: str | None
    augment_splits: Sequence[str] | None
    copy_splits: bool | None
    allow_leaks: bool
    include_originals: bool
    output_format: str | None
    drop_targets: Collection[str]
    image_format: str | None
    quality: int
    update: bool
    max_failures: MaxFailures | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpansionOptions:
    """Options of an expansion and of the run that writes it; unchecked until ``spec.checked``."""

    copies: Copies = option(
        1,
        "Copies of each record; or numbers by class (`*` for all others); or `balance`, which brings every class to "
        "the largest, or `balance:500`. 0 with `include_originals` converts to another format.",
        examples=[4, {"cat": 4, "*": 1}, "balance"],
    )
    seed: int = option(0, "Other seeds draw other copies.", ge=0, le=SEED_MAX, examples=[7])
    split: str | None = option(
        None,
        "Expand this split alone. Omitted: `train` is augmented if the dataset has it and the other splits are copied, "
        "each into its own folder; without splits all records are augmented.",
    )
    augment_splits: Sequence[str] | None = option(
        None, "Splits to augment. Omitted: the training split.", examples=[["train", "val"]]
    )
    copy_splits: bool | None = option(
        None, "Copy the splits that are not augmented, unchanged. Omitted: yes, unless `split` names one."
    )
    allow_leaks: bool = option(
        default=False,
        description="Accept images that are both in an augmented split and in another one; else they are refused.",
    )
    include_originals: bool = option(default=False, description="Write the originals too, byte for byte.")
    output_format: str | None = option(
        None, "Format of the output. Omitted: that of the dataset.", output_member="format", examples=["folder", "coco"]
    )
    drop_targets: Collection[str] = option(
        (),
        "Targets to leave out because the output's format cannot hold them: `label`, `labels`, `mask`, `boxes`, "
        "`instance_masks`, `keypoints`.",
        output_member="drop_targets",
        examples=[["mask"]],
    )
    image_format: str | None = option(
        None,
        "Format of the copies. Omitted: that of each original, but PNG for all except JPEG and lossy WebP.",
        output_member="image_format",
    )
    quality: int = option(
        DEFAULT_QUALITY,
        "Quality of JPEG and WebP; PNG is lossless and has none.",
        output_member="quality",
        ge=1,
        le=100,
    )
    update: bool = option(
        default=False,
        description="Bring the output of an earlier state of the dataset up to date: keep what is unchanged, render "
        "the rest.",
    )
    max_failures: MaxFailures | None = option(
        None,
        "Records and files that may be left out before the run fails: a count, or a fraction of all above 0 and below "
        "1. Omitted: any number.",
        ge=0,
    )


OPTIONS: Mapping[str, Field[Any]] = {each.name: each for each in fields(ExpansionOptions)}
"""The fields by name; the metadata of each are those of ``validation.option``."""
