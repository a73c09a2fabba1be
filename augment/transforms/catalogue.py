"""Catalogue of the transforms that a pipeline may name: description, parameters, and the check of given arguments.

It holds each transform of Albumentations 2.0.8 that needs only the image and its targets, those that take images of
another dataset, the containers, policies, and four of our own. Parameters pass only through ``fill``. ``EXCLUDED``
names known transforms that are missing here, each with the reason that users see.
"""

import functools
import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

import pydantic

from augment.pipelines.spec import Node
from augment.transforms import entry, schema
from augment.transforms.albumentations_import import A
from augment.transforms.entry import TransformEntry
from augment.transforms.families import FAMILIES
from augment.transforms.schema import Place, Schema
from augment.validation import JSON, did_you_mean

_VOLUME = "it works on volumes; samples are images"
_MIX = "it joins rows of a batch; give it as the `mix` of a stream"
_UINT8 = "samples are uint8 RGB from end to end"

EXCLUDED: Final[Mapping[str, str]] = {
    "RandomCropNearBBox": "it needs a box from the caller for each sample; use AtLeastOneBBoxRandomCrop",
    "MaskDropout": "it treats each connected part of the mask as an object and erases it from the mask's classes; use "
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
    "Normalize": f"{_UINT8}; write it as `normalize:` next to `transforms:`",
    "ToFloat": f"{_UINT8}; write it as `normalize:` next to `transforms:`",
    "FromFloat": _UINT8,
    "ToRGB": f"{_UINT8}, whatever the file was",
    "ToTensorV2": "batches become tensors at the client; leave it out",
    "ToTensor3D": _VOLUME,
    "SelectiveChannelTransform": "its children would see one or two channels, which most of them "
    "refuse, and no targets",
    "Compose": "the document itself is the outermost sequence; use Sequential inside it",
    "MixUp": _MIX,
    "CutMix": _MIX,
    "ReplayCompose": "every sample can be rendered again from its address; leave it out",
}


ALIASES: Final[Mapping[str, str]] = MappingProxyType({"3-Augment": "ThreeAugment"})
"""Other names of transforms in papers and tutorials; reading a pipeline replaces them by ours."""

_ELSEWHERE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "RandomErasing": "Erasing",
        "RandomHorizontalFlip": "HorizontalFlip",
        "RandomVerticalFlip": "VerticalFlip",
        "RandomRotation": "Rotate",
        "RandomAffine": "Affine",
        "RandomPerspective": "Perspective",
        "RandomGrayscale": "ToGray",
        "RandomSolarize": "Solarize",
        "RandomPosterize": "Posterize",
        "RandomEqualize": "Equalize",
        "RandomAutocontrast": "AutoContrast",
        "RandomAdjustSharpness": "Sharpen",
        "RandomInvert": "InvertImg",
        "GaussianNoise": "GaussNoise",
    }
)
"""Names of torchvision's transforms whose nearest spelling here is a different transform."""


class ParamsError(Exception):
    """Parameters that a transform cannot take; ``problems`` has a location in them and a message for each."""

    def __init__(self, problems: Sequence[tuple[Place, str]]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(f"{'.'.join(map(str, place))} {msg}".strip() for place, msg in self.problems))


@functools.cache
def catalogue() -> Mapping[str, TransformEntry]:
    """Return all transforms by name, in alphabetical order."""
    return MappingProxyType({name: replace(item, schema=_schema(item)) for name, item in sorted(_entries().items())})


def fill(name: str, params: Mapping[str, Any]) -> dict[str, JSON]:
    """Return the parameters in canonical form: plain JSON, every default filled in, ranges written as [low, high].

    Two spellings of the same values have the same canonical form, and ``fill`` does not change it. Children of a
    container are not parameters. Raises ParamsError if the name, a parameter's name, type or range, or a rule between
    parameters is violated.
    """
    item = _entries().get(name)
    if item is None:
        raise ParamsError([((), unknown_name(name))])
    properties = _properties(name)
    problems: list[tuple[Place, str]] = [
        ((key,), _unknown_parameter(name, key, properties)) for key in params if key not in properties
    ]
    defaults = _defaults(name)
    values: dict[str, JSON] = {}
    for key, description in properties.items():
        if key not in params and key not in defaults:
            problems.append(((), f"{name} needs {key}: {description.get('description', '')}".rstrip(": ")))
            continue
        values[key], wrong = schema.check(params.get(key, defaults.get(key)), description, (key,))
        problems += wrong
    if not problems:
        problems += [((), problem) for _, rule in item.rules if (problem := rule(values)) is not None]
    if problems:
        raise ParamsError(problems)
    return values if item.container else _canonical(name, values)


def required(name: str, params: Mapping[str, Any]) -> frozenset[str]:
    """Return the targets that a transform with these parameters needs."""
    item = _entries()[name]
    return item.requires | item.requires_by(params)


def moves_pixels(name: str, params: Mapping[str, Any]) -> bool:
    """Return True if a transform with these parameters moves pixels."""
    item = _entries()[name]
    return item.moves_pixels and not item.still_where(params)


def is_joining(name: str) -> bool:
    """Return True if it joins a sample with other records of its split, and so runs outside Albumentations."""
    item = _entries().get(name)
    return item is not None and item.donors


def children_problem(name: str, params: Mapping[str, Any], children: Sequence[Node]) -> str | None:
    """Return why a container cannot hold these children, or None."""
    children_p = [float(str(child.params.get("p", 1.0))) for child in children]
    if joined := next((child.name for child in children if is_joining(child.name)), None):
        return f"{joined} takes other records and cannot be in a container; write it next to {name}, with its own p"
    if not children_p:
        return f"{name} needs at least one transform"
    if name == "OneOf" and sum(children_p) <= 0:
        return "OneOf needs a child with p above 0: the children's p are their weights"
    if name == "OneOrOther" and len(children_p) != 2:
        return f"OneOrOther has {len(children_p)} transforms; it needs 2"
    if name in {"SomeOf", "RandomOrder"} and not params["replace"] and params["n"] > len(children_p):
        return f"n is {params['n']}; it must be at most {len(children_p)}, the number of its transforms"
    return None


def transform_class(name: str) -> Any:
    """Return the class of a transform: ours, a faster or corrected one of Albumentations, or Albumentations' own."""
    return _entries()[name].implementation or getattr(A, name)


def arguments(params: Mapping[str, JSON]) -> dict[str, Any]:
    """Return parameters as the constructor of a transform takes them: lists become tuples."""
    return {name: _tuples(value) for name, value in params.items()}


def _tuples(value: JSON) -> Any:
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value


def unknown_name(name: str) -> str:
    """Return why a transform is missing here, and what to use instead."""
    if name in EXCLUDED:
        return f"{name} is not available: {EXCLUDED[name]}"
    if name in _ELSEWHERE:
        return f"there is no transform {name!r}; here it is `{_ELSEWHERE[name]}`"
    return f"there is no transform {name!r}{did_you_mean(name, {**_entries(), **ALIASES})}"


def _unknown_parameter(name: str, key: str, properties: Mapping[str, Schema]) -> str:
    hint = did_you_mean(key, properties) or f"; it has {', '.join(properties)}"
    return f"{name} has no parameter {key!r}{hint}"


@functools.cache
def _entries() -> Mapping[str, TransformEntry]:
    return {item.name: replace(item, family=family) for family, entries in FAMILIES.items() for item in entries}


@functools.cache
def _properties(name: str) -> Mapping[str, Schema]:
    return {**_entries()[name].params, "p": entry.P}


@functools.cache
def _defaults(name: str) -> Mapping[str, JSON]:
    """Return Albumentations' own defaults as JSON, for the parameters in the catalogue."""
    return _defaults_of(name, _properties(name))


@functools.cache
def _unlisted(name: str) -> Mapping[str, JSON]:
    """Defaults of the parameters that a pipeline may not name, such as a callable mask."""
    validation = _validation(name)
    fields = set() if validation is None else validation.model_fields.keys()
    return _defaults_of(name, fields - _properties(name).keys() - {"strict"})


def _validation(name: str) -> Any:
    """Return the model with which Albumentations validates a transform's parameters, or None for a class of ours."""
    model = getattr(transform_class(name), "InitSchema", None)
    return model if model is not None and model.model_fields.keys() >= _entries()[name].params.keys() else None


def _defaults_of(name: str, parameters: Iterable[str]) -> dict[str, JSON]:
    signature = inspect.signature(transform_class(name).__init__).parameters
    defaults = {key: signature[key].default for key in parameters}
    return {
        key: json.loads(json.dumps(value)) for key, value in defaults.items() if value is not inspect.Parameter.empty
    }


def _canonical(name: str, values: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return values in range as Albumentations' validation changes them; those of our own classes stay."""
    validation = _validation(name)
    if validation is None:
        return {key: schema.check(values[key], each, (key,))[0] for key, each in _properties(name).items()}
    written = json.dumps({**_unlisted(name), **values, "strict": True})
    try:
        validated = validation.model_validate_json(written, strict=True)
    except pydantic.ValidationError as error:
        raise ParamsError([(tuple(one["loc"]), one["msg"]) for one in error.errors()]) from error
    except Exception as error:  # a validator may raise anything; without this the constructor would use its defaults
        raise ParamsError([((), f"{name} refuses these parameters: {error}")]) from error
    dumped = json.loads(validated.model_dump_json(include=set(values)))
    kept = {key: values[key] for key in _entries()[name].unstable}
    canonical: dict[str, JSON] = {}
    for key, description in _properties(name).items():
        canonical[key], problems = schema.check((dumped | kept)[key], description, (key,))
        if problems:
            raise ParamsError(problems)
    return canonical


def _schema(item: TransformEntry) -> Schema:
    """Return the schema of all parameters; defaults are as a form shows them, ranges as [low, high]."""
    defaults = _defaults(item.name)
    properties = {
        key: description | ({"default": schema.check(defaults[key], description)[0]} if key in defaults else {})
        for key, description in _properties(item.name).items()
    }
    whole: Schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": item.name,
        "description": item.help,
        "type": "object",
        "properties": properties,
        "required": [key for key in properties if key not in defaults],
        "additionalProperties": False,
    }
    if item.rules:
        whole["x-rules"] = [sentence for sentence, _ in item.rules]
    return whole
