"""Contact sheets of the catalogue: for each family, each transform with four draws, and containers with six.

    python -m tests.sheets OUTDIR [FAMILY ...]
    python -m tests.sheets --targets docs/images/targets.jpg
    python -m tests.sheets --policies docs/images/policies.jpg
    python -m tests.sheets --joined docs/images/mosaic.jpg
    python -m tests.sheets --mixing docs/images/mixing.jpg
    python -m tests.sheets --references docs/images/references.jpg

The second draws one pipeline and its targets, the third the draws and results of each policy, the fourth
images joined with others, the fifth mixed rows of a batch, the sixth transforms with references. The
photographs are those that scikit-image ships, with boxes, masks and keypoints set by hand and drawn upon them.
Parameters are the defaults, p is 1. If a transform needs an argument, or its default has no visible effect on a
photograph of this size, the label shows the arguments.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage import data

from augment.mixing.mix import parse_mix
from augment.pipelines.document import parse
from augment.pipelines.spec import BoxRules, KeypointRules, Node, PipelineSpec
from augment.preview.contact_sheet import contact_sheet
from augment.preview.overlay import Overlay
from augment.render.records import Loose
from augment.samples.sample import Batch, Provenance, Sample, sample, targets
from augment.transforms.catalogue import catalogue, fill, is_joining
from augment.transforms.entry import ALL_TARGETS
from augment.transforms.families import FAMILIES
from augment.transforms.resolve import resolve
from augment.transforms.runtime.compiler import Compiled
from tests.augment.transforms.catalogue_cases import required
from tests.augment.transforms.donors_cases import Donors

NUM_DRAWS = 4
GIVEN: Mapping[str, Mapping[str, Any]] = {
    "Affine": {"scale": [0.8, 1.2], "rotate": [-20, 20], "shear": [-10, 10]},
    "AtLeastOneBBoxRandomCrop": {"height": 160, "width": 160},
    "CenterCrop": {"height": 160, "width": 160},
    "ConstrainedCoarseDropout": {"mask_indices": [1], "hole_height_range": [0.2, 0.4], "hole_width_range": [0.2, 0.4]},
    "Crop": {"x_min": 40, "y_min": 10, "x_max": 240, "y_max": 170},
    "CropAndPad": {"percent": [-0.2, 0.2]},
    "CropNonEmptyMaskIfExists": {"height": 120, "width": 120},
    "ElasticTransform": {"alpha": 300, "sigma": 12},
    "FDA": {"references": "photographs"},
    "GridElasticDeform": {"num_grid_xy": [5, 5], "magnitude": 10},
    "HistogramMatching": {"references": "photographs"},
    "LongestMaxSize": {"max_size": 200},
    "Mosaic": {"size": [256, 256]},
    "OverlayElements": {"references": "objects"},
    "Pad": {"padding": 30},
    "PadIfNeeded": {"min_height": 320, "min_width": 320},
    "PixelDistributionAdaptation": {"references": "photographs"},
    "PlasmaShadow": {"roughness": 0.5},
    "RandomCrop": {"height": 160, "width": 160},
    "RandomResizedCrop": {"size": [224, 224]},
    "RandomSizedBBoxSafeCrop": {"height": 224, "width": 224},
    "RandomSizedCrop": {"min_max_height": [100, 200], "size": [224, 224]},
    "Resize": {"height": 224, "width": 224},
    "SmallestMaxSize": {"max_size": 160},
    "TemplateTransform": {"references": "photographs"},
    "XYMasking": {"num_masks_x": [1, 4], "num_masks_y": [1, 4], "mask_x_length": [5, 30], "mask_y_length": [5, 30]},
}
_CONTAINER_GIVEN: Mapping[str, Mapping[str, Any]] = {"SomeOf": {"n": 2}, "RandomOrder": {"n": 2}}
_CHILDREN = ("HorizontalFlip", "ToSepia", "GridDropout")


CLASSES = ("background", "face", "shuttle", "cup", "spoon", "cat", "rocket")
KEYPOINT_NAMES = ("nose", "left_eye", "right_eye", "mouth")
MIXED_TARGETS = ("boxes", "box_labels", "keypoints", "keypoint_labels", "keypoint_visibility")
TARGETS = """
transforms:
  - HorizontalFlip: {p: 0.5}
  - Affine: {rotate: [-25, 25], scale: [0.7, 1.1], shear: [-12, 12], p: 0.7}
  - RandomCropKeepSize: {scale: [0.4, 1.0], p: 0.5}
  - OneOf:
      p: 0.6
      transforms:
        - Perspective: {scale: 0.15}
        - ElasticTransform: {alpha: 300, sigma: 12}
        - GridDistortion: {distort_limit: 0.4}
boxes: {min_visibility: 0.2}
keypoints: {outside: mark}
"""


JOINED: Mapping[str, Mapping[str, Any]] = {
    "Mosaic: cover": {"fit_mode": "cover"},
    "Mosaic: half": {"fit_mode": "half", "fill": 114, "center_range": [0.25, 0.75]},
    "Mosaic: 9, cover": {"num_images": 9},
    "Mosaic: 9, contain": {"num_images": 9, "fit_mode": "contain", "center_range": [0.5, 0.5]},
    "CopyPaste: 1 donor": {"share_range": [1, 1], "scale_range": [0.4, 1.2]},
    "CopyPaste: 3 donors": {"num_donors": 3, "scale_range": [0.4, 1.2]},
    "CopyPaste: soft edges": {"num_donors": 3, "scale_range": [0.4, 1.2], "blend_sigma": 3},
    "CopyPaste: 8 donors": {"num_donors": 8, "scale_range": [0.2, 0.8]},
}


REFERRING: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "FDA, beta 0.01": ("FDA", {"beta_limit": [0.01, 0.01]}),
    "HistogramMatching": ("HistogramMatching", {"blend_ratio": [1, 1]}),
    "PixelDistributionAdaptation, pca": ("PixelDistributionAdaptation", {"blend_ratio": [1, 1]}),
    "the same, standard": ("PixelDistributionAdaptation", {"blend_ratio": [1, 1], "transform_type": "standard"}),
    "TemplateTransform": ("TemplateTransform", {"img_weight": 0.7}),
    "OverlayElements": ("OverlayElements", {"num_elements": 3}),
}


def photographs() -> list[Sample]:
    """The astronaut and the coffee, 256 pixels high and wide: one with keypoints and a mask, one with two objects."""
    astronaut: np.ndarray = data.astronaut()  # type: ignore[no-untyped-call]  # scikit-image ships no types
    coffee: np.ndarray = data.coffee()  # type: ignore[no-untyped-call]  # the same
    person, cup = (
        np.array(Image.fromarray(image).resize((256, 256), Image.Resampling.BOX))
        for image in (astronaut[:400, 60:460], coffee[:, 100:500])
    )
    objects = np.stack([_ellipse(121, 71, 74, 60), _ellipse(169, 180, 26, 29)])
    return [
        Sample(
            person,
            mask=_ellipse(104, 72, 32, 50),
            boxes=np.array([[60, 10, 155, 122], [186, 0, 254, 182]], np.float32),
            box_labels=np.array([1, 2]),
            keypoints=np.array([[105, 78], [120, 66], [89.5, 64.5], [104, 92]], np.float32),
            keypoint_labels=np.arange(4),
            keypoint_visibility=np.array([2, 2, 2, 2], np.int8),
        ),
        Sample(
            cup,
            mask=objects[0] + 2 * objects[1],
            boxes=np.array([[47, 11, 195, 131], [143, 151, 195, 209]], np.float32),
            box_labels=np.array([3, 4]),
            instance_masks=objects,
        ),
    ]


def photographs_with_objects() -> list[Sample]:
    """Four photographs with the box and the mask of each object: face, cup and spoon, cat, rocket."""
    person, coffee = photographs()
    chelsea: np.ndarray = data.chelsea()  # type: ignore[no-untyped-call]  # scikit-image ships no types
    rocket: np.ndarray = data.rocket()  # type: ignore[no-untyped-call]  # the same
    cat, launch = (
        np.array(Image.fromarray(image).resize((256, 256), Image.Resampling.BOX))
        for image in (chelsea[:, 90:390], rocket[:400, 120:520])
    )
    found = [(person.image, 1, _ellipse(104, 72, 36, 52)), (cat, 5, _ellipse(116, 116, 96, 88))]
    found.append((launch, 6, _ellipse(128, 150, 12, 80)))
    alone = [
        Sample(image, boxes=_box(mask), box_labels=np.array([label]), instance_masks=mask[np.newaxis])
        for image, label, mask in found
    ]
    return [alone[0], replace(coffee, mask=None), *alone[1:]]


def styles() -> list[Sample]:
    """References: a rocket by night, a cat, a slide of tissue."""
    images = (data.rocket(), data.chelsea(), data.immunohistochemistry())  # type: ignore[no-untyped-call]  # the same
    return [Sample(np.array(Image.fromarray(each).resize((256, 256), Image.Resampling.BOX))) for each in images]


def _box(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(mask)
    return np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)


def _ellipse(x: float, y: float, across: float, down: float) -> np.ndarray:
    rows, columns = np.mgrid[:256, :256]
    inside: np.ndarray = ((columns - x) / across) ** 2 + ((rows - y) / down) ** 2 <= 1
    return inside.astype(np.uint8)


def movable(name: str, given: Sample) -> Sample:
    """The photograph with those of its targets that the transform can move."""
    info = catalogue()[name]
    if info.moves_pixels and not info.targets >= ALL_TARGETS:
        given = replace(given, mask=None, boxes=None, box_labels=None, instance_masks=None)
    if info.moves_pixels and "keypoints" not in info.targets:
        given = replace(given, keypoints=None, keypoint_labels=None, keypoint_visibility=None)
    return given


def given(name: str) -> Mapping[str, Any]:
    """Return the parameters that are not left at their defaults."""
    return GIVEN.get(name) or required(name)


def node(name: str) -> Node:
    info = catalogue()[name]
    if info.container:
        count = 2 if name == "OneOrOther" else len(_CHILDREN)
        children = tuple(Node(child, fill(child, {"p": 1})) for child in _CHILDREN[:count])
        p = 0.5 if name == "OneOrOther" else 1
        return Node(name, fill(name, {"p": p, **_CONTAINER_GIVEN.get(name, {})}), children)
    return Node(name, fill(name, {"p": 1, **given(name)}))


def sheet(family: str) -> np.ndarray:
    """One row a transform: the photograph as it was, then ``NUM_DRAWS`` draws, on the two photographs in turn."""
    shown, labels = [], []
    samples = photographs()
    names = [name for name, info in catalogue().items() if info.family == family]
    for row, name in enumerate(names):
        donors = photographs_with_objects()
        original = donors[row % 2] if is_joining(name) else movable(name, samples[row % 2])
        spec = PipelineSpec((node(name),))
        transform = Compiled(
            spec,
            keypoint_names=KEYPOINT_NAMES,
            donors=Donors(donors),
            references={"photographs": Loose(styles()), "objects": Loose(donors)},
        )
        shown_params = ", ".join(f"{key} {value}" for key, value in given(name).items())
        shown.append(original)
        labels.append(f"{name} {shown_params}")
        for draw in range(NUM_DRAWS):
            rendered, *_ = transform(original, seed=0, draw=draw, view=0, key=f"photograph {row % 2}")
            shown.append(rendered)
            labels.append("{} x {}".format(*rendered.image.shape[:2]))
    return _drawn(shown, labels, columns=NUM_DRAWS + 1, title=family)


def targets_sheet() -> np.ndarray:
    """Draw each photograph unchanged, then three copies, with the masks of only one, because they would hide each
    other.
    """
    transform = Compiled(resolve(parse(TARGETS)), keypoint_names=KEYPOINT_NAMES)
    shown = []
    for number, original in enumerate(photographs()):
        without = replace(original, mask=None) if original.instance_masks is not None else original
        shown.append(without)
        shown += [transform(without, seed=4, draw=draw, view=0, key=f"photograph {number}").sample for draw in range(3)]
    return _drawn(shown, [], columns=4)


def policies_sheet() -> np.ndarray:
    """One row a policy: the photograph with its boxes and keypoints, then draws of it, each with what was drawn."""
    shown, labels = [], []
    astronaut = replace(photographs()[0], mask=None)
    for name in ("RandAugment", "TrivialAugmentWide", "AutoAugment", "AugMix", "ThreeAugment"):
        original = movable(name, astronaut)
        transform = Compiled(PipelineSpec((node(name),)), keypoint_names=KEYPOINT_NAMES)
        shown.append(original)
        labels.append(name)
        for draw in range(NUM_DRAWS + 1):
            made = transform(original, seed=3, draw=draw, view=0, key="photograph")
            shown.append(made.sample)
            labels.append(_told(made.applied[0].params))
    return _drawn(shown, labels, columns=NUM_DRAWS + 2)


def _told(params: Mapping[str, Any]) -> str:
    """Return the draw of a policy as a label; for AugMix the weights, that of the image first."""
    if "weights" in params:
        return "weights " + ", ".join(f"{weight:.2f}" for weight in params["weights"])
    steps = (name if value is None else f"{name} {value:.3g}" for name, value in params["operations"])
    return ", ".join(steps) or "nothing"


def joined_sheet() -> np.ndarray:
    """The photographs as they were, then one draw of each of ``JOINED``."""
    donors = photographs_with_objects()
    shown, labels = list(donors), ["astronaut", "coffee", "cat", "rocket"]
    for number, (label, params) in enumerate(JOINED.items()):
        name = label.partition(":")[0]
        size = {"size": [256, 256]} if name == "Mosaic" else {}
        spec = PipelineSpec((Node(name, fill(name, {"p": 1, **size, **params})),))
        transform = Compiled(spec, donors=Donors(donors))
        shown.append(transform(donors[number % 4], seed=51, draw=number, view=0, key="photograph").sample)
        labels.append(label)
    return _drawn(shown, labels, columns=4)


def mixing_sheet() -> np.ndarray:
    """Two rows of a batch as they were, then mixed, with their boxes, keypoints and weights of classes."""
    whole = [replace(each, mask=None, instance_masks=None) for each in photographs()]
    for name in ("keypoints", "keypoint_labels", "keypoint_visibility"):
        setattr(whole[1], name, getattr(whole[0], name)[:0])  # every row of a batch has the same targets
    fields = targets(whole, frozenset(MIXED_TARGETS), fixed=True)
    images = np.stack([each.image for each in whole])
    keys = ["person", "coffee"]
    batch = Batch(0, 0, images, keys, np.arange(2), labels=np.arange(2), provenance=[Provenance("")] * 2, **fields)
    shown, labels = [batch], ["as it was"]
    for index, text in enumerate(("MixUp: {alpha: 4}", "CutMix: {per: row}", "CutMix: {per: row}")):
        mix = parse_mix(parse(text))
        address = {"stream_id": "sheet", "epoch": 0, "index": index}
        shown.append(mix.apply(batch, **address, num_classes=2, boxes=BoxRules(), keypoints=KeypointRules()))  # type: ignore[arg-type]
        labels.append(mix.methods[0].name)
    samples, captions = [], []
    for row in range(2):
        for one, label in zip(shown, labels, strict=True):
            samples.append(sample(one, row))
            weights = () if one.label_weights is None else zip(keys, one.label_weights[row].tolist(), strict=True)
            captions.append(label + ", ".join(f" {weight:.2f} {name}" for name, weight in weights))
    return _drawn(samples, captions, columns=len(shown))


def references_sheet() -> np.ndarray:
    """Draw a row for each reference: the photograph, the reference, and the result of each transform."""
    cup = replace(photographs()[1], boxes=None, box_labels=None, instance_masks=None, mask=None)
    face, _, cat, rocket = photographs_with_objects()
    shown, labels = [], []
    for look, element in zip(styles(), (rocket, cat, face), strict=True):
        shown += [cup, look]
        labels += ["photograph", "reference"]
        for label, (name, params) in REFERRING.items():
            one = Node(name, fill(name, {"references": "one", "p": 1, **params}))
            taken = Loose([element if name == "OverlayElements" else look])
            transform = Compiled(PipelineSpec((one,)), references={"one": taken})
            shown.append(transform(cup, seed=1, draw=0, view=0, key="photograph").sample)
            labels.append(label)
    return _drawn(shown, labels, columns=2 + len(REFERRING))


def _drawn(samples: Sequence[Sample], labels: Sequence[str], *, columns: int, title: str = "") -> np.ndarray:
    overlays = [Overlay(sample, CLASSES) for sample in samples]
    return contact_sheet([sample.image for sample in samples], labels, columns=columns, title=title, overlays=overlays)


def main(arguments: list[str]) -> None:
    if not arguments:
        sys.exit(__doc__)
    drawings = {
        "--targets": targets_sheet,
        "--policies": policies_sheet,
        "--joined": joined_sheet,
        "--mixing": mixing_sheet,
        "--references": references_sheet,
    }
    if arguments[0] in drawings:
        Image.fromarray(drawings[arguments[0]]()).save(arguments[1], quality=85)
        return
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    for family in arguments[1:] or FAMILIES:
        Image.fromarray(sheet(family)).save(folder / f"{family}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
