"""Render one record to one augmented sample and its encoded form, in stages.

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
    """Renderer of records of one dataset through one pipeline with one seed.

    Not thread-safe: transforms keep scratch state while they run.
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
        """Return the address of this record's sample in this draw and view."""
        return Address(self._engine, record.digest, self.spec.digest, self.seed, draw, view, record.key, self._others)

    def subject(self, record: Record) -> str:
        """Return the subject of a verdict on this record: the record under this pipeline and engine.

        An image that is too slow or too large for one pipeline is not refused for others.
        """
        return subject(record.digest, self.spec, self._others)

    def decode(self, record: Record) -> Sample:
        """Read and decode the record's image, reduced if the pipeline allows it. The result serves all draws.

        Raises RecordError with the record's key if the file is not an image or differs from the manifest, StorageError
        if the machine fails to read it.
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
        """Augment a sample from ``decode``. The sample is not changed, so that one decoded image serves many draws."""
        self.stages.begin()
        address = self.address(record, draw=draw, view=view)
        rendered = render_at(address, self._transform, sample, full_size=(record.height, record.width))
        self.stages.end("transform")
        return rendered

    def annotations(self, record: Record, rendered: Rendered) -> Annotations:
        """Return the annotations of an augmented sample of a record and its donors, in the names of their dataset."""
        keys = donor_step.donor_keys(rendered.applied)
        places = (self.dataset.find(key) for key in keys)
        donors = [records.annotations_of(self.dataset.record(place)) for place in places if place is not None]
        return targets.annotations_of(rendered.sample, records.annotations_of(record), self._vocabulary, donors)

    def render(self, record: Record, *, draw: int, view: int = 0) -> Rendered:
        """Read, decode and augment one record."""
        return self.transform(record, self.decode(record), draw=draw, view=view)

    def eighths(self, record: Record) -> int:
        """Return how many eighths of the height and width of the record's image are decoded."""
        return self._eighths(record.height, record.width)

    def fits(self, record: Record) -> bool:
        """Return True if the record's image is large enough for every draw of the pipeline."""
        return self._transform.misfit(record.height, record.width) is None


class LastDecoded:
    """Cache of the last decoded record, for its other draws and for views decoded at the same size."""

    def __init__(self) -> None:
        self._key: str | None = None
        self._samples: dict[int, Sample] = {}

    def sample(self, renderer: Renderer, record: Record) -> Sample:
        """Return the result of ``Renderer.decode``, decoded at most once. It must not be changed."""
        if self._key != record.key:
            self._key, self._samples = record.key, {}
        eighths = renderer.eighths(record)
        if eighths not in self._samples:
            self._samples[eighths] = renderer.decode(record)
        return self._samples[eighths]


def render_at(
    address: Address, transform: compiler.Compiled, sample: Sample, *, full_size: tuple[int, int]
) -> Rendered:
    """Apply a pipeline to a decoded sample at an address. The sample is not changed.

    ``full_size`` is the height and width of the upright image, which may have been decoded smaller; the inverse maps to
    its pixels. Raises RecordError with the address's key if a transform cannot be applied to the image.
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
    """A sample as file contents: its image, and its mask as PNG, or None if it has no mask."""

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
    """A dataset that transforms use by name: the path and the digest of its manifest."""

    name: str
    manifest: Path
    dataset_digest: str

    def open(self) -> Dataset:
        """Return the dataset. Raises DatasetError if the file holds another one."""
        return _opened(self.manifest, self.dataset_digest)


@dataclass(frozen=True, slots=True)
class RenderSource:
    """Names and digests from which a worker makes its own Renderer; no pixels.

    ``manifest`` is a saved dataset; ``dataset_digest`` is the digest it must have, so that a file replaced under the
    same name is noticed. ``references`` are the datasets that transforms use.
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
        """Return this process's renderer for this source, the same one each time. Never share it between threads."""
        manifests = (self.manifest, *(each.manifest for each in self.references))
        return _renderer(self, tuple(map(file_identity, manifests)))


@functools.lru_cache(maxsize=64)
def _renderer(source: RenderSource, files: tuple[object, ...]) -> Renderer:  # noqa: ARG001 - see file_identity
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
    """Return an identity of the file that differs from earlier files at the same path, such as closed memory files."""
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
    """Return the digests, other than the record's, that the pixels of a sample depend on.

    These are the digest of the split of ``dataset`` if a node takes donors from it, and the name and digest of each
    reference that transforms use, in the order of names. ``references`` are digests by name.
    """
    found = [dataset.split_digest] if dataset is not None and compiler.takes_donors(spec) else []
    for name in sorted(compiler.references_of(spec)):
        found += [name, references[name]]
    return tuple(found)


def subject(record_digest: str, spec: PipelineSpec, taken_from: tuple[str, ...]) -> str:
    """Return the subject of a verdict: the record, the pipeline, the digests in ``taken_from``, and this engine."""
    pipeline = digest_fields((spec.digest, *taken_from)).hex() if taken_from else spec.digest
    return f"{record_digest}-{pipeline}-{engine.engine_id()}"


def check_seed(seed: object) -> int:
    """Return the seed as Python's integer. Raises CallError unless it is in [0, 2**64)."""
    return validation.integer("seed", seed, 0, validation.SEED_MAX)
