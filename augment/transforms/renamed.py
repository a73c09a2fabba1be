"""What arguments were called before Albumentations 2.0, for files and tutorials that still say so."""

from collections.abc import Mapping
from typing import Final

_EVERYWHERE: Final[Mapping[str, str]] = {
    "always_apply": "it was removed in Albumentations 2.0; write `p: 1.0` for a transform that is always applied",
    "value": "Albumentations 2.0 calls it `fill`",
    "mask_value": "Albumentations 2.0 calls it `fill_mask`",
    "fill_value": "Albumentations 2.0 calls it `fill`",
    "mask_fill_value": "Albumentations 2.0 calls it `fill_mask`",
    "pad_mode": "Albumentations 2.0 calls it `border_mode`",
    "pad_cval": "Albumentations 2.0 calls it `fill`",
    "pad_cval_mask": "Albumentations 2.0 calls it `fill_mask`",
    "cval": "Albumentations 2.0 calls it `fill`",
    "cval_mask": "Albumentations 2.0 calls it `fill_mask`",
    "mode": "Albumentations 2.0 calls a border's mode `border_mode`",
}

_SIZE: Final = "Albumentations 2.0 takes `size: [height, width]`"

OF_ONE: Final[Mapping[tuple[str, str], str]] = {
    ("RandomResizedCrop", "height"): _SIZE,
    ("RandomResizedCrop", "width"): _SIZE,
    ("RandomSizedCrop", "height"): _SIZE,
    ("RandomSizedCrop", "width"): _SIZE,
    ("CoarseDropout", "max_holes"): "Albumentations 2.0 takes `num_holes_range: [min, max]`",
    ("CoarseDropout", "min_holes"): "Albumentations 2.0 takes `num_holes_range: [min, max]`",
    ("CoarseDropout", "max_height"): "Albumentations 2.0 takes `hole_height_range: [min, max]`",
    ("CoarseDropout", "min_height"): "Albumentations 2.0 takes `hole_height_range: [min, max]`",
    ("CoarseDropout", "max_width"): "Albumentations 2.0 takes `hole_width_range: [min, max]`",
    ("CoarseDropout", "min_width"): "Albumentations 2.0 takes `hole_width_range: [min, max]`",
    ("GaussNoise", "var_limit"): "Albumentations 2.0 takes `std_range`, as a share of 255",
    ("GaussNoise", "mean"): "Albumentations 2.0 takes `mean_range`, as a share of 255",
    ("ImageCompression", "quality_lower"): "Albumentations 2.0 takes `quality_range: [lower, upper]`",
    ("ImageCompression", "quality_upper"): "Albumentations 2.0 takes `quality_range: [lower, upper]`",
    ("Downscale", "scale_min"): "Albumentations 2.0 takes `scale_range: [min, max]`",
    ("Downscale", "scale_max"): "Albumentations 2.0 takes `scale_range: [min, max]`",
    ("Downscale", "interpolation"): "Albumentations 2.0 takes `interpolation_pair`",
    ("ElasticTransform", "alpha_affine"): "it was removed in Albumentations 2.0; put an `Affine` before it",
    ("OpticalDistortion", "shift_limit"): "it was removed in Albumentations 2.0",
    ("Posterize", "num_bits_range"): "Albumentations 2.0 calls it `num_bits`",
    ("Solarize", "threshold"): "Albumentations 2.0 takes `threshold_range`, as a share of 255",
    ("ChannelDropout", "fill_value"): "Albumentations 2.0 calls it `fill`",
    ("Mosaic", "grid_yx"): "here it takes `num_pictures`, 4 or 9",
    ("Mosaic", "target_size"): "here it takes `size: [height, width]`",
    ("Mosaic", "cell_shape"): "here cells follow from `size`, `center_range` and `num_pictures`",
    ("Mosaic", "metadata_key"): "it was removed here: donors are drawn from the split",
    ("RandomFog", "fog_coef_lower"): "Albumentations 2.0 takes `fog_coef_range: [lower, upper]`",
    ("RandomFog", "fog_coef_upper"): "Albumentations 2.0 takes `fog_coef_range: [lower, upper]`",
    ("RandomSnow", "snow_point_lower"): "Albumentations 2.0 takes `snow_point_range: [lower, upper]`",
    ("RandomSnow", "snow_point_upper"): "Albumentations 2.0 takes `snow_point_range: [lower, upper]`",
    ("RandomRain", "slant_lower"): "Albumentations 2.0 takes `slant_range: [lower, upper]`",
    ("RandomRain", "slant_upper"): "Albumentations 2.0 takes `slant_range: [lower, upper]`",
    ("RandomShadow", "num_shadows_lower"): "Albumentations 2.0 takes `num_shadows_limit: [lower, upper]`",
    ("RandomShadow", "num_shadows_upper"): "Albumentations 2.0 takes `num_shadows_limit: [lower, upper]`",
    ("RandomSunFlare", "angle_lower"): "Albumentations 2.0 takes `angle_range: [lower, upper]`",
    ("RandomSunFlare", "angle_upper"): "Albumentations 2.0 takes `angle_range: [lower, upper]`",
    ("RandomSunFlare", "num_flare_circles_lower"): "Albumentations 2.0 takes `num_flare_circles_range: [lower, upper]`",
    ("RandomSunFlare", "num_flare_circles_upper"): "Albumentations 2.0 takes `num_flare_circles_range: [lower, upper]`",
}


def hint(name: str, place: tuple[str | int, ...]) -> str:
    """Return ``'; …'`` for an argument of this transform that had that name before 2.0, else an empty string."""
    if len(place) != 1 or not isinstance(place[0], str):
        return ""
    known = OF_ONE.get((name, place[0])) or _EVERYWHERE.get(place[0])
    return f"; {known}" if known else ""
