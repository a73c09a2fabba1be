"""Shape of a document as a pipeline: its steps and their arguments, before names and arguments are checked.

Two kinds of document have one outline: ours, read here, and Albumentations' own files (``albumentations_files.py``).
Each step keeps its location in the document that the user wrote, so that a problem points there.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from augment.errors import Problem
from augment.pipelines.document import MAX_KEY, Document, Loc
from augment.validation import abridged, did_you_mean, quoted_json

CHILDREN: Final = "transforms"
"""Argument of a container that holds its steps."""

SECTIONS: Final = ("name", "description", "transforms", "normalize", "boxes", "keypoints")
_EXAMPLES: Final = {
    "normalize": "{method: standard}",
    "boxes": "{min_area: 16}",
    "keypoints": "{outside: drop}",
}
"""The sections that are mappings, each with an example."""

MAX_CHARACTERS: Final = {"name": 128, "description": 2_000}
SEED_DROPPED: Final = "`seed` is dropped: a seed belongs to the call, not to a pipeline"
_UNSEEN: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})  # Unicode's control characters, line breaks, half characters


@dataclass(frozen=True, slots=True)
class Step:
    """One transform as written. ``loc`` is its location, ``params_loc`` that of its arguments."""

    name: str
    params: Mapping[str, Any]
    loc: Loc
    params_loc: Loc
    children: tuple["Step", ...] | None = None


@dataclass(slots=True)
class Outline:
    """Contents of a document; ``problems`` are those of its shape."""

    steps: list[Step] = field(default_factory=list)
    normalize: Mapping[str, Any] | None = None
    normalize_loc: Loc = ("normalize",)
    boxes: Mapping[str, Any] | None = None
    keypoints: Mapping[str, Any] | None = None
    name: str = ""
    description: str = ""
    notices: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def read(document: Document) -> Outline:
    """Read one of our documents: a mapping with ``transforms``, or only the list of transforms."""
    outline = Outline(name=document.name)
    root = document.root
    if isinstance(root, list | tuple):
        outline.steps = _steps(document, root, (), outline.problems)
        return outline
    if not isinstance(root, Mapping):
        msg = f"a pipeline is a mapping with `transforms`, or a list of transforms, not {kind(root)}"
        outline.problems.append(document.problem((), msg))
        return outline
    for key, value in root.items():
        if key == "seed":
            outline.notices.append(document.notice(("seed",), SEED_DROPPED))
        elif key == "mix":
            msg = "`mix` joins rows of a batch, which only a stream has; give it to the stream, not to the pipeline"
            outline.problems.append(document.problem((key,), msg))
        elif key not in SECTIONS:
            hint = did_you_mean(key, SECTIONS)
            msg = f"`{abridged(key)}` is not a section of a pipeline{hint}; use {', '.join(SECTIONS)}"
            outline.problems.append(document.problem((key,), msg))
        elif key in MAX_CHARACTERS and (wrong := _wrong_text(key, value)):
            outline.problems.append(document.problem((key,), wrong))
        elif key in _EXAMPLES and value is not None and not isinstance(value, Mapping):
            msg = f"`{key}` is a mapping like {_EXAMPLES[key]}, not {kind(value)}"
            outline.problems.append(document.problem((key,), msg))
    name, description = root.get("name"), root.get("description")
    outline.name = name if isinstance(name, str) else document.name
    outline.description = description if isinstance(description, str) else ""
    outline.normalize, outline.boxes, outline.keypoints = (
        section if isinstance(section := root.get(key), Mapping) else None for key in _EXAMPLES
    )
    transforms = root.get("transforms")
    if "transforms" not in root:
        msg = "`transforms` is missing; write `transforms:` and a list of transforms"
        outline.problems.append(document.problem((), msg))
    elif not isinstance(transforms, list | tuple):
        msg = f"`transforms` is a list (each line begins with `-`), not {kind(transforms)}"
        outline.problems.append(document.problem(("transforms",), msg))
    else:
        outline.steps = _steps(document, transforms, ("transforms",), outline.problems)
    return outline


def _wrong_text(key: str, value: object) -> str | None:
    """Return why this cannot be a name or a description, or None; they are shown in terminals and written to files."""
    if not isinstance(value, str):
        return f"`{key}` is text, not {kind(value)}"
    if len(value) > MAX_CHARACTERS[key]:
        return f"`{key}` has {len(value)} characters, it may have {MAX_CHARACTERS[key]}; shorten it"
    lines = [value] if key == "name" else value.split("\n")
    if controls := [character for character in "".join(lines) if unicodedata.category(character) in _UNSEEN]:
        return f"`{key}` has the control character {abridged(controls[0])}; remove it"
    return None


def _steps(document: Document, items: list[Any] | tuple[Any, ...], loc: Loc, problems: list[Problem]) -> list[Step]:
    steps = (_step(document, item, (*loc, i), problems) for i, item in enumerate(items))
    return [step for step in steps if step is not None]


def _step(document: Document, item: object, loc: Loc, problems: list[Problem]) -> Step | None:
    """Read ``Name``, ``{Name: null}`` or ``{Name: {…}}``."""
    if isinstance(item, str) and len(item) <= MAX_KEY:
        return Step(item, {}, loc, loc)
    if not isinstance(item, Mapping) or len(item) != 1:
        shape = (
            f"a mapping of {len(item)} keys ({abridged(', '.join(item))})" if isinstance(item, Mapping) else kind(item)
        )
        msg = f"a transform is written `Name: {{argument: value}}`, not as {shape}"
        if isinstance(item, Mapping) and len(item) > 1:
            msg += "; indent the arguments below the name"
        problems.append(document.problem(loc, msg))
        return None
    ((name, params),) = item.items()
    inner = (*loc, name)
    if params is None:
        params = {}
    if not isinstance(params, Mapping):
        msg = f"the arguments of `{name}` are a mapping like {{p: 0.5}}, not {kind(params)}"
        problems.append(document.problem(inner, msg))
        return None
    if CHILDREN not in params:
        return Step(name, params, loc, inner)
    children = params[CHILDREN]
    own = {key: value for key, value in params.items() if key != CHILDREN}
    if not isinstance(children, list | tuple):
        msg = f"`{CHILDREN}` of `{name}` is a list of transforms, not {kind(children)}"
        problems.append(document.problem((*inner, CHILDREN), msg))
        return Step(name, own, loc, inner, ())
    return Step(name, own, loc, inner, tuple(_steps(document, children, (*inner, CHILDREN), problems)))


def kind(value: object) -> str:
    """Name a value's kind in YAML's terms, or quote a scalar."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return quoted_json(value)
