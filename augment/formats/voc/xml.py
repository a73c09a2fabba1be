"""One image's XML, as PASCAL VOC's devkit and later tools write it, to annotations and back.

**Coordinates.** In VOC's own files a box is its first and last pixel, counted from 1: ``xmin`` 1 to ``xmax`` 640 is the
whole of 640 pixels. They are read that way (``x_min = xmin - 1``, ``x_max = xmax``) and always written that way, as
whole numbers. Each edge moves to the nearest pixel's, by at most half a pixel, and a box that is thinner becomes one
pixel wide. Tools that count from 0 write the edges themselves. If any ``xmin`` or ``ymin`` of a dataset is below 1, it
cannot count from 1, and all of it is read from 0 (``counts_from_0``).

**Other members.** ``difficult``, ``truncated``, ``occluded``, ``pose`` and every other member of an object that holds
plain text become the box's attributes (whole numbers and decimals as numbers), and are written back; so is ``actions``.
Parts, points and polygons of an object with a box are left out (``num_lost``), because their positions would be wrong
as soon as the image moves.
"""

import html
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree.ElementTree import (
    Element,  # the classes only: the parser is defusedxml's
    ParseError,
)

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from augment.errors import Reason, RecordError
from augment.formats.format import Output
from augment.formats.shared.object_rules import NO_CLASS, decimal
from augment.samples.annotations import Annotations, Corners
from augment.validation import quoted

MAX_BYTES = 4 * 2**20
"""Largest size of an XML file; an object takes some 300 bytes."""

_LEAST = re.compile(
    rb"<[xy]min>\s{0,40}([-+]?(?:\d{1,20}\.?\d{0,40}|\.\d{1,40}))\s{0,40}<"
)  # bounded: no input is slow
_FILE_NAME = re.compile(rb"<(?:filename|path)>(?:[^<]{0,4096}[/\\])?([^<>/\\]{1,255})</(?:filename|path)>")
_MOST_DIGITS = 32
_WHOLE = re.compile(r"[-+]?\d{1,15}")
_TAG = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot express (section 2.2)."""

_LOST = re.compile(rb"<(part|point|polygon|polyline|keypoints?)[\s>]")
_OTHER_SHAPES = {
    "robndbox": "an oriented box",
    "polygon": "an outline, as LabelMe has it",
    "polyline": "a line",
    "point": "a point",
}
"""Elements that an object has in place of its box."""

_FIRST = ("pose", "truncated", "occluded", "difficult")
_USUAL: Mapping[str, object] = {"pose": "Unspecified", "truncated": 0, "difficult": 0}
_NO_ATTRIBUTES = frozenset({"name", "bndbox", "actions"})


def counts_from_0(data: bytes) -> bool:
    """True if a box in this file is below 1; searches for its numbers only."""
    return any(float(number) < 1 for number in _LEAST.findall(data))


def num_lost(data: bytes) -> Counter[str]:
    """Count the elements that are left out, by name; searches for their tags only."""
    return Counter(tag.decode() for tag in _LOST.findall(data))


def file_name(data: bytes) -> str | None:
    """Return the last part of the path in ``<path>`` or ``<filename>``, or None."""
    match = _FILE_NAME.search(data)
    return None if match is None else html.unescape(match[1].decode(errors="replace")).strip() or None


def parse(data: bytes, height: int, width: int, *, origin: int) -> Annotations:
    """Read one file, which must be about an image of this size; ``origin`` is 0 or 1, the number of the first pixel.

    Raises ValueError with the problem.
    """
    try:
        root = fromstring(data, forbid_dtd=True)
    except ParseError as error:
        raise ValueError(f"not XML: {error}") from error
    except DefusedXmlException as error:
        raise ValueError("not XML: it declares a document type or entities, which annotations do not need") from error
    except (ValueError, LookupError) as error:  # an encoding that is unknown, or more than a byte wide
        raise ValueError(f"not XML: {error}") from error
    if root.tag != "annotation":
        raise ValueError(f"not XML of VOC: the outermost element is <{root.tag[:40]}>, not <annotation>")
    _check_size(root, height, width)
    boxes: list[Corners] = []
    labels: list[str] = []
    attributes: list[Mapping[str, Any]] = []
    for i, element in enumerate(root.iterfind("object")):
        boxes.append(_box(element, i, origin))
        labels.append(_text(element, "name", f"object {i}"))
        attributes.append(_attributes(element))
    return Annotations(
        boxes=tuple(boxes),
        box_labels=tuple(labels),
        box_attributes=tuple(attributes) if any(attributes) else None,
    )


def write(output: Output, *, file_name: str) -> bytes:
    """Return the XML of one image. Raises RecordError if a text in it cannot be written as XML."""
    text = "".join(_lines(output, file_name))
    if illegal := _ILLEGAL.search(text):
        detail = f"U+{ord(illegal[0]):04X} in a name or a class cannot be written as XML; rename it, or choose COCO"
        raise RecordError(output.key, Reason.NOT_RENDERABLE, detail)
    return text.encode()


def _check_size(root: Element, height: int, width: int) -> None:
    size = root.find("size")
    if size is None:
        return
    said = tuple(_number(size, name, "size") for name in ("width", "height"))
    if said not in ((0.0, 0.0), (width, height)):  # tools that do not know the size write zeros
        found = f"the upright image is {width} x {height}"
        raise ValueError(f"image of another size: the XML has {said[0]:g} x {said[1]:g}, {found}")


def _box(element: Element, i: int, origin: int) -> Corners:
    box = element.find("bndbox")
    if box is None:
        other = next(
            (f" but <{tag}>, {what}" for tag, what in _OTHER_SHAPES.items() if element.find(tag) is not None), ""
        )
        raise ValueError(f"object without box: object {i} has no <bndbox>{other}; write its box, or export as COCO")
    x_min, y_min, x_max, y_max = (_number(box, name, f"object {i}") for name in ("xmin", "ymin", "xmax", "ymax"))
    return x_min - origin, y_min - origin, x_max, y_max


def _text(element: Element, name: str, where: str) -> str:
    text = (element.findtext(name) or "").strip()
    if not text:
        raise ValueError(f"not XML of VOC: {where} has no <{name}>")
    return text


def _number(element: Element, name: str, where: str) -> float:
    text = _text(element, name, where)
    number = decimal(text)
    if math.isnan(number):
        raise ValueError(f"not a number: <{name}> of {where} is {quoted(text)}")
    return number


def _attributes(element: Element) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for member in element:
        text = (member.text or "").strip()
        if member.tag not in _NO_ATTRIBUTES and not len(member) and text:
            found[member.tag] = _value(text)
    actions = element.find("actions")
    if actions is not None:
        found["actions"] = {action.tag: _value((action.text or "").strip()) for action in actions if not len(action)}
    return found


def _value(text: str) -> int | float | str:
    if _WHOLE.fullmatch(text):
        return int(text)
    number = decimal(text[:_MOST_DIGITS])
    return text if len(text) > _MOST_DIGITS or math.isnan(number) else number


def _lines(output: Output, file_name: str) -> Iterator[str]:
    annotations, height, width = output.annotations, output.height, output.width
    yield "<annotation>\n"
    yield "\t<folder>JPEGImages</folder>\n"
    yield f"\t<filename>{html.escape(file_name)}</filename>\n"
    yield f"\t<size>\n\t\t<width>{width}</width>\n\t\t<height>{height}</height>\n\t\t<depth>3</depth>\n\t</size>\n"
    yield f"\t<segmented>{int(output.has_mask)}</segmented>\n"
    labels = annotations.box_labels
    for i, box in enumerate(annotations.boxes or ()):
        attributes = {} if annotations.box_attributes is None else annotations.box_attributes[i]
        yield "\t<object>\n"
        yield f"\t\t<name>{html.escape(NO_CLASS if labels is None else labels[i])}</name>\n"
        for name, value in _written({**_USUAL, **attributes}):
            yield f"\t\t<{name}>{html.escape(value)}</{name}>\n"
        yield "\t\t<bndbox>\n"
        for name, pixel in zip(("xmin", "ymin", "xmax", "ymax"), pixels(box, height, width), strict=True):
            yield f"\t\t\t<{name}>{pixel}</{name}>\n"
        yield "\t\t</bndbox>\n"
        actions = attributes.get("actions")
        if isinstance(actions, Mapping):
            yield "\t\t<actions>\n"
            for name, value in _written(actions):
                yield f"\t\t\t<{name}>{html.escape(value)}</{name}>\n"
            yield "\t\t</actions>\n"
        yield "\t</object>\n"
    yield "</annotation>\n"


def _written(attributes: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the attributes that are plain text and have a valid element name, the usual ones first."""
    names = [name for name in _FIRST if name in attributes]
    names += sorted(name for name in attributes if name not in _FIRST)
    for name in names:
        value = attributes[name]
        if isinstance(value, bool):
            value = int(value)
        if isinstance(value, int | float | str) and _TAG.fullmatch(name) and name not in _NO_ATTRIBUTES:
            yield name, str(value)


def pixels(box: Corners, height: int, width: int) -> tuple[int, int, int, int]:
    """Return the first and last pixel of a box, counted from 1."""
    first_x, last_x = _between(box[0], box[2], width)
    first_y, last_y = _between(box[1], box[3], height)
    return first_x, first_y, last_x, last_y


def _between(low: float, high: float, length: int) -> tuple[int, int]:
    """Return the first and last pixel between two edges of pixels; at least one."""
    first, last = math.floor(low + 0.5) + 1, math.floor(high + 0.5)
    if first > last:
        first = last = math.floor((low + high) / 2) + 1
    return min(max(first, 1), length), max(min(last, length), 1)
