"""Cases for tests that run over the whole catalogue: parameters for each transform, drawn and default, and images."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st

from augment.pipelines.spec import Node, PipelineSpec
from augment.render.records import Loose
from augment.samples.sample import Applied, Sample
from augment.transforms.catalogue import catalogue, fill
from augment.transforms.entry import ALL_TARGETS
from augment.transforms.runtime.compiler import Compiled

LEAVES = tuple(name for name, info in catalogue().items() if not (info.container or info.donors or info.references))
"""What needs nothing but a sample."""
POLICIES = tuple(name for name, info in catalogue().items() if info.family == "policy")
CONTAINERS = tuple(name for name, info in catalogue().items() if info.container)
REFERRING = tuple(name for name, info in catalogue().items() if info.references)
EVERY = tuple(sorted((*LEAVES, *CONTAINERS, *REFERRING)))
"""Whatever is applied to one sample; nodes that join it with donors have tests of their own."""
MOVING = tuple(name for name in LEAVES if catalogue()[name].moves_pixels)
MOVING_ALL = tuple(name for name in MOVING if catalogue()[name].targets >= ALL_TARGETS)
"""What moves every target with the pixels."""


def example(schema: Mapping[str, Any]) -> Any:
    """Return a small value that this schema allows, for a parameter without a default."""
    if "anyOf" in schema:
        return example(schema["anyOf"][0])
    if "oneOf" in schema:
        return schema["oneOf"][0]["const"]
    match schema["type"]:
        case "array":
            return [example(schema["items"])] * schema["minItems"]
        case "object":
            return {name: example(schema["properties"][name]) for name in schema["required"]}
        case "boolean":
            return False
        case "string":
            return "others"
    least = 16 if schema["type"] == "integer" else 0.5
    return min(max(schema.get("minimum", schema.get("exclusiveMinimum")), least), schema["maximum"])


def required(name: str) -> dict[str, Any]:
    """Return examples of a transform's parameters without a default."""
    schema = catalogue()[name].schema
    return {key: example(schema["properties"][key]) for key in schema["required"]}


_CHOSEN: Mapping[str, Mapping[str, Any]] = {
    "AtLeastOneBBoxRandomCrop": {"height": 16, "width": 20},
    "CenterCrop": {"height": 16, "width": 20},
    "ConstrainedCoarseDropout": {"mask_indices": [1, 2]},
    "Crop": {"x_min": 2, "y_min": 1, "x_max": 22, "y_max": 17},
    "CropAndPad": {"px": [-3, 4]},
    "CropNonEmptyMaskIfExists": {"height": 16, "width": 20},
    "FDA": {"references": "others"},
    "GridElasticDeform": {"num_grid_xy": [4, 3], "magnitude": 4},
    "HistogramMatching": {"references": "others"},
    "LongestMaxSize": {"max_size": 48},
    "Mosaic": {"size": [48, 56]},
    "OverlayElements": {"references": "others"},
    "PadIfNeeded": {"min_height": 70, "min_width": 80},
    "PixelDistributionAdaptation": {"references": "others"},
    "RandomCrop": {"height": 16, "width": 20},
    "RandomResizedCrop": {"size": [24, 28]},
    "RandomSizedBBoxSafeCrop": {"height": 24, "width": 28},
    "RandomSizedCrop": {"min_max_height": [12, 24], "size": [24, 28]},
    "Resize": {"height": 24, "width": 28},
    "SmallestMaxSize": {"max_size": 24},
    "Superpixels": {"p_replace": [0.5, 0.5], "n_segments": [12, 12], "max_size": 32},
    "TemplateTransform": {"references": "others"},
    "XYMasking": {"num_masks_x": 2, "num_masks_y": 1, "mask_x_length": [1, 6], "mask_y_length": [1, 6]},
}
NEEDED: Mapping[str, Mapping[str, Any]] = {name: {**required(name), **_CHOSEN.get(name, {})} for name in catalogue()}
"""What each transform cannot do without, or would do nothing without, or be slow; the rest keeps its defaults."""


def node(name: str, **params: Any) -> Node:
    """Make a node with its required parameters, these, and p=1 unless they differ; containers get children."""
    children = tuple(node(child, p=0.5) for child in ("HorizontalFlip", "InvertImg")) if name in CONTAINERS else ()
    return Node(name, fill(name, {"p": 1.0, **NEEDED.get(name, {}), **params}), children)


def compiled(*nodes: Node) -> Compiled:
    return Compiled(PipelineSpec(nodes), references={"others": Loose(others())})


def operations_of(applied: Applied) -> list[tuple[str, float | None]]:
    """Return what a policy did, from its provenance."""
    steps: Any = applied.params["operations"]
    return [(name, magnitude) for name, magnitude in steps]


def some(array: np.ndarray | None) -> np.ndarray:
    """Return the target, which must exist."""
    assert array is not None
    return array


def noise_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def sample(height: int = 40, width: int = 50, seed: int = 0) -> Sample:
    """Make noise with every target; the mask has classes 0 to 3 and boxes around them."""
    mask = np.zeros((height, width), dtype=np.int64)
    boxes = []
    for label, (top, left) in enumerate(((0.1, 0.2), (0.5, 0.1), (0.4, 0.6)), start=1):
        y, x, h, w = int(top * height), int(left * width), max(1, height // 3), max(1, width // 3)
        mask[y : y + h, x : x + w] = label
        boxes.append([x, y, min(x + w, width), min(y + h, height)])
    return Sample(
        image=noise_image(height, width, seed),
        label=5,
        mask=mask,
        boxes=np.array(boxes, dtype=np.float32),
        box_labels=np.array([1, 2, 3], dtype=np.int64),
        keypoints=np.array([[0, 0], [width / 2, height / 3], [width - 1, height - 1]], dtype=np.float32),
    )


def movable(name: str, given: Sample) -> Sample:
    """Return the sample without the targets that this transform cannot move."""
    info = catalogue()[name]
    if info.moves_pixels and "mask" not in info.targets:
        given.mask = None
    if info.moves_pixels and "boxes" not in info.targets:
        given.boxes = given.box_labels = None
    if info.moves_pixels and "keypoints" not in info.targets:
        given.keypoints = given.keypoint_labels = given.keypoint_visibility = None
        given.keypoint_angles = given.keypoint_scales = given.keypoint_boxes = None
    return given


def others() -> list[Sample]:
    """Make references: one smaller than ``sample()`` with objects, one larger with a mask, one of a single pixel."""
    small, large, dot = sample(24, 30, seed=11), sample(90, 70, seed=12), sample(1, 1, seed=13)
    masks = np.stack([some(small.mask) == label for label in (1, 2, 3)]).astype(np.uint8)
    return [
        Sample(small.image, boxes=small.boxes, box_labels=small.box_labels, instance_masks=masks),
        Sample(large.image, mask=large.mask),
        Sample(dot.image),
    ]


def values(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for every value that this schema allows."""
    if "anyOf" in schema:
        return st.one_of([values(branch) for branch in schema["anyOf"]])
    if "oneOf" in schema:
        return st.sampled_from([option["const"] for option in schema["oneOf"]])
    match schema["type"]:
        case "array":
            items = st.lists(values(schema["items"]), min_size=schema["minItems"], max_size=schema["maxItems"])
            return items.map(sorted) if schema.get("x-ordered") else items
        case "object":
            required = {name: values(schema["properties"][name]) for name in schema["required"]}
            rest = {name: values(inner) for name, inner in schema["properties"].items() if name not in required}
            return st.fixed_dictionaries(required, optional=rest).filter(
                lambda drawn: len(drawn) >= schema.get("minProperties", 0)
            )
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "string":
            return st.just("others")
    return _numbers(schema)


def _numbers(schema: Mapping[str, Any]) -> st.SearchStrategy[float]:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    if schema["type"] == "integer":
        whole = st.integers(low, schema["maximum"])
        return whole.map(lambda value: value | 1) if "not" in schema else whole
    above, below = "exclusiveMinimum" in schema, "exclusiveMaximum" in schema
    real = st.floats(low, schema["maximum"], exclude_min=above, exclude_max=below)
    first, last = math.ceil(low) + above, math.floor(schema["maximum"]) - below
    return real | st.integers(first, last) if first <= last else real
