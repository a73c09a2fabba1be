"""Annotations and masks that a client sends with its images, with names or numbers.

A client may identify classes by numbers or by names; the answer uses the same. The text is one object for one image, a
list with one object for each image in their order, or an object that maps the file names of the images (in any normal
form) to objects. Each object has the members of ``annotations.Annotations`` and ``label``, the image's class.
"""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, SupportsIndex

from augment import validation
from augment.datasets.targets import Vocabulary
from augment.errors import CallError
from augment.samples import annotations
from augment.samples.annotations import NOTHING, Annotations
from augment.validation import quoted

FIELD = "annotations"
_NAMED = ("box_labels", "keypoint_labels")
_MEMBERS = frozenset({"label"} | {each.name for each in fields(Annotations)})


@dataclass(frozen=True, slots=True)
class Said:
    """Annotations of one image in a request. ``numbers`` names the members that came as numbers."""

    annotations: Annotations = NOTHING
    label: str | int | None = None
    numbers: frozenset[str] = frozenset()

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        """Pickle the empty value, which most images have, by its name."""
        return "NOTHING_SAID" if self is NOTHING_SAID else object.__reduce_ex__(self, protocol)

    def vocabulary(self, *, has_mask: bool) -> Vocabulary:
        """Return the names and targets of this image alone."""
        said = self.annotations
        classes = sorted({*(said.box_labels or ()), *(said.labels or ())})
        present = {each.name for each in fields(Annotations) if getattr(said, each.name) is not None}
        targets = (present - {"extra", "box_attributes"}) | ({"mask"} if has_mask else set())
        return Vocabulary(tuple(classes), tuple(sorted(set(said.keypoint_labels or ()))), frozenset(targets))

    def canonical(self) -> str | None:
        """Return the annotations as text for the record's digest, or None if there are none."""
        return None if self.annotations == NOTHING else self.annotations.to_json()

    def members(self, made: Annotations) -> dict[str, Any]:
        """Return an augmented copy's annotations for the answer, with the client's names or numbers."""
        members: dict[str, Any] = {} if self.label is None else {"label": self.label}
        members |= made.members()
        for name in self.numbers:
            if name in members:
                members[name] = [int(each) for each in members[name]]
        return members


NOTHING_SAID = Said()


def read(text: str, names: Sequence[str]) -> list[Said]:
    """Read the annotations of images whose files have these names.

    Raises CallError with the place of the first error.
    """
    return [_said(one, place) for one, place in _by_image(validation.read_json(FIELD, text), names)]


def _by_image(document: Any, names: Sequence[str]) -> list[tuple[Any, str]]:
    if isinstance(document, list):
        if len(document) != len(names):
            raise CallError(f"{FIELD} are a list of {len(document)} for {len(names)} images; send one object for each")
        return [(one, f"{FIELD}[{i}]") for i, one in enumerate(document)]
    if not isinstance(document, Mapping):
        raise CallError(f"{FIELD} are {type(document).__name__}; send an object, or a list with one for each image")
    if document.keys() <= _MEMBERS:
        if len(names) > 1:
            raise CallError(f"{FIELD} are one object for {len(names)} images; send a list with one object for each")
        return [(document, FIELD)]
    by_name = {_plain(name): one for name, one in document.items()}
    unknown = sorted(by_name.keys() - set(map(_plain, names)))
    if unknown:
        what = f"{quoted(unknown[0], 100)} is neither the file name of an image nor a kind of annotation"
        raise CallError(f"{FIELD}: {what}; the kinds are {', '.join(sorted(_MEMBERS))}")
    counts = Counter(map(_plain, names))
    shared = next((name for name in by_name if counts[name] > 1), None)
    if shared is not None:
        what = f"{counts[shared]} images have the name {quoted(shared, 100)}"
        raise CallError(f"{FIELD}: {what}; send a list with one object for each image, in their order")
    if len(by_name) < len(document):
        raise CallError(f"{FIELD}: two of the names are equal in Unicode's normal form C; send a list instead")
    return [(by_name.get(_plain(name), {}), f"{FIELD}[{name!r}]") for name in names]


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _said(one: Any, place: str) -> Said:
    if not isinstance(one, Mapping):
        raise CallError(f"{place} is not an object; send {{}} for an image without annotations")
    members = dict(one)
    label = members.pop("label", None)
    if label is not None and (isinstance(label, bool) or not isinstance(label, str | int)):
        raise CallError(f"{place}.label is {label!r}; it must be a name or a number")
    numbers = set()
    for name in _NAMED:
        given = members.get(name)
        if (
            isinstance(given, list)
            and given
            and all(isinstance(each, int) and not isinstance(each, bool) for each in given)
        ):
            members[name] = [str(each) for each in given]
            numbers.add(name)
    try:
        return Said(annotations.parse(members), label, frozenset(numbers))
    except ValueError as error:
        raise CallError(f"{place}: {error}") from error


def check(said: Said, height: int, width: int) -> Said:
    """Return the annotations with boxes cut at the image's edges.

    Raises ValueError if they cannot be true of the image.
    """
    problems = said.annotations.problems(height, width)
    if problems:
        raise ValueError("; ".join(problems[:5]) + (f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""))
    return replace(said, annotations=said.annotations.within(height, width))
