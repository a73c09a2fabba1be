"""One batch of a stream: what it depends on, which rows it has, and how it is rendered."""

import functools
from dataclasses import dataclass

import numpy as np

from augment import arguments, stacking
from augment.address import digest_fields
from augment.chance import NUMBER_MAX, EpochOrder
from augment.errors import CallError, DatasetError, RecordError
from augment.render import Renderer, check_seed
from augment.sample import Batch, Record, Refusal, Rendered
from augment.task import Guard

REPLACEMENTS = 8
"""How many records after a refused one are tried in its place, in the epoch's order."""

BATCH_SIZE_MAX = 65_536
"""More pictures in one step than any published recipe takes (the largest, LARS at 32,768, twice over)."""


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """Everything the batches of a stream depend on; its digest is the stream's id on every replica."""

    engine: str
    dataset: str
    split: str | None
    pipeline: str
    seed: int
    batch_size: int
    shuffle: bool
    drop_last: bool
    num_records: int

    def __post_init__(self) -> None:
        check_seed(self.seed)
        arguments.integer("batch_size", self.batch_size, 1, BATCH_SIZE_MAX)
        if self.num_batches == 0:
            raise CallError(
                f"batch_size is {self.batch_size} and drop_last is set, but there are only {self.num_records} records: "
                "no batch would be full; take a smaller batch_size or drop_last=False"
            )

    @property
    def id(self) -> str:
        """32 hexadecimal digits."""
        split = "" if self.split is None else f"split:{self.split}"
        fields = (self.engine, self.dataset, split, self.pipeline, self.seed, self.batch_size)
        return digest_fields((*fields, int(self.shuffle), int(self.drop_last)), person=b"augment.stream").hex()

    @property
    def num_batches(self) -> int:
        """Batches in an epoch."""
        full, rest = divmod(self.num_records, self.batch_size)
        return full if self.drop_last or not rest else full + 1

    def positions(self, place: "Place") -> range:
        """The places of the epoch that one rank's slice of a batch holds.

        Of a full batch of B rows rank r of R takes ``[rB/R, (r+1)B/R)``, and R must divide B; of a short last batch of
        n rows ``[floor(rn/R), floor((r+1)n/R))``, which may be empty. CallError where there is no such batch or rank.
        """
        index = arguments.integer("index", place.index, -NUMBER_MAX, NUMBER_MAX)
        rank = arguments.integer("rank", place.rank, -NUMBER_MAX, NUMBER_MAX)
        world_size = arguments.integer("world_size", place.world_size, -NUMBER_MAX, NUMBER_MAX)
        if not 0 <= index < self.num_batches:
            raise CallError(
                f"batch {index} does not exist; an epoch of this stream has batches 0 to {self.num_batches - 1}"
            )
        if world_size < 1 or self.batch_size % world_size:
            raise CallError(
                f"world_size is {world_size}; it must divide the global batch_size, which is {self.batch_size}"
            )
        if not 0 <= rank < world_size:
            raise CallError(f"rank is {rank}; with world_size {world_size} ranks are 0 to {world_size - 1}")
        first, num_rows = index * self.batch_size, self.num_rows(index)
        return range(first + rank * num_rows // world_size, first + (rank + 1) * num_rows // world_size)

    def num_rows(self, index: int) -> int:
        """Rows of one whole batch of an epoch: ``batch_size``, fewer in a short last one."""
        return min(self.batch_size, self.num_records - index * self.batch_size)


@dataclass(frozen=True, slots=True)
class Place:
    """Which part of a stream: one rank's slice of one batch of one epoch."""

    epoch: int
    index: int
    rank: int = 0
    world_size: int = 1


@dataclass(frozen=True, slots=True)
class BatchRenderer:
    """Renders batches of one stream in this process.

    ``image_shape`` is (H, W, 3) where all samples of the stream have that shape, else None. As little safe between
    threads as its renderer.
    """

    renderer: Renderer
    spec: StreamSpec
    image_shape: tuple[int, int, int] | None

    def render(self, place: Place, guard: Guard) -> Batch:
        """Render one rank's slice of one batch.

        A row whose record is refused takes the first acceptable of the next ``REPLACEMENTS`` in the epoch's order,
        round its end; DatasetError where there is none.
        """
        positions = np.asarray(self.spec.positions(place), dtype=np.int64)
        order = EpochOrder(self.spec.num_records, self.spec.seed, place.epoch, shuffle=self.spec.shuffle)
        wanted = self.renderer.dataset.records(order.take(positions))
        attempts = _Attempts(self.renderer, guard, place.epoch)
        rows = [
            self._row(attempts, record, int(position), order)
            for position, record in zip(positions, wanted, strict=True)
        ]
        samples = [row.rendered.sample for row in rows]
        return Batch(
            epoch=place.epoch,
            index=place.index,
            images=stacking.images([sample.image for sample in samples], self.image_shape),
            keys=[row.key for row in rows],
            positions=positions,
            **stacking.targets(samples, self.renderer.dataset.targets, fixed=self.image_shape is not None),
            replaces=[row.replaces for row in rows],
            refusals=tuple(attempts.refusals.values()),
            provenance=[row.rendered.provenance for row in rows],
        )

    def _row(self, attempts: "_Attempts", record: Record, position: int, order: EpochOrder) -> "_Row":
        if (rendered := attempts.render(record)) is not None:
            return _Row(record.key, None, rendered)
        num_others = min(REPLACEMENTS, order.num_records - 1)
        following = (position + 1 + np.arange(num_others, dtype=np.int64)) % order.num_records
        for other in self.renderer.dataset.records(order.take(following)):
            if (rendered := attempts.render(other)) is not None:
                return _Row(other.key, record.key, rendered)
        first = attempts.refusals[record.key]
        raise DatasetError(
            f"record {record.key} is refused ({first.reason}: {first.detail}) and so are the {num_others} records "
            "after it in the epoch's order; remove broken records from the dataset and scan it again"
        )


@dataclass(frozen=True, slots=True)
class _Row:
    key: str
    replaces: str | None
    rendered: Rendered


class _Attempts:
    """Renders records of one epoch, each refused one once."""

    def __init__(self, renderer: Renderer, guard: Guard, epoch: int) -> None:
        self._renderer = renderer
        self._guard = guard
        self._epoch = epoch
        self.refusals: dict[str, Refusal] = {}

    def render(self, record: Record) -> Rendered | None:
        if record.key in self.refusals:
            return None
        try:
            work = functools.partial(self._renderer.render, record, draw=self._epoch)
            return self._guard(self._renderer.subject(record), record.key, work)
        except RecordError as error:
            self.refusals[record.key] = Refusal(record.key, error.reason, error.detail)
            return None
