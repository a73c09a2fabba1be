"""Files that Albumentations saved (``A.save``, ``A.to_dict``, JSON or YAML), read as a pipeline.

Such a file holds a whole ``Compose``: the transforms, and settings that belong elsewhere here. The formats of boxes and
keypoints belong to the dataset, the seed to the call; floats and tensors come after the last transform. The import
moves such settings or drops meaningless ones, and reports both. It refuses the rest, with its location. Argument names
from before Albumentations 2.0 are known too (``hint``).
"""

import functools
import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from augment.pipelines.document import Document, Loc
from augment.transforms.albumentations_import import A
from augment.transforms.catalogue import catalogue
from augment.transforms.step_list import CHILDREN, SEED_DROPPED, Outline, Step, kind

_CLASS: Final = "__class_fullname__"
_ROOTS: Final = frozenset({"Compose", "ReplayCompose"})
_DROPPED: Final = frozenset({"is_check_shapes", "strict", "save_applied_params", "save_key", "p"})
_ENDINGS: Final = frozenset({"Normalize", "ToFloat", "ToTensorV2"})
_BY_IMAGE: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "image": {"method": "standard", "statistics": "image", "epsilon": 1e-4, "limit": 20},
        "image_per_channel": {"method": "standard", "statistics": "image_channels", "epsilon": 1e-4, "limit": 20},
        "min_max": {"method": "min_max", "input": "image", "epsilon": 1e-4},
        "min_max_per_channel": {"method": "min_max", "input": "image_channels", "epsilon": 1e-4},
    }
)
"""Names in ``Normalize`` for numbers taken from each image; they ignore mean and std."""
_OLD_P: Final = 0.5
"""Probability that ``A.from_dict`` gives a transform written without one."""


def recognises(root: object) -> bool:
    """Return True if a document's root looks like a file from Albumentations."""
    if not isinstance(root, Mapping):
        return False
    inner = root.get("transform")
    return _CLASS in root or "__version__" in root or (isinstance(inner, Mapping) and _CLASS in inner)


def read(document: Document) -> Outline:
    """Outline such a document; its notices name everything dropped or moved, with the reason."""
    return _Import(document).outline


class _Import:
    """Conversion of one document to an outline."""

    def __init__(self, document: Document) -> None:
        self.outline = Outline(name=document.name)
        self._document = document
        root = document.root
        loc: Loc = ()
        if isinstance(root, Mapping) and _CLASS not in root:
            loc, root = ("transform",), root.get("transform")
        if not isinstance(root, Mapping):
            self._note(loc, f"a file from Albumentations holds its pipeline below `transform`, not {kind(root)}")
            return
        if self._name(root, loc) in _ROOTS:
            self._root(root, loc)
        elif (step := self._step(root, loc)) is not None:
            self.outline.steps = [step]
        self.outline.steps = self._without_ending(self.outline.steps)

    def _root(self, compose: Mapping[str, Any], loc: Loc) -> None:
        steps = self._children(compose, loc)
        self._compose_arguments(compose, loc)
        p = compose.get("p", 1.0)
        self.outline.steps = steps if p == 1 else [Step("Sequential", {"p": p}, loc, loc, tuple(steps))]

    def _step(self, item: object, loc: Loc) -> Step | None:
        if not isinstance(item, Mapping):
            self._note(loc, f"a transform is a mapping with `{_CLASS}`, not {kind(item)}")
            return None
        name = self._name(item, loc)
        if name is None:
            return None
        if name in _ROOTS:
            self._compose_arguments(item, loc)
            return Step("Sequential", {"p": item.get("p", 1.0)}, loc, loc, tuple(self._children(item, loc)))
        params = {key: value for key, value in item.items() if key not in {_CLASS, CHILDREN}}
        params = _as_written(name, {key: value for key, value in params.items() if not _is_noise(name, key, value)})
        if "p" not in params:
            params["p"] = 1.0 if name in {"Sequential", *_ENDINGS} else _OLD_P
            self._say(loc, f"`{name}` has no p; Albumentations reads that as {params['p']}")
        if "seed" in params:
            del params["seed"]
            self._say((*loc, "seed"), SEED_DROPPED)
        children = tuple(self._children(item, loc)) if CHILDREN in item else None
        return Step(name, params, loc, loc, children)

    def _children(self, item: Mapping[str, Any], loc: Loc) -> list[Step]:
        inner = (*loc, CHILDREN)
        children = item.get(CHILDREN)
        if not isinstance(children, list | tuple):
            self._note(inner, f"`{CHILDREN}` is a list of transforms, not {kind(children)}")
            return []
        steps = (self._step(child, (*inner, i)) for i, child in enumerate(children))
        return [step for step in steps if step is not None]

    def _name(self, item: Mapping[str, Any], loc: Loc) -> str | None:
        """Return the class's short name; Albumentations writes it with or without its module path."""
        full = item.get(_CLASS)
        if not isinstance(full, str):
            self._note(loc, f"`{_CLASS}` is missing, so the transform has no name")
            return None
        if "." in full and not full.startswith("albumentations."):
            self._note((*loc, _CLASS), f"`{full}` is not a class of Albumentations; a pipeline cannot name code")
            return None
        return full.rpartition(".")[2]

    def _compose_arguments(self, compose: Mapping[str, Any], loc: Loc) -> None:
        """Report the arguments of ``Compose`` that a pipeline does not have."""
        for key, value in compose.items():
            if key in _DROPPED or key in {_CLASS, CHILDREN} or not value:
                continue
            place = (*loc, key)
            if key == "seed":
                self._say(place, SEED_DROPPED)
            elif key in {"bbox_params", "keypoint_params"}:
                self._say(place, f"`{key}` is dropped: the dataset defines how targets are written")
            elif key == "additional_targets":
                self._say(place, f"`{key}` is dropped: a sample has one image, mask, boxes and keypoints")
            elif key == "mask_interpolation":
                self._say(place, f"`{key}` is dropped: masks hold class indices and are never interpolated")
            else:
                self._note(place, f"`{key}` is not an argument of Compose in Albumentations 2.0.8")

    def _without_ending(self, steps: list[Step]) -> list[Step]:
        """Remove the steps that make floats or tensors from the end, as far as ``normalize:`` can replace them."""
        steps = list(steps)
        while steps:
            last = steps[-1]
            if last.name == "ToTensorV2":
                self._say(last.loc, "`ToTensorV2` is dropped: batches are arrays, and the client makes tensors of them")
            elif last.name in {"Normalize", "ToFloat"} and self.outline.normalize is None:
                section = self._normalize(last)
                if section is None:
                    return steps[:-1]
                self.outline.normalize = section
                self.outline.normalize_loc = last.loc
                self._say(last.loc, f"`{last.name}` is moved to `normalize:`, because samples are uint8 to the end")
            elif last.name == "Sequential" and last.params.get("p") == 1 and last.children:
                children = self._without_ending(list(last.children))
                if len(children) == len(last.children):
                    return steps
                inner = Step(last.name, last.params, last.loc, last.params_loc, tuple(children))
                return self._without_ending([*steps[:-1], *([inner] if children else [])])
            else:
                return steps
            steps.pop()
        return steps

    def _normalize(self, step: Step) -> dict[str, Any] | None:
        """Return the equivalent section, or None if a problem was noted."""
        params = step.params
        if params.get("p") != 1:
            self._note(
                (*step.loc, "p"), f"`{step.name}` has p = {params.get('p')}; every sample is normalised, set p to 1"
            )
            return None
        if step.name == "ToFloat":
            top = params.get("max_value")
            if top is None or top == 255:
                return {"method": "min_max"}
            return {"method": "standard", "mean": [0.0] * 3, "std": [1.0] * 3, "max_pixel_value": top}
        word = params.get("normalization", "standard")
        if word != "standard":
            if isinstance(word, str) and word in _BY_IMAGE:
                return dict(_BY_IMAGE[word])
            known = ", ".join(f"`{each}`" for each in ("standard", *_BY_IMAGE))
            msg = f"normalization is {kind(word)}; Albumentations 2.0.8 has {known}"
            self._note((*step.loc, "normalization"), msg)
            return None
        section = {key: params[key] for key in ("mean", "std", "max_pixel_value") if key in params}
        return {"method": "standard"} | section

    def _note(self, loc: Loc, msg: str) -> None:
        self.outline.problems.append(self._document.problem(loc, msg))

    def _say(self, loc: Loc, msg: str) -> None:
        self.outline.notices.append(self._document.notice(loc, msg))


def _is_noise(name: str, key: str, value: object) -> bool:
    """True if an argument adds nothing: it is a base class's, or has its default and cannot be named in a pipeline."""
    if key in _inherited_arguments(name):
        return True
    info = catalogue().get(name)
    if info is None or key in info.schema["properties"]:
        return False
    if not hasattr(A, name):
        return False
    parameter = inspect.signature(getattr(A, name)).parameters.get(key)
    return parameter is not None and parameter.default == value


def _as_written(name: str, params: dict[str, Any]) -> dict[str, Any]:
    """Undo Albumentations' changes to the arguments of ``ShiftScaleRotate``, the one transform that it writes changed.

    Its scale went through 1 + s and back, which turns -0.1 into -0.09999999999999998, and its shift is written only
    once for each axis.
    """
    if name != "ShiftScaleRotate":
        return params
    written = dict(params)
    limits = params.get("scale_limit")
    if isinstance(limits, list | tuple) and all(isinstance(limit, float) for limit in limits):
        written["scale_limit"] = [round(limit, 15) for limit in limits]
    if "shift_limit" not in params and params.get("shift_limit_x") == params.get("shift_limit_y") is not None:
        written["shift_limit"] = params["shift_limit_x"]
    return written


@functools.cache
def _inherited_arguments(name: str) -> frozenset[str]:
    """Return the arguments that ``to_dict`` writes but the transform does not take.

    ``to_dict`` looks through all base classes, so ``SafeRotate`` comes with the scale and shear of ``Affine``, whose
    values follow from its own arguments.
    """
    transform = getattr(A, name, None)
    if not inspect.isclass(transform):
        return frozenset()
    own = set(inspect.signature(transform).parameters)
    bases = (vars(base).get("__init__") for base in transform.__mro__[1:-1])
    return frozenset(arg for init in bases if init for arg in inspect.signature(init).parameters) - own


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

_TAKES: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("RandomResizedCrop", "size: [height, width]"): ("height", "width"),
    ("RandomSizedCrop", "size: [height, width]"): ("height", "width"),
    ("CoarseDropout", "num_holes_range: [min, max]"): ("max_holes", "min_holes"),
    ("CoarseDropout", "hole_height_range: [min, max]"): ("max_height", "min_height"),
    ("CoarseDropout", "hole_width_range: [min, max]"): ("max_width", "min_width"),
    ("ImageCompression", "quality_range: [lower, upper]"): ("quality_lower", "quality_upper"),
    ("Downscale", "scale_range: [min, max]"): ("scale_min", "scale_max"),
    ("RandomFog", "fog_coef_range: [lower, upper]"): ("fog_coef_lower", "fog_coef_upper"),
    ("RandomSnow", "snow_point_range: [lower, upper]"): ("snow_point_lower", "snow_point_upper"),
    ("RandomRain", "slant_range: [lower, upper]"): ("slant_lower", "slant_upper"),
    ("RandomShadow", "num_shadows_limit: [lower, upper]"): ("num_shadows_lower", "num_shadows_upper"),
    ("RandomSunFlare", "angle_range: [lower, upper]"): ("angle_lower", "angle_upper"),
    ("RandomSunFlare", "num_flare_circles_range: [lower, upper]"): (
        "num_flare_circles_lower",
        "num_flare_circles_upper",
    ),
}
"""Replacements for several old arguments of a transform."""

OF_ONE: Final[Mapping[tuple[str, str], str]] = {
    (name, old): f"Albumentations 2.0 takes `{new}`" for (name, new), several in _TAKES.items() for old in several
} | {
    ("GaussNoise", "var_limit"): "Albumentations 2.0 takes `std_range`, as a share of 255",
    ("GaussNoise", "mean"): "Albumentations 2.0 takes `mean_range`, as a share of 255",
    ("Downscale", "interpolation"): "Albumentations 2.0 takes `interpolation_pair`",
    ("ElasticTransform", "alpha_affine"): "it was removed in Albumentations 2.0; put an `Affine` before it",
    ("OpticalDistortion", "shift_limit"): "it was removed in Albumentations 2.0",
    ("Posterize", "num_bits_range"): "Albumentations 2.0 calls it `num_bits`",
    ("Solarize", "threshold"): "Albumentations 2.0 takes `threshold_range`, as a share of 255",
    ("ChannelDropout", "fill_value"): "Albumentations 2.0 calls it `fill`",
    ("Mosaic", "grid_yx"): "here it takes `num_images`, 4 or 9",
    ("Mosaic", "target_size"): "here it takes `size: [height, width]`",
    ("Mosaic", "cell_shape"): "here cells follow from `size`, `center_range` and `num_images`",
    ("Mosaic", "metadata_key"): "it was removed here: donors are drawn from the split",
}


def hint(name: str, place: tuple[str | int, ...]) -> str:
    """Return ``'; …'`` for an argument that this transform had before 2.0, else an empty string."""
    if len(place) != 1 or not isinstance(place[0], str):
        return ""
    known = OF_ONE.get((name, place[0])) or _EVERYWHERE.get(place[0])
    return f"; {known}" if known else ""
