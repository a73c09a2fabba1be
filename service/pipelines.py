"""Pipelines by name: the engine's presets, and those that clients saved in the home."""

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
"""Number of texts whose pipelines are cached, of at most 64 kB each (``document.MAX_TEXT_BYTES``)."""


@dataclass(frozen=True, slots=True)
class NamedPipeline:
    """A named pipeline: the saved text, and the pipeline or the error with which this version refuses it."""

    name: str
    is_preset: bool
    text: str
    parsed: Pipeline | PipelineError

    def usable(self) -> Pipeline:
        """Return the pipeline. Raises PipelineError if this version refuses a text that an older one saved."""
        if isinstance(self.parsed, PipelineError):
            raise self.parsed
        return self.parsed


class Pipelines:
    """Store of presets and saved pipelines. Thread-safe; every method but ``known`` may read the disk."""

    def __init__(self, home: Home) -> None:
        self._folder = home.path / "pipelines"
        self._lock = threading.Lock()
        self._known: dict[str, NamedPipeline] = {}
        self._texts = _Texts()

    def known(self, source: str) -> Pipeline | None:
        """Return the cached pipeline of a name or text, or None if ``get`` would have to read or parse it.

        Never blocks, so the event loop may call it. Clients send the same pipeline with each image.
        """
        if not NAME.fullmatch(source):
            return self._texts.get(source)
        named = self._known.get(source)
        return named.usable() if named is not None else None

    def get(self, source: str | Mapping[str, Any] | Sequence[Any]) -> Pipeline:
        """Return a request's pipeline: the name of a preset or a saved one, YAML or JSON text, or a JSON document.

        Raises NotFoundError for an unknown name, PipelineError with every problem in a document.
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
        """Return the pipeline of a name. Raises NotFoundError."""
        with self._lock:
            if name not in self._known:
                self._known[name] = _preset(name) if name in pipeline.preset_names() else self._read(checked_name(name))
            return self._known[name]

    def names(self) -> list[str]:
        """Return all names in alphabetical order, including presets."""
        saved = {path.stem for path in self._folder.glob(f"*{_SUFFIX}") if NAME.fullmatch(path.stem)}
        return sorted(saved | set(pipeline.preset_names()))

    def save(self, name: str, text: str, *, as_json: bool = False) -> tuple[NamedPipeline, bool]:
        """Save a text durably under a name. Return the pipeline, and True if the name is new.

        YAML is saved with its comments, JSON as the equivalent YAML.
        """
        self._check_writable(name)
        pipeline = Pipeline.parse(text, name=name)
        named = NamedPipeline(name, is_preset=False, text=pipeline.spec.to_yaml() if as_json else text, parsed=pipeline)
        path = self._path(name)
        with self._lock:
            is_new = not path.exists()
            write_whole(path, named.text.encode())
            self._known[name] = named
        return named, is_new

    def delete(self, name: str) -> None:
        """Delete a saved pipeline. Streams and jobs that were declared with it have their own copy."""
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
            return NamedPipeline(name, is_preset=False, text=text, parsed=Pipeline.parse(text, name=name))
        except PipelineError as error:
            return NamedPipeline(name, is_preset=False, text=text, parsed=error)

    def _check_writable(self, name: str) -> None:
        if checked_name(name) in pipeline.preset_names():
            raise ForbiddenError(f"{name} is a preset and read-only; save your pipeline under another name")

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{_SUFFIX}"

    def _unknown(self, name: str) -> NotFoundError:
        transform = transform_called(name)
        if transform is None:
            hint = did_you_mean(name, self.names()) or "; GET /v1/pipelines lists them"
            message = f"there is no pipeline {name!r}{hint}"
        elif (params := _needed(transform)) is None:
            message = (
                f"{transform} is a transform, but a pipeline is a list of transforms; `curl URL/v1/transforms/"
                f"{transform}` lists the parameters that it needs"
            )
        else:
            document = f'[{{"{transform}": {params}}}]'
            message = (
                f"{transform} is a transform, but a pipeline is a list of transforms: {document}, as in "
                f"`curl -F images=@cat.jpg -F 'pipeline={document}' URL/v1/augment -o out.jpg`"
            )
        return NotFoundError(message, [Problem(("pipeline",), message)])


def transform_called(name: str) -> str | None:
    """Return the transform of this name, ignoring case and punctuation, or None."""

    def plain(word: str) -> str:
        return re.sub("[-_. ]", "", word.lower())

    return next((each for each in catalogue() if plain(each) == plain(name)), None)


def _needed(transform: str) -> str | None:
    """Return simple parameters, as JSON, that a transform works with, or None."""
    for params in ("{}", '{"height": 224, "width": 224}', '{"size": [224, 224]}', '{"max_size": 224}'):
        with suppress(PipelineError):
            spec = Pipeline.parse(f'[{{"{transform}": {params}}}]').spec
            return None if catalogue()[transform].donors or compiler.references_of(spec) else params
    return None


def _preset(name: str) -> NamedPipeline:
    return NamedPipeline(name, is_preset=True, text=pipeline.preset_text(name), parsed=Pipeline.load(name))


class _Texts:
    """Cache of the pipelines of recent texts, because parsing one takes longer than rendering with it. Thread-safe."""

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
