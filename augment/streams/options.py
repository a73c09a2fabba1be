"""Options of a stream: each one's name, type, default and description.

Library, HTTP models and client derive from these fields. Nothing of the engine is imported, because the client has
these options too; ``Stream`` checks their values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, fields
from typing import Any, Final, TypedDict

from augment.validation import SEED_MAX, option

BATCH_SIZE_MAX: Final = 65_536
"""Twice the largest batch of a published recipe (LARS, 32,768)."""

REPEATS_MAX: Final = 64
"""Hoffer et al. ("Augment your batch", 2020) go up to 40 copies of a record in a batch."""


class StreamKeywords(TypedDict, total=False):
    """The fields of ``StreamOptions`` as keyword arguments; a test compares them."""

    split: str | None
    batch_size: int
    seed: int
    shuffle: bool | None
    drop_last: bool | None
    repeats: int
    mix: Any
    normalize: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any] | None] | None
    dtype: Any
    layout: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """Options of a stream; unchecked until the stream is made."""

    split: str | None = option(None, "The split; by default `train` if the dataset has one, else all records.")
    batch_size: int = option(64, "Rows of a global batch, over all ranks.", ge=1, le=BATCH_SIZE_MAX)
    seed: int = option(0, "Seed of draws and order.", ge=0, le=SEED_MAX)
    shuffle: bool | None = option(
        None,
        "True: each epoch has another order. False: records are ordered by key. By default true for the training split "
        "and for a dataset without splits, else false.",
    )
    drop_last: bool | None = option(
        None, "True: an epoch leaves out a last batch that is not full. Default as for `shuffle`."
    )
    repeats: int = option(
        1, "Rows of each record in a batch, each with another draw; divides `batch_size`.", ge=1, le=REPEATS_MAX
    )
    mix: Any = option(
        None,
        "Transform that mixes the rows of a batch, written as a step of a pipeline; none by default. Batches then have "
        "`label_weights`.",
        examples=["MixUp", {"CutMix": {"alpha": 1.0, "per": "row"}}, {"OneOf": {"transforms": ["MixUp", "CutMix"]}}],
    )
    normalize: Any = option(
        None,
        "Normalisation of pixels to floats, instead of the pipeline's own section; in a stream with views also a list "
        "with one section for each.",
        examples=[{"method": "standard", "statistics": "dataset"}],
    )
    dtype: Any = option(
        "uint8", "Type of images in batches: pixels, which the client normalises, or floats (`float32`, `float16`)."
    )
    layout: str = option("NHWC", "Layout of images: channels last (`NHWC`) or first (`NCHW`).")


STREAM_OPTIONS: Mapping[str, Field[Any]] = {each.name: each for each in fields(StreamOptions)}
"""The fields by name; the metadata of each are those of ``validation.option``."""
