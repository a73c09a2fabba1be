"""Image augmentation where every sample has an address and its pixels are a pure function of it.

Everything a user needs is an attribute of this module (``__all__``). Each is imported on first use, so that ``import
augment`` is fast and a script that only reads a pipeline never loads OpenCV. A name whose extra is not installed raises
MissingExtraError, which says how to install it.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from augment import errors
    from augment.dataset_stats.pixels import dataset_statistics
    from augment.datasets.dataset import Dataset
    from augment.engine import engine_id
    from augment.errors import AugmentError
    from augment.expansion.expand import expand_dataset
    from augment.expansion.verify import verify_expansion
    from augment.images.decode import decode_image
    from augment.images.encode import encode_image
    from augment.normalize.images import denormalise_images, normalize_images
    from augment.preview.contact_sheet import contact_sheet
    from augment.preview.overlay import Overlay
    from augment.render.pipeline import Pipeline
    from augment.samples.sample import Batch, Sample
    from augment.scanning.scan import scan
    from augment.splitting.divide import divide_dataset
    from augment.streams.stream import Stream
    from augment.transforms.catalogue import catalogue
    from augment.tta.merge import merge_predictions
    from augment.workers.pool import LocalWorkers

if TYPE_CHECKING:
    __version__: str

_HOMES = {
    "AugmentError": "augment.errors",
    "Batch": "augment.samples.sample",
    "Dataset": "augment.datasets.dataset",
    "LocalWorkers": "augment.workers.pool",
    "Overlay": "augment.preview.overlay",
    "Pipeline": "augment.render.pipeline",
    "Sample": "augment.samples.sample",
    "Stream": "augment.streams.stream",
    "catalogue": "augment.transforms.catalogue",
    "contact_sheet": "augment.preview.contact_sheet",
    "dataset_statistics": "augment.dataset_stats.pixels",
    "decode_image": "augment.images.decode",
    "denormalise_images": "augment.normalize.images",
    "divide_dataset": "augment.splitting.divide",
    "encode_image": "augment.images.encode",
    "engine_id": "augment.engine",
    "expand_dataset": "augment.expansion.expand",
    "merge_predictions": "augment.tta.merge",
    "normalize_images": "augment.normalize.images",
    "scan": "augment.scanning.scan",
    "verify_expansion": "augment.expansion.verify",
}

__all__ = [
    "AugmentError",
    "Batch",
    "Dataset",
    "LocalWorkers",
    "Overlay",
    "Pipeline",
    "Sample",
    "Stream",
    "__version__",
    "catalogue",
    "contact_sheet",
    "dataset_statistics",
    "decode_image",
    "denormalise_images",
    "divide_dataset",
    "encode_image",
    "engine_id",
    "errors",
    "expand_dataset",
    "merge_predictions",
    "normalize_images",
    "scan",
    "verify_expansion",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        value: object = importlib.import_module("augment.version").version()
    elif name == "errors":
        value = importlib.import_module("augment.errors")
    elif name in _HOMES:
        with importlib.import_module("augment.errors").missing_extras_named():
            value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'augment' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
