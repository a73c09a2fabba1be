"""What flows through the engine: a record comes in, samples are rendered, a batch goes out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from augment import arguments
from augment.errors import CallError, Reason

UNLABELLED = -1
"""The label of a row without a class in a dataset that has classes."""


@dataclass(frozen=True, slots=True)
class Record:
    """One encoded picture of a dataset, as its manifest describes it.

    ``key`` is the path relative to the split, ``/`` between parts, without extension (with it where two would
    collide). ``height`` and ``width`` are those of the upright picture (EXIF orientation applied). ``digest`` is the
    hexadecimal digest of the encoded bytes and the annotations. ``label`` is an index into the dataset's classes.
    ``offset`` is None where the file is the picture; in a tar it is where the picture's bytes begin, in a Parquet file
    the number of its row. ``annotations`` is the text of ``annotations.Annotations.to_json``.
    """

    key: str
    path: Path
    height: int
    width: int
    size_bytes: int
    mtime_ns: int
    digest: str
    label: int | None = None
    offset: int | None = None
    annotations: str | None = None
    mask: "MaskFile | None" = None


@dataclass(frozen=True, slots=True)
class MaskFile:
    """The encoded mask of a record: ``path`` and ``offset`` as those of the record, ``digest`` of the encoded bytes."""

    path: Path
    size_bytes: int
    mtime_ns: int
    digest: str
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file or record that is left out, by name, and why."""

    key: str
    reason: Reason
    detail: str


@dataclass(slots=True)
class Sample:
    """A picture with its targets. Coordinates are pixels: of boxes at their edges, of keypoints at their centres.

    image:      uint8 (H, W, 3) RGB.
    label:      index of the class, or None.
    labels:     float32 (C,), a weight for each of the dataset's classes, where a picture may have several.
    mask:       integer (H, W), class indices; moves with the pixels and is never interpolated.
    boxes:      float32 (N, 4), x_min, y_min, x_max, y_max.
    box_labels: int64 (N,), one for each box.
    box_rows:   int64 (N,), which of the record's boxes each one is; None is all of them in their order.
    instance_masks: uint8 (N, H, W), 0 and 1, the mask of each box's object.
    keypoints:  float32 (K, 2), x and y; NaN where the place is not annotated or a distortion folded it away.
    keypoint_labels: int64 (K,), indices into the dataset's names of keypoints.
    keypoint_visibility: int8 (K,), 0 not annotated or lost, 1 hidden, 2 visible.
    keypoint_angles: float32 (K,), radians from the x axis towards the y axis, in [0, 2 pi).
    keypoint_scales: float32 (K,), pixels.
    keypoint_boxes:  int64 (K,), which of the record's boxes (as ``box_rows`` counts them) each belongs to, or -1.
    keypoint_rows:   int64 (K,), which of the record's keypoints each one is; None is all of them in their order.
    """

    image: NDArray[np.uint8]
    label: int | None = None
    labels: NDArray[np.float32] | None = None
    mask: NDArray[np.integer] | None = None
    boxes: NDArray[np.float32] | None = None
    box_labels: NDArray[np.int64] | None = None
    box_rows: NDArray[np.int64] | None = None
    instance_masks: NDArray[np.uint8] | None = None
    keypoints: NDArray[np.float32] | None = None
    keypoint_labels: NDArray[np.int64] | None = None
    keypoint_visibility: NDArray[np.int8] | None = None
    keypoint_angles: NDArray[np.float32] | None = None
    keypoint_scales: NDArray[np.float32] | None = None
    keypoint_boxes: NDArray[np.int64] | None = None
    keypoint_rows: NDArray[np.int64] | None = None

    def target_names(self) -> frozenset[str]:
        """Which targets that move with the pixels this sample has, beside the image; instance masks count as masks."""
        found = {name for name in ("mask", "boxes", "keypoints") if getattr(self, name) is not None}
        return frozenset(found | ({"mask"} if self.instance_masks is not None else set()))


@dataclass(frozen=True, slots=True)
class Applied:
    """One transform that was applied to a sample, with the parameters that chance drew (arrays as shape and digest)."""

    name: str
    params: dict[str, object]


@dataclass(frozen=True, slots=True)
class Rendered:
    """One augmented sample, the name of its address and what was done to it.

    ``inverse`` is float64 (3, 3), from the middles of the sample's pixels to those of the upright picture; None where a
    distortion has no such matrix, or nobody asked.
    """

    sample: Sample
    render_key: str
    applied: tuple[Applied, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    inverse: NDArray[np.float64] | None = None

    @property
    def provenance(self) -> "Provenance":
        """All of it but the sample."""
        inverse = None if self.inverse is None else tuple(tuple(row) for row in self.inverse.tolist())
        return Provenance(self.render_key, self.applied, self.dropped, inverse)


@dataclass(frozen=True, slots=True)
class Mixed:
    """What came into a row of a batch from another: by which method, and from the record of which key and position.

    ``weight`` is the share of the row's own picture. ``box`` is x_min, y_min, x_max, y_max of the pixels that were
    pasted, where they were.
    """

    name: str
    weight: float
    partner: str
    partner_position: int
    box: tuple[int, int, int, int] | None = None

    def as_json(self) -> dict[str, object]:
        """What people and files are shown."""
        members = {"name": self.name, "weight": self.weight, "partner": self.partner}
        members["partner_position"] = self.partner_position
        return members | ({} if self.box is None else {"box": list(self.box)})

    @classmethod
    def from_json(cls, members: Mapping[str, Any]) -> "Mixed":
        """Read what ``as_json`` gave."""
        x_min, y_min, x_max, y_max = members.get("box") or (0, 0, 0, 0)
        box = (x_min, y_min, x_max, y_max) if "box" in members else None
        return cls(members["name"], members["weight"], members["partner"], members["partner_position"], box)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a sample comes from: the name of its address, each transform that was applied, in order, and what it lost.

    ``dropped`` has ``boxes`` and ``keypoints`` where any were: boxes of the record of which none is left, keypoints
    that had a place and have none now. ``inverse`` has the rows of ``Rendered.inverse``. ``mixed`` says what came from
    another row of the batch; the render key names the sample without it.
    """

    render_key: str
    applied: tuple[Applied, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    inverse: tuple[tuple[float, ...], ...] | None = None
    mixed: Mixed | None = None

    def as_json(self) -> dict[str, object]:
        """What people and files are shown; what there is nothing to say of is left out."""
        members: dict[str, object] = {
            "render_key": self.render_key,
            "applied": [{"name": each.name, "params": each.params} for each in self.applied],
        }
        if self.dropped:
            members["dropped"] = dict(self.dropped)
        if self.inverse is not None:
            members["inverse"] = [list(row) for row in self.inverse]
        if self.mixed is not None:
            members["mixed"] = self.mixed.as_json()
        return members

    @classmethod
    def from_json(cls, members: Mapping[str, Any]) -> "Provenance":
        """Read what ``as_json`` gave."""
        applied = tuple(Applied(each["name"], each["params"]) for each in members["applied"])
        inverse = members.get("inverse")
        return cls(
            members["render_key"],
            applied,
            dict(members.get("dropped", {})),
            None if inverse is None else tuple(tuple(row) for row in inverse),
            Mixed.from_json(members["mixed"]) if "mixed" in members else None,
        )


@dataclass(slots=True)
class Batch:
    """Samples of one training step; rows in the order of the epoch.

    images:    uint8 (N, H, W, 3) where all rows have one size, else a list of uint8 (H, W, 3); float32 or float16
        where a stream asks for it, and (N, 3, H, W) where it asks for the layout NCHW.
    keys:      the key of the record in each row.
    positions: int64 (N,), the place of each row in its epoch.
    labels:    int64 (N,), UNLABELLED where a record has no class; None where the records have no single class.
    label_weights: float32 (N, C), a weight for each class, where pictures may have several or rows are mixed.
    masks:     uint8 or uint16 (N, H, W) where all rows have one size, else a list of (H, W).
    boxes, box_labels, instance_masks, keypoints, keypoint_labels, keypoint_visibility, keypoint_angles,
    keypoint_scales: a list of one array for each row, as ``Sample`` describes it; None where the dataset has none.
    keypoint_boxes: likewise, but a box is counted by its place among the row's, and -1 where it was dropped.
    replaces:  for each row None, or the key of the refused record whose place it takes.
    refusals:  the records that were refused while this batch was rendered.
    provenance: one for each row, or none at all where the batch was read from a wire that carries none.
    inverses:  float64 (N, 3, 3), from the middles of pixels of ``images`` to those of the upright original pictures;
        NaN where a distortion has no matrix. None where nobody asked for views.
    source_sizes: int64 (N, 2), height and width of those originals.
    other_views: views 1, 2, … of the same rows: batches with the same keys, positions, labels and ``source_sizes``,
        each with its own pictures, targets that move with them, inverses and provenance.
    """

    epoch: int
    index: int
    images: NDArray[Any] | list[NDArray[Any]]
    keys: list[str]
    positions: NDArray[np.int64]
    labels: NDArray[np.int64] | None = None
    label_weights: NDArray[np.float32] | None = None
    masks: NDArray[np.integer] | list[NDArray[np.integer]] | None = None
    boxes: list[NDArray[np.float32]] | None = None
    box_labels: list[NDArray[np.int64]] | None = None
    instance_masks: list[NDArray[np.uint8]] | None = None
    keypoints: list[NDArray[np.float32]] | None = None
    keypoint_labels: list[NDArray[np.int64]] | None = None
    keypoint_visibility: list[NDArray[np.int8]] | None = None
    keypoint_angles: list[NDArray[np.float32]] | None = None
    keypoint_scales: list[NDArray[np.float32]] | None = None
    keypoint_boxes: list[NDArray[np.int64]] | None = None
    replaces: list[str | None] = field(default_factory=list)
    refusals: Sequence[Refusal] = ()
    provenance: Sequence[Provenance] = ()
    inverses: NDArray[np.float64] | None = None
    source_sizes: NDArray[np.int64] | None = None
    other_views: "tuple[Batch, ...]" = ()

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def views(self) -> "tuple[Batch, ...]":
        """This batch, which is view 0, and the others."""
        return (self, *self.other_views)

    def rows(self, start: int, stop: int) -> "Batch":
        """Rows ``start`` to ``stop`` as a batch of the same place; its arrays are views."""
        start, stop = (arguments.integer(name, row, -len(self)) for name, row in (("start", start), ("stop", stop)))
        by_row = {name: values[start:stop] for name in _BY_ROW if (values := getattr(self, name)) is not None}
        others = tuple(view.rows(start, stop) for view in self.other_views)
        return replace(self, **by_row, other_views=others)


_BY_ROW = tuple(each.name for each in fields(Batch) if each.name not in {"epoch", "index", "refusals", "other_views"})


def as_image(image: ArrayLike) -> NDArray[np.uint8]:
    """The array itself if it is uint8 (H, W, 3) with at least one pixel; CallError says what it is instead."""
    try:
        array = np.asarray(image)
    except Exception as error:  # lists of unequal lengths, and whatever a stranger's __array__ raises
        raise CallError(f"an image is uint8 (H, W, 3) RGB, not {arguments.shown(image)}; give an array") from error
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        what = f"{array.dtype} {array.shape}" if array.ndim else arguments.shown(image)
        raise CallError(f"an image is uint8 (H, W, 3) RGB, not {what}; {_remedy(array)}")
    return array


def _remedy(array: NDArray[Any]) -> str:
    """How an array of another kind becomes an image."""
    match array.dtype.kind, array.shape:
        case _, shape if not shape or 0 in shape:
            pass
        case "f", _:
            return "where its values lie in 0 to 1, give (image * 255).round().astype(numpy.uint8)"
        case "i" | "u", _ if array.dtype != np.uint8:
            return "where its values lie in 0 to 255, give image.astype(numpy.uint8)"
        case "u", (_, _):
            return "of grey make three channels: numpy.stack([image] * 3, axis=-1)"
        case "u", (_, _, 1):
            return "of grey make three channels: numpy.repeat(image, 3, axis=2)"
        case "u", (_, _, 4):
            return "leave out the alpha channel: image[:, :, :3]"
        case "u", (3, _, _):
            return "put the channels last: image.transpose(1, 2, 0)"
        case "u", (_, _, _, _):
            return "give one picture after another"
    return "augment.decode_image makes one of a file's bytes"


_KINDS = {"b": "booleans", "i": "integers", "u": "integers", "f": "floats"}
_TARGETS = {
    "mask": ("iub", (None, None), "integers (H, W)"),
    "labels": ("iuf", (None,), "numbers (C,), a weight for each class"),
    "boxes": ("iuf", (None, 4), "numbers (N, 4): x_min, y_min, x_max, y_max"),
    "box_labels": ("iu", (None,), "integers (N,), one for each box"),
    "box_rows": ("iu", (None,), "integers (N,), one for each box"),
    "instance_masks": ("iub", (None, None, None), "integers (N, H, W), one mask for each box"),
    "keypoints": ("iuf", (None, 2), "numbers (N, 2): x, y"),
    "keypoint_labels": ("iu", (None,), "integers (K,), one for each keypoint"),
    "keypoint_visibility": ("iu", (None,), "integers (K,), one for each keypoint"),
    "keypoint_angles": ("iuf", (None,), "numbers (K,), one for each keypoint"),
    "keypoint_scales": ("iuf", (None,), "numbers (K,), one for each keypoint"),
    "keypoint_boxes": ("iu", (None,), "integers (K,), one for each keypoint"),
    "keypoint_rows": ("iu", (None,), "integers (K,), one for each keypoint"),
}
_OWNED = {"boxes": ("box_labels", "box_rows", "instance_masks")} | {
    "keypoints": tuple(name for name in _TARGETS if name.startswith("keypoint_"))
}
"""Targets that have one row for each row of another."""


def as_sample(sample: Sample) -> Sample:
    """The sample itself, or a copy of it with arrays where there were lists.

    CallError says what of it is not as ``Sample`` says; arrays of no rows may have any shape.
    """
    arrays: dict[str, Any] = {"image": as_image(sample.image)}
    for name, (kinds, shape, what) in _TARGETS.items():
        value = getattr(sample, name)
        if value is None:
            continue
        try:
            array = np.asarray(value)
        except Exception as error:  # as for an image
            raise CallError(f"{name} is {arguments.shown(value)}; it must be {what}") from error
        fits = array.ndim == len(shape) and all(
            wanted in (None, there) for wanted, there in zip(shape, array.shape, strict=True)
        )
        if array.size and not (array.dtype.kind in kinds and fits):
            raise CallError(f"{name} is {_KINDS.get(array.dtype.kind, array.dtype)} {array.shape}; it must be {what}")
        arrays[name] = array
    for owner, names in _OWNED.items():
        num_rows = len(arrays.get(owner, ()))
        for name in names:
            if name in arrays and len(arrays[name]) != num_rows:
                one = {"boxes": "box"}.get(owner, "keypoint")
                raise CallError(f"{name} has {len(arrays[name])} rows for {num_rows} {owner}; give one for each {one}")
    for name in ("mask", "instance_masks"):
        if name in arrays and arrays[name].size and arrays[name].shape[-2:] != arrays["image"].shape[:2]:
            there, image = arrays[name].shape[-2:], arrays["image"].shape[:2]
            raise CallError(f"{name} is {there} high and wide, the image {image}; they must be of one size")
    if sample.label is not None:
        arguments.integer("label", sample.label, UNLABELLED)
    if all(getattr(sample, name) is array for name, array in arrays.items()):
        return sample
    return replace(sample, **arrays)
