"""A pipeline as data: what is done to a sample, in which order, with every parameter written out.

A ``PipelineSpec`` is resolved: names are known, parameters are in range, defaults are filled in. It comes from
``transforms/check.py``, which knows the catalogue; nothing here does. Its digest names it, and two texts that mean
the same pipeline have one digest, whatever their comments, their order of keys, or ``1`` where another says ``1.0``.
"""

import functools
import io
import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields

import rfc8785
from ruamel.yaml import YAML

from augment.address import digest_fields
from augment.document import JSON
from augment.target_rules import BoxRules, KeypointRules


@dataclass(frozen=True, slots=True)
class Node:
    """One transform with all its parameters, ``p`` included; a container has children, a transform none."""

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

    ``normalize`` is the canonical section of that name, or None; ``boxes`` and ``keypoints`` are what those sections
    say of targets once pixels have moved. ``notices`` are sentences for the user: what was dropped or moved while the
    pipeline was read.
    """

    transforms: tuple[Node, ...]
    normalize: Mapping[str, JSON] | None = None
    boxes: BoxRules = field(default_factory=BoxRules, kw_only=True)
    keypoints: KeypointRules = field(default_factory=KeypointRules, kw_only=True)
    name: str = field(default="", compare=False)
    description: str = field(default="", compare=False)
    notices: tuple[str, ...] = field(default=(), compare=False)

    def canonical(self) -> dict[str, JSON]:
        """Return what decides pixels and targets, as a document that ``check.resolve`` reads back to this spec."""
        document: dict[str, JSON] = {"transforms": [node.canonical() for node in self.transforms]}
        if self.normalize is not None:
            document["normalize"] = dict(self.normalize)
        return document | {"boxes": self.boxes.canonical(), "keypoints": self.keypoints.canonical()}

    @functools.cached_property
    def digest(self) -> str:
        """32 hexadecimal digits: the digest of the canonical document as RFC 8785 writes it."""
        return digest_fields((rfc8785.dumps(self.canonical()),)).hex()

    def __hash__(self) -> int:
        return hash(self.digest)

    def __reduce__(self) -> tuple[Callable[[bytes], "PipelineSpec"], tuple[bytes]]:
        """Travels as bytes that are made once; who gets the same bytes again gets the same object, its digest known.

        Tasks carry a spec each, and to take one apart and put it together took as long as hashing a picture.
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
        """Yield every node with its place in the canonical document."""
        waiting: list[tuple[tuple[str | int, ...], Node]] = [
            (("transforms", i, node.name), node) for i, node in enumerate(self.transforms)
        ]
        while waiting:
            loc, node = waiting.pop(0)
            yield loc, node
            waiting += [((*loc, "transforms", i, child.name), child) for i, child in enumerate(node.children)]

    def to_json(self) -> str:
        """Write it as JSON that reads back to the same digest; ends with a newline."""
        return json.dumps(self._named(), indent=2, ensure_ascii=False) + "\n"

    def to_yaml(self) -> str:
        """Write it as YAML 1.2 that reads back to the same digest: one line for each parameter."""
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
