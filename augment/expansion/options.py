"""Options of an expansion: written once, for the library, the service's requests and its table of jobs."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Self, TypedDict, TypeVar

from augment import validation
from augment.expansion import copies as shares
from augment.expansion.copies import Copies
from augment.images import encode
from augment.render.renderer import SEED_MAX, check_seed

_T = TypeVar("_T")


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


def _option(default: _T, description: str, **more: object) -> _T:
    """Field whose metadata are arguments of pydantic's ``Field``: the service's models are views of these fields."""
    found: _T = field(default=default, metadata={"description": description, **more})
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpansionOptions:
    """What is asked for of a dataset and a pipeline; unchecked until ``checked``."""

    copies: Copies = _option(  # noqa: RUF009 - it returns a field
        1,
        "Copies of each record; or numbers by class (`*` for all others); or `balance`, which brings every class to "
        "the largest, or `balance:500`. 0 with `include_originals` converts to another format.",
        examples=[4, {"cat": 4, "*": 1}, "balance"],
    )
    seed: int = _option(0, "Other seeds draw other copies.", ge=0, le=SEED_MAX, examples=[7])
    split: str | None = _option(
        None,
        "Expands this split alone. Omitted: `train` is augmented where the dataset has one and the other splits are "
        "copied, each into a folder of its own; without splits all records are augmented.",
    )
    augment_splits: Sequence[str] | None = _option(
        None, "Which splits are augmented; omitted: the training split.", examples=[["train", "val"]]
    )
    copy_splits: bool | None = _option(
        None,
        "Whether the splits that are not augmented are copied unchanged. Omitted: they are, unless `split` names one.",
    )
    allow_leaks: bool = _option(
        default=False,
        description="Whether a picture may be both in a split that is augmented and in another one; else such a job is "
        "refused.",
    )
    include_originals: bool = _option(default=False, description="Whether originals lie beside their copies.")
    output_format: str | None = _option(
        None, "The format that is written; omitted: the dataset's own.", examples=["folder", "coco"]
    )
    drop_targets: Collection[str] = _option(
        (),
        "Targets that the output is to be without, because its format cannot hold them: `label`, `labels`, `mask`, "
        "`boxes`, `instance_masks`, `keypoints`.",
        examples=[["mask"]],
    )
    image_format: str | None = _option(
        None, "How copies are encoded; by default as originals are, PNG for all but JPEG and lossy WebP."
    )
    quality: int = _option(encode.DEFAULT_QUALITY, "Of JPEG and WebP.", ge=1, le=100)

    def checked(self) -> Self:
        """The same with numbers of Python's own. Raises CallError for a value out of range."""
        include_originals = validation.flag("include_originals", self.include_originals)
        encode.check_options("jpeg" if self.image_format is None else self.image_format, self.quality)
        return replace(
            self,
            seed=check_seed(self.seed),
            copies=shares.check(self.copies, least=0 if include_originals else 1),
            include_originals=include_originals,
            quality=int(self.quality),
        )
