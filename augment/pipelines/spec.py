"""A pipeline as data: its transforms in order with every parameter written out, and its rules for targets.

A ``PipelineSpec`` is resolved: names are known, parameters are in range, defaults are filled in. It is made by
``transforms/resolve.py``, which knows the catalogue; this module does not. Two texts that mean the same pipeline have
one digest, whatever their comments, their order of keys, or ``1`` for ``1.0``. The sections ``boxes:`` and
``keypoints:``, applied after the pixels have moved, are canonical in the same way.
"""

import functools
import io
import json
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal

import numpy as np
import rfc8785
from numpy.typing import NDArray
from ruamel.yaml import YAML

from augment.address import digest_fields
from augment.errors import PipelineError, Problem
from augment.validation import JSON, abridged, did_you_mean, quoted_json

LARGEST: Final = 1e9
"""Largest area or side that a rule may require; no image has it."""

OUTSIDE: Final = ("keep", "drop", "mark")

BOX_ROUNDING: Final = 1e-3
"""Tolerance of a box limit, in pixels and shares: boxes pass Albumentations as float32 shares of the image."""


@dataclass(frozen=True, slots=True)
class BoxRules:
    """Rules that select the boxes of an augmented sample. Sides and areas are pixels of the result, after cutting.

    ``min_visibility`` is the least share of a box that must be left: the product, over the transforms that were
    applied, of its area inside the frame divided by its whole area there. The defaults drop boxes smaller than a pixel,
    as torchvision's ``SanitizeBoundingBoxes`` does.
    """

    min_area: float = 1.0
    min_width: float = 1.0
    min_height: float = 1.0
    min_visibility: float = 0.0

    def canonical(self) -> dict[str, JSON]:
        """Return the section with everything filled in; ``parse_boxes`` reads it back to an equal value."""
        return asdict(self)

    def keeps(self, boxes: NDArray[np.float64], visible: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return for each of the boxes (N, 4) if it stays: bool (N,). Boxes without area never stay.

        ``visible`` (N,) are the shares of the boxes that are left.
        """
        width, height = (boxes[:, 2:4] - boxes[:, :2]).T
        stays: NDArray[np.bool_] = (width >= self.min_width - BOX_ROUNDING) & (height >= self.min_height - BOX_ROUNDING)
        stays &= (width * height >= self.min_area - BOX_ROUNDING) & (width > 0) & (height > 0)
        return stays & (visible >= self.min_visibility - BOX_ROUNDING)


@dataclass(frozen=True, slots=True)
class KeypointRules:
    """Rules for keypoints outside the frame, and for left and right in a mirrored image.

    ``outside``: ``keep`` them, ``drop`` them with their other fields, or ``mark`` them as lost (NaN, visibility 0).
    ``swap_sides``: if a sample was mirrored an odd number of times, exchange labels whose names differ by left and
    right.
    """

    outside: Literal["keep", "drop", "mark"] = "keep"
    swap_sides: bool = True

    def canonical(self) -> dict[str, JSON]:
        """Return the section with everything filled in; ``parse_keypoints`` reads it back to an equal value."""
        return asdict(self)


def parse_boxes(section: Mapping[str, Any]) -> BoxRules:
    """Read a section. Raises PipelineError with every problem in it, below ``boxes``."""
    known = [field.name for field in fields(BoxRules)]
    problems = _unknown("boxes", section, known)
    values: dict[str, float] = {}
    for name in known:
        value = section.get(name, getattr(BoxRules(), name))
        most = 1.0 if name == "min_visibility" else LARGEST
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            limit = "a share, in [0, 1]" if name == "min_visibility" else f"a number of pixels in [0, {LARGEST:g}]"
            problems.append(Problem(("boxes", name), f"{quoted_json(value)} is not {limit}; 0 keeps every box"))
        else:
            values[name] = float(value)
    if problems:
        raise PipelineError(problems)
    return BoxRules(**values)


def parse_keypoints(section: Mapping[str, Any]) -> KeypointRules:
    """Read a section. Raises PipelineError with every problem in it, below ``keypoints``."""
    rules = KeypointRules()
    problems = _unknown("keypoints", section, [field.name for field in fields(KeypointRules)])
    outside = section.get("outside", rules.outside)
    if outside not in OUTSIDE:
        hint = did_you_mean(outside, OUTSIDE) if isinstance(outside, str) else ""
        msg = f"{quoted_json(outside)} is not one of {', '.join(OUTSIDE)}{hint}"
        problems.append(Problem(("keypoints", "outside"), msg))
    swap_sides = section.get("swap_sides", rules.swap_sides)
    if not isinstance(swap_sides, bool):
        problems.append(Problem(("keypoints", "swap_sides"), f"{quoted_json(swap_sides)} is not true or false"))
    if problems:
        raise PipelineError(problems)
    return KeypointRules(outside, swap_sides)


def _unknown(section: str, given: Mapping[str, Any], known: Sequence[str]) -> list[Problem]:
    return [
        Problem(
            (section, key),
            f"`{abridged(key)}` is unknown here{did_you_mean(key, known)}; the keys are {', '.join(known)}",
        )
        for key in given
        if key not in known
    ]


@dataclass(frozen=True, slots=True)
class Node:
    """One transform with all its parameters, including ``p``; only containers have children."""

    name: str
    params: Mapping[str, JSON]
    children: tuple["Node", ...] = ()

    def canonical(self) -> dict[str, JSON]:
        params: dict[str, JSON] = dict(self.params)
        if self.children:
            params["transforms"] = [child.canonical() for child in self.children]
        return {self.name: params}

    def walk(self) -> Iterator["Node"]:
        """Yield this node and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True)
class PipelineSpec:
    """A resolved pipeline. Equal specs have equal digests; name, description and notices do not count.

    ``normalize`` is the canonical section of that name, or None; ``boxes`` and ``keypoints`` are the rules for targets
    after the pixels have moved. ``notices`` are sentences for the user: what was dropped or moved while the pipeline
    was read.
    """

    transforms: tuple[Node, ...]
    normalize: Mapping[str, JSON] | None = None
    boxes: BoxRules = field(default_factory=BoxRules, kw_only=True)
    keypoints: KeypointRules = field(default_factory=KeypointRules, kw_only=True)
    name: str = field(default="", compare=False)
    description: str = field(default="", compare=False)
    notices: tuple[str, ...] = field(default=(), compare=False)

    def canonical(self) -> dict[str, JSON]:
        """Return the content that decides pixels and targets, as a document that ``resolve.resolve`` can read."""
        document: dict[str, JSON] = {"transforms": [node.canonical() for node in self.transforms]}
        if self.normalize is not None:
            document["normalize"] = dict(self.normalize)
        return document | {"boxes": self.boxes.canonical(), "keypoints": self.keypoints.canonical()}

    @functools.cached_property
    def digest(self) -> str:
        """Digest of the canonical document as RFC 8785 writes it: 32 hexadecimal digits."""
        return digest_fields((rfc8785.dumps(self.canonical()),)).hex()

    def __hash__(self) -> int:
        return hash(self.digest)

    def __reduce__(self) -> tuple[Callable[[bytes], "PipelineSpec"], tuple[bytes]]:
        """Pickle the spec as bytes that are made once; equal bytes unpickle to one object that knows its digest.

        Each task carries a spec, and ordinary pickling took as long as hashing an image.
        """
        return _arrived, (self._packed,)

    @functools.cached_property
    def _packed(self) -> bytes:
        return pickle.dumps([getattr(self, each.name) for each in fields(self)], protocol=5)

    def nodes(self) -> Iterator[Node]:
        """Yield every node, parents before children, in their order."""
        for node in self.transforms:
            yield from node.walk()

    def places(self) -> Iterator[tuple[tuple[str | int, ...], Node]]:
        """Yield every node with its path in the canonical document."""
        waiting: list[tuple[tuple[str | int, ...], Node]] = [
            (("transforms", i, node.name), node) for i, node in enumerate(self.transforms)
        ]
        while waiting:
            loc, node = waiting.pop(0)
            yield loc, node
            waiting += [((*loc, "transforms", i, child.name), child) for i, child in enumerate(node.children)]

    def to_json(self) -> str:
        """Return JSON that reads back to the same digest; ends with a newline."""
        return json.dumps(self._named(), indent=2, ensure_ascii=False) + "\n"

    def to_yaml(self) -> str:
        """Return YAML 1.2 that reads back to the same digest, one line for each parameter."""
        yaml = YAML(typ="safe", pure=True)
        yaml.default_flow_style = False
        yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
        yaml.allow_unicode = True
        yaml.width = 120
        stream = io.StringIO()
        yaml.dump(self._named(), stream)
        return stream.getvalue()

    def _named(self) -> dict[str, JSON]:
        head: dict[str, JSON] = {}
        if self.name:
            head["name"] = self.name
        if self.description:
            head["description"] = self.description
        return head | self.canonical()


@functools.lru_cache(maxsize=64)
def _arrived(packed: bytes) -> PipelineSpec:
    names = [each.name for each in fields(PipelineSpec)]
    values = pickle.loads(packed)  # noqa: S301 - part of a pickle that is being read
    return PipelineSpec(**dict(zip(names, values, strict=True)))
