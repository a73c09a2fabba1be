"""Contact sheets of the catalogue: for each family, each transform with four draws, and containers with six.

    python -m tests.sheets OUTDIR [FAMILY ...]

The photographs are those that scikit-image ships. Parameters are the defaults, p is 1; where a transform needs an
argument, or its default does nothing to be seen on a photograph of this size, the label says what was given.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage import data

from augment.pipeline import Node, PipelineSpec
from augment.sample import Sample
from augment.sheet import contact_sheet
from augment.transforms import catalogue
from augment.transforms.compile import compile_pipeline

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
    "GridElasticDeform": {"num_grid_xy": [5, 5], "magnitude": 10},
    "LongestMaxSize": {"max_size": 200},
    "Pad": {"padding": 30},
    "PadIfNeeded": {"min_height": 320, "min_width": 320},
    "PlasmaShadow": {"roughness": 0.5},
    "RandomCrop": {"height": 160, "width": 160},
    "RandomResizedCrop": {"size": [224, 224]},
    "RandomSizedBBoxSafeCrop": {"height": 224, "width": 224},
    "RandomSizedCrop": {"min_max_height": [100, 200], "size": [224, 224]},
    "Resize": {"height": 224, "width": 224},
    "SmallestMaxSize": {"max_size": 160},
    "XYMasking": {"num_masks_x": [1, 4], "num_masks_y": [1, 4], "mask_x_length": [5, 30], "mask_y_length": [5, 30]},
}
_CONTAINER_GIVEN: Mapping[str, Mapping[str, Any]] = {"SomeOf": {"n": 2}, "RandomOrder": {"n": 2}}
_CHILDREN = ("HorizontalFlip", "ToSepia", "GridDropout")


def photographs() -> list[Sample]:
    """The astronaut and the coffee, 256 pixels high and wide, with a mask and a box on what they show."""
    astronaut: np.ndarray = data.astronaut()  # type: ignore[no-untyped-call]  # scikit-image ships no types
    coffee: np.ndarray = data.coffee()  # type: ignore[no-untyped-call]  # the same
    small = [
        np.array(Image.fromarray(image).resize((256, 256), Image.Resampling.BOX))
        for image in (astronaut[:400, 60:460], coffee[:, 100:500])
    ]
    samples = []
    for image, (x_min, y_min, x_max, y_max) in zip(small, ((70, 0, 190, 180), (50, 60, 220, 200)), strict=True):
        mask = np.zeros((256, 256), dtype=np.uint8)
        mask[y_min:y_max, x_min:x_max] = 1
        box = np.array([[x_min, y_min, x_max, y_max]], dtype=np.float32)
        samples.append(Sample(image, mask=mask, boxes=box, box_labels=np.array([1])))
    return samples


def node(name: str) -> Node:
    info = catalogue.catalogue()[name]
    if info.container:
        count = 2 if name == "OneOrOther" else len(_CHILDREN)
        children = tuple(Node(child, catalogue.fill(child, {"p": 1})) for child in _CHILDREN[:count])
        p = 0.5 if name == "OneOrOther" else 1
        return Node(name, catalogue.fill(name, {"p": p, **_CONTAINER_GIVEN.get(name, {})}), children)
    return Node(name, catalogue.fill(name, {"p": 1, **GIVEN.get(name, {})}))


def sheet(family: str) -> np.ndarray:
    """One row a transform: the photograph as it was, then ``NUM_DRAWS`` draws, on the two photographs in turn."""
    images, labels = [], []
    samples = photographs()
    names = [name for name, info in catalogue.catalogue().items() if info.family == family]
    for row, name in enumerate(names):
        original = samples[row % 2]
        transform = compile_pipeline(PipelineSpec((node(name),)))
        given = ", ".join(f"{key} {value}" for key, value in GIVEN.get(name, {}).items())
        images.append(original.image)
        labels.append(f"{name} {given}")
        for draw in range(NUM_DRAWS):
            rendered, *_ = transform(original, seed=0, draw=draw, view=0, key=f"photograph {row % 2}")
            images.append(rendered.image)
            labels.append("{} x {}".format(*rendered.image.shape[:2]))
    return contact_sheet(images, labels, columns=NUM_DRAWS + 1, title=family)


def main(arguments: list[str]) -> None:
    if not arguments:
        sys.exit(__doc__)
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    for family in arguments[1:] or catalogue.FAMILIES:
        Image.fromarray(sheet(family)).save(folder / f"{family}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
