"""Step of a pipeline that takes other records: it draws and decodes them, and Mosaic or CopyPaste joins them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from augment.chance import Chance
from augment.pipelines.spec import Node
from augment.samples.sample import Applied, Sample
from augment.transforms import catalogue
from augment.transforms.donors import source
from augment.transforms.donors.partial_sample import Piece
from augment.transforms.donors.source import Source
from augment.transforms.runtime import target_columns
from augment.transforms.runtime.segment import Refusing
from augment.transforms.runtime.trace import drawn


class Joining(Protocol):
    """Transform that joins a sample and donors to one sample."""

    num_donors: int

    def join(
        self, base: Piece, donors: Sequence[Piece], generator: np.random.Generator
    ) -> tuple[Piece, dict[str, Any]]:
        """Return the joined piece, every array of it new, and the drawn parameters, small and JSON-like.

        ``donors`` has ``num_donors`` pieces; they and the base are not changed. ``label`` is the base's.

        Raises Unfit if the images cannot be joined.
        """
        ...


def joining(name: str, params: Mapping[str, Any]) -> Joining:
    """Build a joining transform of the catalogue from canonical parameters (without ``p``)."""
    transform: Joining = catalogue.transform_class(name)(**catalogue.arguments(params))
    return transform


@dataclass(slots=True)
class Numbers:
    """Next free rows of boxes and keypoints of a sample; ``placed`` are rows of keypoints that came with a place."""

    box: int
    keypoint: int
    placed: set[int]

    @classmethod
    def after(cls, sample: Sample) -> "Numbers":
        placed = set(target_columns.placed(sample).tolist())
        return cls(_next(sample.box_rows, sample.boxes), _next(sample.keypoint_rows, sample.keypoints), placed)


class Donating:
    """Node that joins a sample with donors; not safe between threads."""

    def __init__(self, node: Node, donors: Source, chance: Chance) -> None:
        params = dict(node.params)
        self._p = float(str(params.pop("p")))
        self._name = node.name
        self._joining: Joining = joining(node.name, params)
        self._donors = donors
        self._chance = chance

    def __call__(self, piece: Piece, key: str, numbers: Numbers) -> tuple[Piece, tuple[Applied, ...]]:
        """Return the joined piece and what was applied, or the piece itself if chance leaves the node out.

        ``numbers`` are advanced by the donors' rows. Raises RecordError if donors cannot be decoded or joined.
        """
        if self._chance.py_random.random() >= self._p:
            return piece, ()
        num_records = self._donors.num_records
        places = self._chance.generator.integers(num_records, size=self._joining.num_donors).tolist()
        with Refusing(lambda: self._name, piece.sample, key):
            taken = [source.take(self._donors, place) for place in places]
            pieces = [_numbered(sample, numbers) for _, sample in taken]
            base = replace(piece, sample=_with_rows(piece.sample))
            joined, params = self._joining.join(base, pieces, self._chance.generator)
        noted = Applied(self._name, drawn({"donors": [name for name, _ in taken], **params}))
        return joined, (noted,)


def donor_keys(applied: Sequence[Applied]) -> list[str]:
    """Return the keys of all donors of a sample, in the order of their rows."""
    keys: list[str] = []
    for one in applied:
        names = one.params.get("donors") if catalogue.is_joining(one.name) else None
        keys += names if isinstance(names, list) else []
    return keys


def without_donors(name: str) -> str:
    """Return why a node cannot be in a pipeline that is applied to a single image."""
    return (
        f"`{name}` takes other records of the same split, but this is a single image; use it in a stream or an "
        "expansion of a dataset"
    )


def _numbered(sample: Sample, numbers: Numbers) -> Piece:
    """Number a donor's rows from ``numbers`` on, and advance ``numbers``."""
    numbered = _with_rows(sample)
    if numbered.box_rows is not None:
        numbered.box_rows = numbered.box_rows + numbers.box
    if numbered.keypoint_rows is not None:
        numbered.keypoint_rows = numbered.keypoint_rows + numbers.keypoint
    if (owners := numbered.keypoint_boxes) is not None:
        numbered.keypoint_boxes = np.where(owners < 0, owners, owners + numbers.box)
    num_boxes = 0 if sample.boxes is None else len(sample.boxes)
    numbers.placed.update(target_columns.placed(numbered).tolist())
    numbers.box += num_boxes
    numbers.keypoint += 0 if sample.keypoints is None else len(sample.keypoints)
    return Piece(numbered, np.ones(num_boxes))


def _with_rows(sample: Sample) -> Sample:
    out = replace(sample)
    if sample.boxes is not None and sample.box_rows is None:
        out.box_rows = np.arange(len(sample.boxes))
    if sample.keypoints is not None and sample.keypoint_rows is None:
        out.keypoint_rows = np.arange(len(sample.keypoints))
    return out


def _next(rows: NDArray[np.int64] | None, values: NDArray[np.float32] | None) -> int:
    if rows is not None:
        return int(rows.max(initial=-1)) + 1
    return 0 if values is None else len(values)
