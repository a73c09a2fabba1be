"""Pipelines by name: the presets that come with the engine, and those that clients saved in the home."""

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augment.errors import PipelineError, Problem, StorageError
from augment.render import pipeline
from augment.render.pipeline import Pipeline
from augment.transforms.catalogue import catalogue
from augment.transforms.resolve import resolve
from augment.transforms.runtime import compiler
from augment.validation import did_you_mean
from service.errors import ForbiddenError, NotFoundError
from service.home import NAME, Home, checked_name, storing, write_whole

_SUFFIX = ".yaml"

_MAX_TEXTS = 64
"""Texts whose pipelines are kept: at most 64 kB each (``document.MAX_TEXT_BYTES``), some MB in all."""


@dataclass(frozen=True, slots=True)
class NamedPipeline:
    """A pipeline under its name: the text that was saved, and what it says or why this version refuses it."""

    name: str
    is_preset: bool
    text: str
    found: Pipeline | PipelineError

    def usable(self) -> Pipeline:
        """The pipeline; PipelineError where it was saved by a version that took what this one does not."""
        if isinstance(self.found, PipelineError):
            raise self.found
        return self.found


class Pipelines:
    """Reads, saves and resolves pipelines. Safe between threads; every method may read the disk."""

    def __init__(self, home: Home) -> None:
        self._folder = home.path / "pipelines"
        self._lock = threading.Lock()
        self._known: dict[str, NamedPipeline] = {}
        self._texts = _Texts()

    def known(self, source: str) -> Pipeline | None:
        """What ``get`` gives of a name or text, where that takes neither the disk nor parsing; None where it does.

        Never waits: for the event loop, whose clients send the same pipeline with each image.
        """
        if not NAME.fullmatch(source):
            return self._texts.get(source)
        named = self._known.get(source)
        return named.usable() if named is not None else None

    def get(self, source: str | Mapping[str, Any] | Sequence[Any]) -> Pipeline:
        """The pipeline that a request means: a preset's or a saved one's name, YAML or JSON text, or a JSON document.

        Raises NotFoundError where nothing has that name, PipelineError with every problem in a document.
        """
        if not isinstance(source, str):
            return Pipeline(resolve(source))
        known = self.known(source)
        if known is not None:
            return known
        if not NAME.fullmatch(source):
            return self._texts.add(source, Pipeline.parse(source))
        return self.named(source).usable()

    def named(self, name: str) -> NamedPipeline:
        """What is under a name; NotFoundError where there is nothing."""
        with self._lock:
            if name not in self._known:
                self._known[name] = _preset(name) if name in pipeline.preset_names() else self._read(checked_name(name))
            return self._known[name]

    def names(self) -> list[str]:
        """All names in alphabetical order, presets among them."""
        saved = {path.stem for path in self._folder.glob(f"*{_SUFFIX}") if NAME.fullmatch(path.stem)}
        return sorted(saved | set(pipeline.preset_names()))

    def save(self, name: str, text: str, *, as_json: bool = False) -> tuple[NamedPipeline, bool]:
        """Keep a text under a name, durably before this returns; the bool says whether the name is new.

        YAML is kept with its comments, JSON as the YAML that means the same.
        """
        self._check_writable(name)
        pipeline = Pipeline.parse(text, name=name)
        named = NamedPipeline(name, is_preset=False, text=pipeline.spec.to_yaml() if as_json else text, found=pipeline)
        path = self._path(name)
        with self._lock:
            is_new = not path.exists()
            write_whole(path, named.text.encode())
            self._known[name] = named
        return named, is_new

    def delete(self, name: str) -> None:
        """Forget a saved pipeline; streams and jobs that were declared with it hold their own copy."""
        self._check_writable(name)
        with self._lock:
            with storing(f"the pipeline {name} cannot be deleted"):
                try:
                    self._path(name).unlink()
                except FileNotFoundError:
                    raise self._unknown(name) from None
            self._known.pop(name, None)

    def _read(self, name: str) -> NamedPipeline:
        try:
            text = self._path(name).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise self._unknown(name) from None
        except OSError as error:
            raise StorageError(f"the pipeline {name} cannot be read: {error.strerror}; try again") from error
        try:
            return NamedPipeline(name, is_preset=False, text=text, found=Pipeline.parse(text, name=name))
        except PipelineError as error:
            return NamedPipeline(name, is_preset=False, text=text, found=error)

    def _check_writable(self, name: str) -> None:
        if checked_name(name) in pipeline.preset_names():
            raise ForbiddenError(f"{name} is a preset, which comes with the engine; save yours under another name")

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{_SUFFIX}"

    def _unknown(self, name: str) -> NotFoundError:
        transform = transform_called(name)
        if transform is None:
            hint = did_you_mean(name, self.names()) or "; GET /v1/pipelines lists them"
            message = f"there is no pipeline {name!r}{hint}"
        elif (params := _needed(transform)) is None:
            message = (
                f"{transform} is a transform, and a pipeline is a list of transforms; this one needs parameters, which "
                f"`curl URL/v1/transforms/{transform}` lists"
            )
        else:
            document = f'[{{"{transform}": {params}}}]'
            message = (
                f"{transform} is a transform, and a pipeline is a list of transforms: {document}, as in "
                f"`curl -F images=@cat.jpg -F 'pipeline={document}' URL/v1/augment -o out.jpg`"
            )
        return NotFoundError(message, [Problem(("pipeline",), message)])


def transform_called(name: str) -> str | None:
    """Return the transform of this name, whatever its case and signs, or None."""

    def plain(word: str) -> str:
        return re.sub("[-_. ]", "", word.lower())

    return next((each for each in catalogue() if plain(each) == plain(name)), None)


def _needed(transform: str) -> str | None:
    """Return the JSON of parameters with which a transform renders an image alone, or None if no simple ones do."""
    for params in ("{}", '{"height": 224, "width": 224}', '{"size": [224, 224]}', '{"max_size": 224}'):
        with suppress(PipelineError):
            spec = Pipeline.parse(f'[{{"{transform}": {params}}}]').spec
            return None if catalogue()[transform].donors or compiler.references_of(spec) else params
    return None


def _preset(name: str) -> NamedPipeline:
    return NamedPipeline(name, is_preset=True, text=pipeline.preset_text(name), found=Pipeline.load(name))


class _Texts:
    """The pipelines of the texts that came last: parsing one takes longer than rendering with it. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pipelines: OrderedDict[str, Pipeline] = OrderedDict()

    def get(self, text: str) -> Pipeline | None:
        with self._lock:
            if text not in self._pipelines:
                return None
            self._pipelines.move_to_end(text)
            return self._pipelines[text]

    def add(self, text: str, pipeline: Pipeline) -> Pipeline:
        with self._lock:
            self._pipelines[text] = pipeline
            if len(self._pipelines) > _MAX_TEXTS:
                self._pipelines.popitem(last=False)
        return pipeline
