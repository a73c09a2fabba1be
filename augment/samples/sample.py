"""Record, Sample, Provenance and Batch: the data of the engine, and the collation of samples into a batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment import validation
from augment.errors import Reason
from augment.samples import notebook
from augment.samples.annotations import BY_KEYPOINT
from augment.samples.colours import bright, class_colour
from augment.samples.notebook import Thumbnail

UNLABELLED = -1
"""Label of a row without a class in a dataset that has classes."""


@dataclass(frozen=True, slots=True)
class Record:
    """One encoded image of a dataset, as its manifest describes it.

    ``key`` is the path relative to the split, ``/`` between parts, without extension (with it if two would collide).
    ``height`` and ``width`` are those of the upright image (EXIF orientation applied). ``digest`` is the hexadecimal
    digest of the encoded bytes and the annotations. ``label`` is an index into the dataset's classes. ``offset`` is
    None if the file is the image; in a tar it is the position of the image's first byte, in a Parquet file the number
    of its row. ``annotations`` is the text of ``annotations.Annotations.to_json``. ``encoding`` is the image's format
    as ``decode.encoding`` names it, None in manifests of earlier versions.
    """

    key: str
    path: Path
    height: int
    width: int
    size_bytes: int
    digest: str
    label: int | None = None
    offset: int | None = None
    annotations: str | None = None
    mask: "MaskFile | None" = None
    encoding: str | None = None


@dataclass(frozen=True, slots=True)
class MaskFile:
    """Encoded mask of a record: ``path`` and ``offset`` as those of the record, ``digest`` of the encoded bytes."""

    path: Path
    size_bytes: int
    digest: str
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file or record that was left out, with the reason."""

    key: str
    reason: Reason
    detail: str


@dataclass(slots=True)
class Sample:
    """An image with its targets. Coordinates are pixels: of boxes at their edges, of keypoints at their centres.

    image:      uint8 (H, W, 3) RGB.
    label:      index of the class, or None.
    labels:     float32 (C,), a weight for each of the dataset's classes, if an image may have several.
    mask:       integer (H, W), class indices; moves with the pixels and is never interpolated.
    boxes:      float32 (N, 4), x_min, y_min, x_max, y_max.
    box_labels: int64 (N,), one for each box.
    box_rows:   int64 (N,), the index of each box in the record; None is all of them in their order.
    instance_masks: uint8 (N, H, W), 0 and 1, the mask of each box's object.
    keypoints:  float32 (K, 2), x and y; NaN if the point is not annotated or a distortion folded it away.
    keypoint_labels: int64 (K,), indices into the dataset's names of keypoints.
    keypoint_visibility: int8 (K,), 0 not annotated or lost, 1 hidden, 2 visible.
    keypoint_angles: float32 (K,), radians from the x axis towards the y axis, in [0, 2 pi).
    keypoint_scales: float32 (K,), pixels.
    keypoint_boxes:  int64 (K,), the index of each keypoint's box in the record (as in ``box_rows``), or -1.
    keypoint_rows:   int64 (K,), the index of each keypoint in the record; None is all of them in their order.
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
        """Return the targets of this sample that move with the pixels; instance masks count as ``mask``."""
        found = {name for name in ("mask", "boxes", "keypoints") if getattr(self, name) is not None}
        return frozenset(found | ({"mask"} if self.instance_masks is not None else set()))


@dataclass(frozen=True, slots=True)
class Applied:
    """One transform that was applied, with the parameters that chance drew (long arrays as shape and digest)."""

    name: str
    params: dict[str, object]


@dataclass(frozen=True, slots=True)
class Rendered:
    """One augmented sample, the name of its address and the applied transforms.

    ``inverse`` is float64 (3, 3), from the middles of the sample's pixels to those of the upright image. It is None if
    a distortion has no such matrix, or if it was not requested.
    """

    sample: Sample
    render_key: str
    applied: tuple[Applied, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    inverse: NDArray[np.float64] | None = None

    @property
    def provenance(self) -> "Provenance":
        """Everything but the sample."""
        inverse = None if self.inverse is None else tuple(tuple(row) for row in self.inverse.tolist())
        return Provenance(self.render_key, self.applied, self.dropped, inverse)


@dataclass(frozen=True, slots=True)
class Mixed:
    """Part of a row that came from another row of the batch: the method, and the other record's key and position.

    ``weight`` is the share of the row's own image. ``box`` is x_min, y_min, x_max, y_max of the pasted pixels, or None
    if none were pasted.
    """

    name: str
    weight: float
    partner: str
    partner_position: int
    box: tuple[int, int, int, int] | None = None

    def as_json(self) -> dict[str, object]:
        """Return the JSON object for people and files."""
        members = {"name": self.name, "weight": self.weight, "partner": self.partner}
        members["partner_position"] = self.partner_position
        return members | ({} if self.box is None else {"box": list(self.box)})

    @classmethod
    def from_json(cls, members: Mapping[str, Any]) -> "Mixed":
        """Read the JSON object of ``as_json``."""
        x_min, y_min, x_max, y_max = members.get("box") or (0, 0, 0, 0)
        box = (x_min, y_min, x_max, y_max) if "box" in members else None
        return cls(members["name"], members["weight"], members["partner"], members["partner_position"], box)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Origin of a sample: the name of its address, the applied transforms in order, and its losses.

    ``dropped`` counts, if any, ``boxes`` (boxes of the record that vanished) and ``keypoints`` (keypoints that lost
    their place). ``inverse`` has the rows of ``Rendered.inverse``. ``mixed`` describes what came from another row of
    the batch; the render key names the sample without it. ``conversions`` are the kinds of loss in decoding the
    original, as ``images.headers.Conversion`` names them; only one-shot requests report them.
    """

    render_key: str
    applied: tuple[Applied, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    inverse: tuple[tuple[float, ...], ...] | None = None
    mixed: Mixed | None = None
    conversions: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """Return the JSON object for people and files, without empty members."""
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
        if self.conversions:
            members["conversions"] = list(self.conversions)
        return members

    @classmethod
    def from_json(cls, members: Mapping[str, Any]) -> "Provenance":
        """Read the JSON object of ``as_json``."""
        applied = tuple(Applied(each["name"], each["params"]) for each in members["applied"])
        inverse = members.get("inverse")
        return cls(
            members["render_key"],
            applied,
            dict(members.get("dropped", {})),
            None if inverse is None else tuple(tuple(row) for row in inverse),
            Mixed.from_json(members["mixed"]) if "mixed" in members else None,
            tuple(members.get("conversions", ())),
        )


@dataclass(slots=True, repr=False)
class Batch:
    """Samples of one training step; rows in the order of the epoch.

    images:    uint8 (N, H, W, 3) if all rows have one size, else a list of uint8 (H, W, 3); float32 or float16 if a
        stream asks for it, and (N, 3, H, W) if it asks for the layout NCHW.
    keys:      the key of the record in each row.
    positions: int64 (N,), the position of each row in its epoch.
    labels:    int64 (N,), UNLABELLED for a record without a class; None if the records have no single class.
    label_weights: float32 (N, C), a weight for each class, if images may have several or rows are mixed.
    masks:     uint8 or uint16 (N, H, W) if all rows have one size, else a list of (H, W).
    boxes, box_labels, instance_masks, keypoints, keypoint_labels, keypoint_visibility, keypoint_angles,
    keypoint_scales: a list of one array for each row, as ``Sample`` describes it; None if the dataset has none.
    keypoint_boxes: likewise, but each is an index into the row's boxes, and -1 if the box was dropped.
    replaces:  for each row None, or the key of the refused record that it replaces.
    is_padding: bool (N,), True for a row that another rank has too, because there are more ranks than rows; leave such
        rows out of sums and counts. None means no row is.
    refusals:  the records that were refused while this batch was rendered.
    provenance: one for each row, or empty if the batch was read from a wire that carries none.
    inverses:  float64 (N, 3, 3), from the middles of pixels of ``images`` to those of the upright original images;
        NaN if a distortion has no matrix. None if the stream has no views.
    source_sizes: int64 (N, 2), height and width of those originals.
    other_views: views 1, 2, … of the same rows: batches with the same keys, positions, labels and ``source_sizes``,
        each with its own images, targets that move with them, inverses and provenance.
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
    is_padding: NDArray[np.bool_] | None = None
    refusals: Sequence[Refusal] = ()
    provenance: Sequence[Provenance] = ()
    inverses: NDArray[np.float64] | None = None
    source_sizes: NDArray[np.int64] | None = None
    other_views: "tuple[Batch, ...]" = ()

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        """Return one line: the address, the number of rows, the images' shape and type, and the targets."""
        images = f"{len(self)} images"
        if isinstance(self.images, np.ndarray):
            images += f" {'x'.join(map(str, self.images.shape[1:]))} {self.images.dtype}"
        targets = [name for name in _TARGETS if getattr(self, name) is not None]
        views = [f"{len(self.views)} views"] if self.other_views else []
        return f"<Batch ({self.epoch}, {self.index}): {', '.join([images, *targets, *views])}>"

    def _repr_html_(self) -> str:
        """Return the first images with their targets drawn, for notebooks."""
        return self.html()

    def html(
        self,
        title: str = "",
        *,
        classes: Sequence[str] = (),
        to_pixels: Callable[[NDArray[Any] | list[NDArray[Any]], int], Sequence[NDArray[np.uint8]]] | None = None,
    ) -> str:
        """Return HTML of the first rows, all views of each: images at most 160 pixels long, with targets drawn.

        ``classes`` are the names that labels index; without them, numbers are shown. ``to_pixels`` returns uint8
        (H, W, 3) of the images of a view, which is given by its number; without it, floats are stretched over their
        own range. What the keys and classes are called is shown as text, never read as HTML.
        """
        num_rows = min(len(self), max(1, notebook.IMAGES_MAX // len(self.views)))
        shown = self.rows(0, num_rows)
        images = [
            [notebook.pixels_of(image) for image in view.images]
            if to_pixels is None
            else to_pixels(view.images, number)
            for number, view in enumerate(shown.views)
        ]
        thumbnails = [
            _thumbnail(view, row, images[number][row], classes, number)
            for row in range(num_rows)
            for number, view in enumerate(shown.views)
        ]
        more = [f"and {len(self) - num_rows} more rows"] if num_rows < len(self) else []
        return notebook.page(title or repr(self), thumbnails, more)

    @property
    def views(self) -> "tuple[Batch, ...]":
        """This batch, which is view 0, and the others."""
        return (self, *self.other_views)

    def rows(self, start: int, stop: int) -> "Batch":
        """Return rows ``start`` to ``stop`` as a batch with the same address; its arrays are views."""
        start, stop = (validation.integer(name, row, -len(self)) for name, row in (("start", start), ("stop", stop)))
        by_row = {name: values[start:stop] for name in _BY_ROW if (values := getattr(self, name)) is not None}
        others = tuple(view.rows(start, stop) for view in self.other_views)
        return replace(self, **by_row, other_views=others)


_TARGETS = ("labels", "label_weights", "masks", "boxes", "instance_masks", "keypoints")


def _thumbnail(batch: Batch, row: int, pixels: NDArray[np.uint8], classes: Sequence[str], view: int) -> Thumbnail:
    """Return what a notebook shows of a row of a batch, which is a view of its number."""

    def of_row(name: str) -> Any:
        values = getattr(batch, name)
        return None if values is None else values[row]

    said = [notebook.shortened(batch.keys[row])]
    if batch.replaces and (key := batch.replaces[row]) is not None:
        said.append(f"in place of {notebook.shortened(key)}")
    if view:
        said.append(f"view {view}")
    if (label := of_row("labels")) is not None and label != UNLABELLED:
        said.append(_class_name(label, classes))
    if (weights := of_row("label_weights")) is not None:
        largest = [index for index in np.argsort(-weights, kind="stable")[:3] if weights[index] > 0]
        said.append(", ".join(f"{_class_name(index, classes)} {weights[index]:.2g}" for index in largest))
    return thumbnail_of(
        Sample(pixels, mask=of_row("masks"), **{name: of_row(name) for name in OF_OBJECTS if name != "keypoint_boxes"}),
        ": ".join(said),
        classes,
    )


def thumbnail_of(sample: Sample, caption: str, classes: Sequence[str] = ()) -> Thumbnail:
    """Return what a notebook shows of a sample; ``classes`` are the names that labels of boxes index."""
    visibility = sample.keypoint_visibility
    box_labels = () if sample.box_labels is None else sample.box_labels
    in_mask = () if sample.mask is None else np.unique(sample.mask[sample.mask > 0])
    return Thumbnail(
        image=sample.image,
        caption=caption,
        legend=[
            *((_class_name(label, classes), bright(number)) for number, label in enumerate(box_labels)),
            *((_class_name(value, classes), class_colour(int(value) % 256)) for value in in_mask),
        ],
        mask=sample.mask,
        boxes=sample.boxes,
        instance_masks=sample.instance_masks,
        keypoints=sample.keypoints,
        keypoint_labels=sample.keypoint_labels,
        is_hidden=None if visibility is None else visibility == 1,
    )


def _class_name(label: int, classes: Sequence[str]) -> str:
    return notebook.shortened(classes[label]) if 0 <= label < len(classes) else str(int(label))


_BY_ROW = tuple(each.name for each in fields(Batch) if each.name not in {"epoch", "index", "refusals", "other_views"})

OF_OBJECTS = ("boxes", "box_labels", "instance_masks", "keypoints", *BY_KEYPOINT)
"""Fields with one entry for each box or keypoint in ``Sample``, and with one array for each row in ``Batch``."""


class Images:
    """Images of a batch, row by row: one array if all have one shape, else a list.

    Each is copied at once, while the processor's cache still holds it; its memory is then free for the next one.
    """

    def __init__(self, num_rows: int, image_shape: tuple[int, int, int] | None) -> None:
        self._taken = 0
        self.rows: NDArray[np.uint8] | list[NDArray[np.uint8]] = (
            [] if image_shape is None else np.empty((num_rows, *image_shape), np.uint8)
        )

    def take(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Add the next row. Return the image as stored in the batch."""
        if isinstance(self.rows, list):
            self.rows.append(image)
            return image
        row: NDArray[np.uint8] = self.rows[self._taken]
        if image.shape != row.shape:
            raise ValueError(f"an image is {image.shape}, the others of its batch are {row.shape}")
        row[...] = image
        self._taken += 1
        return row


def targets(samples: Sequence[Sample], names: frozenset[str], *, fixed: bool) -> dict[str, Any]:
    """Return the fields of ``Batch`` that hold these targets, given by the names of ``Sample``'s fields.

    ``fixed`` means that all images have one size; masks are then one array.
    """
    found: dict[str, Any] = {}
    if "label" in names:
        labels = [UNLABELLED if sample.label is None else sample.label for sample in samples]
        found["labels"] = np.array(labels, dtype=np.int64)
    if "labels" in names:
        weights = [sample.labels for sample in samples]
        found["label_weights"] = np.array(weights, np.float32).reshape(len(samples), -1)
    if "mask" in names:
        masks = [sample.mask for sample in samples if sample.mask is not None]
        found["masks"] = np.stack(masks) if fixed and masks else masks
    wanted = names | ({"box_labels"} if "boxes" in names else set())
    for name in OF_OBJECTS:
        if name in wanted:
            found[name] = [_places(sample) if name == "keypoint_boxes" else getattr(sample, name) for sample in samples]
    return found


def sample(batch: Batch, row: int) -> Sample:
    """Return one row of a batch; its arrays are views. Rows of boxes and keypoints are counted in the batch's row."""
    label = None if batch.labels is None else int(batch.labels[row])
    found = {"labels": batch.label_weights, "mask": batch.masks}
    found |= {name: getattr(batch, name) for name in OF_OBJECTS}
    arrays: dict[str, Any] = {name: values[row] for name, values in found.items() if values is not None}
    return Sample(batch.images[row], label=None if label == UNLABELLED else label, **arrays)


def _places(sample: Sample) -> NDArray[np.int64]:
    """Return for each keypoint the index of its box among the sample's boxes, which may be fewer than the record's."""
    belongs = np.asarray(sample.keypoint_boxes, np.int64)
    if sample.box_rows is None:
        return belongs
    places = {int(row): place for place, row in enumerate(sample.box_rows)}
    return np.array([places.get(int(row), -1) for row in belongs], np.int64)
