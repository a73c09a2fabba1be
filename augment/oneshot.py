"""One shot: encoded pictures in, augmented and encoded pictures out, at addresses as good as any.

The key of a picture is the digest of its bytes, the draw is the copy: the same picture, pipeline and seed give the same
bytes on any machine of the same engine. Pictures and results lie in files; only what is said about them is sent.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from augment import decode, encode, engine, laid, read
from augment.address import Address
from augment.errors import RecordError, StorageError
from augment.pipeline import PipelineSpec
from augment.sample import Provenance, Sample
from augment.stages import Stages
from augment.task import Guard
from augment.transforms import compile as compiling
from augment.transforms import reduce


@dataclass(frozen=True, slots=True)
class Source:
    """A picture that was sent: what to call it when it is refused, and the file that holds it."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Result:
    """One augmented copy: where its bytes lie in the task's file, and what was done."""

    copy: int
    key: str
    start: int
    num_bytes: int
    height: int
    width: int
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class Copies:
    """All copies of one picture; ``seconds`` tells what each stage of the work took."""

    results: Sequence[Result]
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SizeTask:
    """The upright (height, width) of each picture, from its header alone; raises RecordError for the first bad one."""

    sources: Sequence[Source]
    max_pixels: int

    def run(self, guard: Guard) -> list[tuple[int, int]]:
        """Read headers, a guarded piece of work each."""
        return [self._size(source, guard) for source in self.sources]

    def _size(self, source: Source, guard: Guard) -> tuple[int, int]:
        data = source.path.read_bytes()

        def probe() -> tuple[int, int]:
            with _named(source.name):
                header = decode.probe(data, max_pixels=self.max_pixels)
            return header.height, header.width

        return guard(_record_digest(data), source.name, probe)


@dataclass(frozen=True, slots=True)
class OneShotTask:
    """Copies 0 to N-1 of one picture, laid down in ``into`` one behind the other."""

    source: Source
    spec: PipelineSpec
    seed: int
    copies: int
    image_format: str
    quality: int
    max_pixels: int
    into: Path

    def run(self, guard: Guard) -> Copies:
        """Render and write; RecordError with the picture's name where it is refused."""
        stages = Stages()
        stages.begin()
        data = self.source.path.read_bytes()
        stages.end("read")
        work = _Work(self, data, stages)
        parts: list[bytes] = []
        results = []
        start = 0
        for copy in range(self.copies):
            encoded, height, width, provenance = guard(
                work.record, self.source.name, functools.partial(work.make, copy)
            )
            results.append(Result(copy, work.key, start, len(encoded), height, width, provenance))
            parts.append(encoded)
            start += len(encoded)
        stages.begin()
        if laid.write(self.into, parts) is None:
            raise StorageError("there is no room for the augmented pictures; free space, or ask for fewer")
        stages.end("write")
        return Copies(results, stages.take())


@dataclass(slots=True)
class _Work:
    """The picture is decoded once, for all its copies."""

    task: OneShotTask
    data: bytes
    stages: Stages
    key: str = field(init=False)
    record: str = field(init=False)
    _decoded: Sample | None = None

    def __post_init__(self) -> None:
        self.key = read.content_digest(self.data).hex()
        self.record = _record_digest(self.data)

    def make(self, copy: int) -> tuple[bytes, int, int, Provenance]:
        task = self.task
        self.stages.begin()
        with _named(task.source.name):
            if self._decoded is None:
                eighths = functools.partial(reduce.eighths, task.spec, targets=frozenset())
                self._decoded = Sample(decode.decode(self.data, max_pixels=task.max_pixels, eighths=eighths))
                self.stages.end("decode")
            compiled = _compiled(task.spec)
            sample, applied, dropped = compiled(self._decoded, seed=task.seed, draw=copy, view=0, key=self.key)
            self.stages.end("transform")
            encoded = encode.encode(sample.image, task.image_format, task.quality)
            self.stages.end("encode")
        address = Address(engine.engine_id(), self.record, task.spec.digest, task.seed, copy, 0, self.key)
        height, width = sample.image.shape[:2]
        return encoded, height, width, Provenance(address.render_key, applied, dropped)


class _named:  # noqa: N801 - reads as the statement that it is
    """Refusals inside carry the picture's name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, RecordError) and error.key != self._name:
            raise RecordError(self._name, error.reason, error.detail) from error


def _record_digest(data: bytes) -> str:
    return read.record_digest(read.content_digest(data), None).hex()


@functools.lru_cache(maxsize=16)
def _compiled(spec: PipelineSpec) -> compiling.Compiled:
    return compiling.compile_pipeline(spec)
