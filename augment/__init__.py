"""Image augmentation where every sample has an address and its pixels are a pure function of it.

Everything a user needs is an attribute of this module (``__all__``); each is imported when it is first asked for, so
that ``import augment`` costs nothing and a script that only reads a pipeline never waits for OpenCV. Where a function
has the name of the room it lives in (``augment.expansion.expand.expand``), the public name says what it works on
(``augment.expand_dataset``), so that neither hides the other. A name whose extra is not installed raises
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
    from augment.expansion.expand import expand as expand_dataset
    from augment.expansion.verify import verify as verify_expansion
    from augment.images.decode import decode as decode_image
    from augment.images.encode import encode as encode_image
    from augment.normalize.images import denormalise_images, normalize_images
    from augment.preview.contact_sheet import contact_sheet
    from augment.preview.overlay import Overlay
    from augment.render.pipeline import Pipeline
    from augment.samples.sample import Batch, Sample
    from augment.scanning.scan import scan
    from augment.splitting.divide import divide as divide_dataset
    from augment.streams.stream import Stream
    from augment.transforms.catalogue import catalogue
    from augment.tta.merge import merge as merge_predictions
    from augment.workers.pool import LocalWorkers

if TYPE_CHECKING:
    __version__: str

_EXPORTS = {
    "AugmentError": ("augment.errors", "AugmentError"),
    "Batch": ("augment.samples.sample", "Batch"),
    "Dataset": ("augment.datasets.dataset", "Dataset"),
    "LocalWorkers": ("augment.workers.pool", "LocalWorkers"),
    "Overlay": ("augment.preview.overlay", "Overlay"),
    "Pipeline": ("augment.render.pipeline", "Pipeline"),
    "Sample": ("augment.samples.sample", "Sample"),
    "Stream": ("augment.streams.stream", "Stream"),
    "catalogue": ("augment.transforms.catalogue", "catalogue"),
    "contact_sheet": ("augment.preview.contact_sheet", "contact_sheet"),
    "dataset_statistics": ("augment.dataset_stats.pixels", "dataset_statistics"),
    "decode_image": ("augment.images.decode", "decode"),
    "denormalise_images": ("augment.normalize.images", "denormalise_images"),
    "divide_dataset": ("augment.splitting.divide", "divide"),
    "encode_image": ("augment.images.encode", "encode"),
    "engine_id": ("augment.engine", "engine_id"),
    "expand_dataset": ("augment.expansion.expand", "expand"),
    "merge_predictions": ("augment.tta.merge", "merge"),
    "normalize_images": ("augment.normalize.images", "normalize_images"),
    "scan": ("augment.scanning.scan", "scan"),
    "verify_expansion": ("augment.expansion.verify", "verify"),
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
    elif name in _EXPORTS:
        module, attribute = _EXPORTS[name]
        with importlib.import_module("augment.errors").missing_extras_named():
            value = getattr(importlib.import_module(module), attribute)
    else:
        raise AttributeError(f"module 'augment' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
