"""One record to one augmented sample and its encoded form: the stages of the data's way, joined in order.

    read -> decode -> transforms -> encode

Streams, expansions and one-shot requests apply a pipeline with ``render_at`` and encode samples with ``encode_sample``.
A worker keeps one ``Renderer`` for each (dataset, pipeline, seed) that it meets, because compiling a pipeline takes
longer than running it.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from augment import engine, validation
from augment.address import Address, digest_fields
from augment.datasets import targets
from augment.datasets.dataset import Dataset
from augment.errors import DatasetError, KeyedErrors
from augment.images import masks
from augment.images.cache import CachePlace, DecodedCache
from augment.images.decode import DEFAULT_MAX_PIXELS
from augment.images.encode import DEFAULT_QUALITY, encode_image
from augment.pipelines.spec import PipelineSpec
from augment.render import records
from augment.render.records import RecordSource, Stages
from augment.samples.annotations import Annotations
from augment.samples.sample import Record, Rendered, Sample
from augment.transforms import albumentations_import, jpeg_reduction, matrix_geometry
from augment.transforms.runtime import compiler, donor_step


class Renderer:
    """Renders records of one dataset through one pipeline with one seed.

    Not safe between threads: transforms keep scratch state while they run.
    """

    def __init__(
        self,
        dataset: Dataset,
        spec: PipelineSpec,
        *,
        seed: int = 0,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        references: Mapping[str, Dataset] | None = None,
        inverses: bool = False,
        cache: DecodedCache | None = None,
    ) -> None:
        check_seed(seed)
        self.dataset = dataset
        self.spec = spec
        self.seed = seed
        self.stages = Stages()
        self._max_pixels = max_pixels
        self._cache = cache
        self._eighths = functools.partial(jpeg_reduction.eighths, spec, targets=dataset.moved_targets)
        self._engine = engine.engine_id()
        self._vocabulary = dataset.vocabulary
        bound = references or {}
        self._others = others(spec, dataset, {name: each.digest for name, each in bound.items()})
        self._transform = compiler.Compiled(
            spec,
            keypoint_names=self._vocabulary.keypoint_names,
            donors=RecordSource(dataset, max_pixels=max_pixels, cache=cache),
            references={
                name: records.source_of(each, max_pixels=max_pixels, cache=cache) for name, each in bound.items()
            },
            points=inverses,
        )

    def address(self, record: Record, *, draw: int, view: int = 0) -> Address:
        """The address of this record's sample in this draw and view."""
        return Address(self._engine, record.digest, self.spec.digest, self.seed, draw, view, record.key, self._others)

    def subject(self, record: Record) -> str:
        """Return what a verdict on this record is about: the record under this pipeline and engine.

        An image that is too slow or too large for one pipeline is not refused to the others.
        """
        return subject(record.digest, self.spec, self._others)

    def decode(self, record: Record) -> Sample:
        """Read and decode the record's image, reduced where the pipeline allows it: the input of every draw.

        Raises RecordError with the record's key where the file is not what the manifest describes or no image,
        StorageError where the machine fails to read it.
        """
        return records.decode_record(
            self.dataset,
            record,
            max_pixels=self._max_pixels,
            eighths=self._eighths,
            cache=self._cache,
            stages=self.stages,
        )

    def transform(self, record: Record, sample: Sample, *, draw: int, view: int = 0) -> Rendered:
        """Augment what ``decode`` returned, which stays as it is: many draws can be taken from one decoded image."""
        self.stages.begin()
        address = self.address(record, draw=draw, view=view)
        rendered = render_at(address, self._transform, sample, full_size=(record.height, record.width))
        self.stages.end("transform")
        return rendered

    def annotations(self, record: Record, rendered: Rendered) -> Annotations:
        """What can be said of an augmented sample of a record and its donors, in the words of their dataset."""
        keys = donor_step.donor_keys(rendered.applied)
        places = (self.dataset.find(key) for key in keys)
        donors = [records.annotations_of(self.dataset.record(place)) for place in places if place is not None]
        return targets.annotations_of(rendered.sample, records.annotations_of(record), self._vocabulary, donors)

    def render(self, record: Record, *, draw: int, view: int = 0) -> Rendered:
        """Read, decode and augment one record."""
        return self.transform(record, self.decode(record), draw=draw, view=view)

    def eighths(self, record: Record) -> int:
        """How many eighths of the record's image are decoded, of its height and of its width."""
        return self._eighths(record.height, record.width)

    def fits(self, record: Record) -> bool:
        """True if the record's image is large enough for the pipeline, whatever chance draws."""
        return self._transform.misfit(record.height, record.width) is None


class LastDecoded:
    """The record that was decoded last, kept for its other draws and for views that need as much of it."""

    def __init__(self) -> None:
        self._key: str | None = None
        self._samples: dict[int, Sample] = {}

    def sample(self, renderer: Renderer, record: Record) -> Sample:
        """Return what ``Renderer.decode`` returns, decoded at most once; nobody changes it."""
        if self._key != record.key:
            self._key, self._samples = record.key, {}
        eighths = renderer.eighths(record)
        if eighths not in self._samples:
            self._samples[eighths] = renderer.decode(record)
        return self._samples[eighths]


def render_at(
    address: Address, transform: compiler.Compiled, sample: Sample, *, full_size: tuple[int, int]
) -> Rendered:
    """Apply a pipeline to a decoded sample at an address; the sample stays as it is.

    ``full_size`` is the height and width of the upright image, which may have been decoded smaller; the inverse leads
    to its pixels. Raises RecordError with the address's key if a transform cannot be applied to the image.
    """
    made = transform.transformed(sample, seed=address.seed, draw=address.draw, view=address.view, key=address.key)
    inverse = None if made.matrix is None else _inverse(made.matrix, full_size, sample)
    return Rendered(made.sample, address.render_key, made.applied, made.dropped, inverse)


def _inverse(matrix: NDArray[np.float64], full_size: tuple[int, int], decoded: Sample) -> NDArray[np.float64] | None:
    if np.linalg.matrix_rank(matrix) < len(matrix):
        return None
    reduced = matrix_geometry.resized(full_size, decoded.image.shape[:2])
    return np.asarray(np.linalg.inv(matrix @ reduced), np.float64)


class EncodedSample(NamedTuple):
    """A sample as files: its image, and its mask as PNG, or None if it has none."""

    image: bytes
    mask: bytes | None


def encode_sample(
    key: str, sample: Sample, image_format: str, quality: int = DEFAULT_QUALITY, *, with_mask: bool = True
) -> EncodedSample:
    """Encode a sample's image, and its mask if asked. Raises RecordError with the key if a format cannot hold them."""
    with KeyedErrors(key):
        image = encode_image(sample.image, image_format, quality)
        mask = masks.encode_mask(sample.mask) if with_mask and sample.mask is not None else None
    return EncodedSample(image, mask)


@dataclass(frozen=True, slots=True)
class ReferenceSource:
    """A dataset that transforms call by a name: where its manifest lies, and what that must hold."""

    name: str
    manifest: Path
    dataset_digest: str

    def open(self) -> Dataset:
        """The dataset; DatasetError where the file holds another one."""
        return _opened(self.manifest, self.dataset_digest)


@dataclass(frozen=True, slots=True)
class RenderSource:
    """What a worker needs to make a Renderer of its own: names and digests, no pixels.

    ``manifest`` is a saved dataset; ``dataset_digest`` is what that file must hold, so that a file replaced under
    the same name is noticed. ``references`` are the datasets that transforms name.
    """

    manifest: Path
    dataset_digest: str
    split: str | None
    spec: PipelineSpec
    seed: int
    max_pixels: int = DEFAULT_MAX_PIXELS
    references: tuple[ReferenceSource, ...] = ()
    inverses: bool = False
    cache: CachePlace | None = None

    def renderer(self) -> Renderer:
        """The renderer of this process for this source; the same one each time (never share it between threads)."""
        manifests = (self.manifest, *(each.manifest for each in self.references))
        return _renderer(self, tuple(map(file_identity, manifests)))


@functools.lru_cache(maxsize=64)
def _renderer(source: RenderSource, files: tuple[object, ...]) -> Renderer:  # noqa: ARG001 - as file_identity says
    albumentations_import.use_one_thread()
    dataset = _opened(source.manifest, source.dataset_digest)
    return Renderer(
        dataset.choose(source.split),
        source.spec,
        seed=source.seed,
        max_pixels=source.max_pixels,
        references={each.name: each.open() for each in source.references},
        inverses=source.inverses,
        cache=None if source.cache is None else source.cache.open(),
    )


def file_identity(manifest: Path) -> tuple[int, ...]:
    """Return what tells the file from one that lay at its path before, as in the place of a closed memory file."""
    file = manifest.stat()
    return file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns


def _opened(manifest: Path, digest: str) -> Dataset:
    dataset = Dataset.open(manifest)
    if dataset.digest != digest:
        raise DatasetError(
            f"{manifest} holds dataset {dataset.digest}, not {digest}: it was scanned again since; declare the stream "
            "or expansion again"
        )
    return dataset


def others(spec: PipelineSpec, dataset: Dataset | None, references: Mapping[str, str]) -> tuple[str, ...]:
    """What else than the record the pixels of a sample depend on: digests, for its address.

    The split's (``dataset``) where a node takes donors of it; of references, by their digests here, the name and the
    digest of those that transforms name, in the order of the names.
    """
    found = [dataset.split_digest] if dataset is not None and compiler.takes_donors(spec) else []
    for name in sorted(compiler.references_of(spec)):
        found += [name, references[name]]
    return tuple(found)


def subject(record_digest: str, spec: PipelineSpec, taken_from: tuple[str, ...]) -> str:
    """Return what a verdict is about: the record under a pipeline that takes from these others, by this engine."""
    pipeline = digest_fields((spec.digest, *taken_from)).hex() if taken_from else spec.digest
    return f"{record_digest}-{pipeline}-{engine.engine_id()}"


def check_seed(seed: object) -> int:
    """The seed as Python's integer; CallError unless it is one in [0, 2**64)."""
    return validation.integer("seed", seed, 0, validation.SEED_MAX)
