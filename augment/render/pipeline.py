"""Pipelines as callables, loaded from a preset, a file or text."""

import errno
import functools
import json
import os
import threading
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Final, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from augment import validation
from augment.chance import check_address
from augment.datasets.dataset import Dataset
from augment.errors import CallError, PipelineError, Problem
from augment.pipelines import document
from augment.pipelines.spec import PipelineSpec
from augment.render import records
from augment.samples import notebook
from augment.samples.inputs import as_image
from augment.samples.sample import Sample
from augment.transforms.resolve import resolve
from augment.transforms.runtime import compiler
from augment.validation import did_you_mean

_SUFFIX: Final = ".yaml"

References = Mapping[str, Dataset | Sequence[Sample | ArrayLike]]
"""Datasets, or images in memory, by the names that transforms use."""


class Pipeline:
    """A resolved pipeline that can be applied to images.

    Safe between threads (each compiles its own, on its first call) and picklable (it travels as data). Pixels are a
    function of the image, the pipeline and the arguments of the call: ``Pipeline.load("light")(image, seed=1)``.
    """

    def __init__(self, spec: PipelineSpec) -> None:
        remedy = "read a pipeline with Pipeline.load (a preset or a file) or Pipeline.parse (text)"
        self.spec = validation.instance("spec", spec, PipelineSpec, remedy)
        self._compiled = threading.local()

    @classmethod
    def load(cls, source: str | os.PathLike[str]) -> "Pipeline":
        """Load a preset by its name, or a YAML or JSON file by its path. Raises PipelineError.

        Text that equals a preset's name means the preset; write ``./light`` for a file of that name. Raises CallError
        if the source is neither text nor a path.
        """
        given: object = source
        if not isinstance(given, str | os.PathLike) or not isinstance(os.fspath(given), str) or not str(given):
            raise CallError(
                f"the pipeline is {validation.quoted(given)}; give the name of a preset or the path of a file "
                "(Pipeline.parse takes text)"
            )
        if isinstance(source, str) and source in preset_names():
            return cls(_preset(source))
        path = Path(source)
        return cls.parse(_read(path, source), name=validation.abridged(path.stem))

    @classmethod
    def parse(cls, text: str, *, name: str = "") -> "Pipeline":
        """Read YAML 1.2 or JSON, ours or saved by Albumentations. Raises PipelineError with every problem."""
        validation.instance("text", text, str, "give YAML or JSON as text; Pipeline.load takes a preset or a file")
        validation.text("name", name)
        return cls(resolve(document.parse(text, name=name, lenient=True)))

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def digest(self) -> str:
        """Digest of the pipeline's behaviour: 32 hexadecimal digits."""
        return self.spec.digest

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences about what was dropped or moved while the pipeline was read."""
        return self.spec.notices

    @overload
    def __call__(
        self,
        image: Sample,
        *,
        seed: int = 0,
        draw: int = 0,
        view: int = 0,
        key: str = "",
        keypoint_names: Sequence[str] = (),
        references: References | None = None,
    ) -> Sample: ...

    @overload
    def __call__(
        self,
        image: ArrayLike,
        *,
        seed: int = 0,
        draw: int = 0,
        view: int = 0,
        key: str = "",
        references: References | None = None,
    ) -> NDArray[np.uint8]: ...

    def __call__(
        self,
        image: Sample | ArrayLike,
        *,
        seed: int = 0,
        draw: int = 0,
        view: int = 0,
        key: str = "",
        keypoint_names: Sequence[str] = (),
        references: References | None = None,
    ) -> Sample | NDArray[np.uint8]:
        """Augment one image, uint8 (H, W, 3) RGB, or a whole sample with its targets. The input is not changed.

        ``draw`` is the copy or epoch, ``key`` the name of the record; the same four give the same pixels anywhere.
        ``keypoint_names`` are the names that a sample's keypoint labels index; a mirror swaps left and right.
        ``references`` are datasets, or lists of images, by the names that transforms use. Pass the same objects in each
        call, because prepared references are cached by object. Raises PipelineError if one is missing, RecordError if a
        transform cannot be applied to this image, CallError if the four are not an address.
        """
        check_address(seed=seed, draw=draw, view=view, key=key)
        sample = image if isinstance(image, Sample) else Sample(image=as_image(image))
        compiled = self._compile(tuple(keypoint_names), {} if references is None else references)
        result, *_ = compiled(sample, seed=seed, draw=draw, view=view, key=key)
        return result if isinstance(image, Sample) else result.image

    def _compile(self, names: tuple[str, ...], references: References) -> compiler.Compiled:
        """Return the pipeline compiled by this thread's last call if the arguments are the same, else compile it."""
        if not isinstance(references, Mapping):
            raise CallError(f"references is {validation.quoted(references)}; give a mapping of names to datasets")
        wanted = (names, tuple(sorted((name, id(each)) for name, each in references.items())))
        known: compiler.Compiled | None = getattr(self._compiled, "value", None)
        if known is not None and self._compiled.wanted == wanted:
            return known
        sources = {name: records.source_of(each) for name, each in references.items()}
        made = compiler.Compiled(self.spec, keypoint_names=names, provenance=False, references=sources)
        self._compiled.value, self._compiled.wanted = made, wanted
        self._compiled.held = dict(references)  # keeps the objects alive, so that their ids are not reused
        return made

    @classmethod
    def take(cls, given: object) -> "Pipeline":
        """Return a pipeline unchanged, or load one. Raises CallError for anything that ``load`` does not take."""
        if isinstance(given, cls):
            return given
        if isinstance(given, PipelineSpec):
            return cls(given)
        if isinstance(given, str | os.PathLike):
            return cls.load(given)
        raise CallError(
            f"pipeline is {validation.quoted(given)}; give an augment.Pipeline (Pipeline.parse makes one of text), the "
            "name of a preset or the path of a file"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pipeline) and self.spec == other.spec

    def __hash__(self) -> int:
        return hash(self.spec)

    def __reduce__(self) -> tuple[type["Pipeline"], tuple[PipelineSpec]]:
        return type(self), (self.spec,)

    def __repr__(self) -> str:
        steps = ", ".join(node.name for node in self.spec.transforms)
        return f"Pipeline({self.spec.name or self.digest[:8]}: {steps})"

    def _repr_html_(self) -> str:
        """Return the transforms with their parameters as a list, for notebooks."""
        steps = [(node.name, json.dumps(node.canonical()[node.name], default=dict)) for node in self.spec.transforms]
        return notebook.steps(f"Pipeline {self.spec.name} {self.digest[:8]}", steps, self.notices)


@functools.cache
def preset_names() -> tuple[str, ...]:
    """Return the names of the presets in this package, in alphabetical order."""
    files = resources.files("augment").joinpath("presets").iterdir()
    return tuple(sorted(file.name.removesuffix(_SUFFIX) for file in files if file.name.endswith(_SUFFIX)))


def preset_text(name: str) -> str:
    """Return the YAML of a preset with its comments."""
    return resources.files("augment").joinpath("presets", name + _SUFFIX).read_text(encoding="utf-8")


@functools.cache
def _preset(name: str) -> PipelineSpec:
    return resolve(document.parse(preset_text(name), name=name))


def _read(path: Path, source: str | os.PathLike[str]) -> str:
    """Read a pipeline's file, up to the size limit of a pipeline."""
    try:
        if path.exists() and not path.is_file() and not path.is_dir():  # reading a pipe would never end
            raise OSError(errno.EINVAL, "it is not a regular file")
        with path.open("rb") as file:
            data = file.read(document.MAX_TEXT_BYTES + 1)
        return data.decode("utf-8")
    except FileNotFoundError:
        names = preset_names()
        hint = did_you_mean(str(source), names)
        msg = f"`{source}` is neither a preset nor a file{hint or '; presets are ' + ', '.join(names)}"
    except UnicodeDecodeError as error:
        if len(data) > document.MAX_TEXT_BYTES:
            return data.decode("utf-8", "replace")  # cut inside a character; its length is refused next
        msg = f"`{source}` is not UTF-8 text (byte {error.start}); save it as UTF-8"
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        msg = f"`{source}` cannot be read: {getattr(error, 'strerror', None) or error}"
    raise PipelineError([Problem((), msg)])
