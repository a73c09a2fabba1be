"""One batch of a stream: what it depends on, which rows it has, and how it is rendered."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from augment import wire
from augment.address import digest_fields
from augment.chance import EpochOrder
from augment.errors import CallError, DatasetError, RecordError
from augment.render import Renderer, RenderSource, check_seed
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
        if not 1 <= self.batch_size <= BATCH_SIZE_MAX:
            raise CallError(f"batch_size is {self.batch_size}; it must lie in [1, {BATCH_SIZE_MAX}]")
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

    def positions(self, index: int, rank: int = 0, world_size: int = 1) -> range:
        """The places of the epoch that this rank's slice of batch ``index`` holds.

        Of a full batch of B rows rank r of R takes ``[rB/R, (r+1)B/R)``, and R must divide B; of a short last batch of
        n rows ``[floor(rn/R), floor((r+1)n/R))``, which may be empty.
        """
        if not 0 <= index < self.num_batches:
            raise CallError(f"batch {index} does not exist; an epoch of this stream has batches 0 to {self.num_batches - 1}")
        if world_size < 1 or self.batch_size % world_size:
            raise CallError(
                f"world_size is {world_size}; it must divide the global batch_size, which is {self.batch_size}"
            )
        if not 0 <= rank < world_size:
            raise CallError(f"rank is {rank}; with world_size {world_size} ranks are 0 to {world_size - 1}")
        first = index * self.batch_size
        num_rows = min(self.batch_size, self.num_records - first)
        return range(first + rank * num_rows // world_size, first + (rank + 1) * num_rows // world_size)


def render_batch(
    renderer: Renderer,
    spec: StreamSpec,
    image_shape: tuple[int, int, int] | None,
    epoch: int,
    index: int,
    guard: Guard,
    rank: int = 0,
    world_size: int = 1,
) -> Batch:
    """Render one rank's slice of one batch.

    A row whose record is refused takes the first acceptable of the next ``REPLACEMENTS`` in the epoch's order (round its
    end); where there is none, DatasetError.
    """
    order = EpochOrder(spec.num_records, spec.seed, epoch, shuffle=spec.shuffle)
    positions = np.asarray(spec.positions(index, rank, world_size), dtype=np.int64)
    records = renderer.dataset.records(order.take(positions))
    refusals: dict[str, Refusal] = {}
    rows = [
        _render_row(renderer, guard, record, int(position), order, epoch, refusals)
        for position, record in zip(positions, records, strict=True)
    ]
    samples = [rendered.sample for _, rendered in rows]
    images: NDArray[np.uint8] | list[NDArray[np.uint8]] = [sample.image for sample in samples]
    if image_shape is not None:
        images = np.stack(images) if images else np.empty((0, *image_shape), np.uint8)
    has_labels = bool(renderer.dataset.classes)
    return Batch(
        epoch=epoch,
        index=index,
        images=images,
        keys=[record.key for record, _ in rows],
        positions=positions,
        labels=np.array([sample.label for sample in samples], dtype=np.int64) if has_labels else None,
        replaces=[
            wanted.key if used is not wanted else None for wanted, (used, _) in zip(records, rows, strict=True)
        ],
        refusals=tuple(refusals.values()),
    )


def _render_row(
    renderer: Renderer,
    guard: Guard,
    record: Record,
    position: int,
    order: EpochOrder,
    epoch: int,
    refusals: dict[str, Refusal],
) -> tuple[Record, Rendered]:
    def attempt(candidate: Record) -> Rendered | None:
        if candidate.key in refusals:
            return None
        try:
            return guard(candidate.digest, candidate.key, lambda: renderer.render(candidate, draw=epoch))
        except RecordError as error:
            refusals[candidate.key] = Refusal(candidate.key, error.reason, error.detail)
            return None

    if (rendered := attempt(record)) is not None:
        return record, rendered
    num_others = min(REPLACEMENTS, order.num_records - 1)
    following = (position + 1 + np.arange(num_others, dtype=np.int64)) % order.num_records
    for candidate in renderer.dataset.records(order.take(following)):
        if (rendered := attempt(candidate)) is not None:
            return candidate, rendered
    first = refusals[record.key]
    raise DatasetError(
        f"record {record.key} is refused ({first.reason}: {first.detail}) and so are the {num_others} records after it in "
        "the epoch's order; remove broken records from the dataset and scan it again"
    )


@dataclass(frozen=True, slots=True)
class BatchTask:
    """One rank's slice of one batch, laid down as an Arrow message in the file ``into``; returns its refusals."""

    source: RenderSource
    spec: StreamSpec
    layout: wire.Layout
    epoch: int
    index: int
    rank: int
    world_size: int
    into: str

    def run(self, guard: Guard) -> tuple[Refusal, ...]:
        """Render and write; any earlier content of the file is replaced."""
        batch = render_batch(
            self.source.renderer(), self.spec, self.layout.image_shape, self.epoch, self.index, guard,
            self.rank, self.world_size,
        )  # fmt: skip
        with open(self.into, "wb") as file:
            file.write(wire.batch_message(batch, wire.arrow_schema(self.layout)))
        return tuple(batch.refusals)
