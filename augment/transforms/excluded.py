"""What Albumentations has and the catalogue has not, each with the reason that is shown to whoever asks for it."""

from collections.abc import Mapping
from typing import Final

_METADATA = "it needs other pictures or data from the caller for each sample"
_VOLUME = "it works on volumes; samples are pictures"
_UINT8 = "samples are uint8 RGB from end to end"

EXCLUDED: Final[Mapping[str, str]] = {
    "FDA": _METADATA,
    "HistogramMatching": _METADATA,
    "PixelDistributionAdaptation": _METADATA,
    "TemplateTransform": _METADATA,
    "OverlayElements": _METADATA,
    "RandomCropNearBBox": "it needs a box from the caller for each sample; use AtLeastOneBBoxRandomCrop",
    "MaskDropout": "it takes each connected part of the mask for an object and erases it from the mask's classes; use "
    "ConstrainedCoarseDropout",
    "TextImage": "it needs a font file, and a pipeline names no files",
    "Lambda": "it runs code, and a pipeline names no code",
    "CenterCrop3D": _VOLUME,
    "RandomCrop3D": _VOLUME,
    "Pad3D": _VOLUME,
    "PadIfNeeded3D": _VOLUME,
    "CoarseDropout3D": _VOLUME,
    "CubicSymmetry": _VOLUME,
    "TimeReverse": "it is HorizontalFlip under another name; use that",
    "TimeMasking": "it is one column of XYMasking; use that",
    "FrequencyMasking": "it is one row of XYMasking; use that",
    "Normalize": f"{_UINT8}; write it as `normalize:` beside `transforms:`",
    "ToFloat": f"{_UINT8}; write it as `normalize:` beside `transforms:`",
    "FromFloat": _UINT8,
    "ToRGB": f"{_UINT8}, whatever the file was",
    "ToTensorV2": "batches become tensors at the client; leave it out",
    "ToTensor3D": _VOLUME,
    "SelectiveChannelTransform": "its children would see one or two channels, which most of them "
    "refuse, and no targets",
    "Compose": "the document itself is the outermost sequence; use Sequential inside it",
    "ReplayCompose": "every sample can be rendered again from its address; leave it out",
}
