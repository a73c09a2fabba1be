"""StreamSpec, whose digest is the stream's id, and the rows of its batches."""

from dataclasses import dataclass, fields, replace

import rfc8785

from augment import validation
from augment.address import digest_fields
from augment.chance import NUMBER_MAX
from augment.errors import CallError
from augment.mixing.mix import Mix
from augment.normalize.pixel_format import PixelFormat
from augment.normalize.section import Sections
from augment.render.renderer import check_seed
from augment.streams.options import BATCH_SIZE_MAX, REPEATS_MAX


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """Everything that the batches of a stream depend on; its digest is the stream's id on every replica.

    ``pipelines`` has the digest of each view's pipeline: one, unless ``has_views``. ``references`` are the names and
    digests of the datasets that they take images from. Each record fills ``repeats`` consecutive rows of a batch.
    ``mix`` joins rows. ``normalize`` (the canonical section of each view, with the dataset's numbers), ``dtype`` and
    ``layout`` define the form in which images are sent.
    """

    engine: str
    dataset: str
    split: str | None
    pipelines: tuple[str, ...]
    seed: int
    batch_size: int
    shuffle: bool
    drop_last: bool
    num_records: int
    has_views: bool = False
    references: tuple[tuple[str, str], ...] = ()
    repeats: int = 1
    mix: Mix | None = None
    normalize: Sections = ()
    dtype: str = "uint8"
    layout: str = "NHWC"

    def __post_init__(self) -> None:
        check_seed(self.seed)
        validation.integer("batch_size", self.batch_size, 1, BATCH_SIZE_MAX)
        validation.integer("repeats", self.repeats, 1, REPEATS_MAX)
        if self.batch_size % self.repeats:
            raise CallError(
                f"repeats is {self.repeats}; it must divide batch_size, which is {self.batch_size} and counts rows, so "
                "that all repeats of a record are in one batch"
            )
        if self.num_batches == 0:
            raise CallError(
                f"batch_size is {self.batch_size} and drop_last is set, but an epoch has only {self.epoch_rows} rows: "
                "no batch would be full; take a smaller batch_size or drop_last=False"
            )

    @property
    def id(self) -> str:
        """Digest of the stream: 32 hexadecimal digits."""
        content = {each.name: getattr(self, each.name) for each in fields(self)} | {
            "references": dict(self.references),
            "seed": str(self.seed),  # beyond the integers of RFC 8785
            "mix": None if self.mix is None else self.mix.canonical(),
            "normalize": [None if each is None else dict(each) for each in self.normalize],
        }
        del content["num_records"]  # it follows from the dataset and the split
        return digest_fields((rfc8785.dumps(content),), person=b"augment.stream").hex()

    @property
    def pixels_id(self) -> str:
        """Id of the stream with the same rows as plain pixels; mixing uses it, so that floats mix alike."""
        return replace(self, normalize=(None,) * len(self.pipelines), dtype="uint8", layout="NHWC").id

    @property
    def pixel_format(self) -> PixelFormat:
        """Form of the images in all views."""
        return PixelFormat(self.dtype, self.layout)

    @property
    def epoch_max(self) -> int:
        """Last epoch whose draws can all be part of an address."""
        return (NUMBER_MAX + 1) // self.repeats - 1

    @property
    def epoch_rows(self) -> int:
        """Number of rows in an epoch, including those of a short last batch."""
        return self.num_records * self.repeats

    @property
    def num_dropped(self) -> int:
        """Number of rows that ``drop_last`` leaves out of each epoch."""
        return self.epoch_rows % self.batch_size if self.drop_last else 0

    @property
    def num_batches(self) -> int:
        """Number of batches in an epoch."""
        full, rest = divmod(self.epoch_rows, self.batch_size)
        return full if self.drop_last or not rest else full + 1

    def positions(self, place: "BatchSlice") -> range:
        """Return the positions in the epoch of one rank's slice of a batch.

        Of a full batch of B rows rank r of R takes ``[rB/R, (r+1)B/R)``, and R must divide B; of a short last batch of
        n rows ``[floor(rn/R), floor((r+1)n/R))``. With more ranks than rows rank r takes row ``r mod n``, which is
        padding if r >= n. Never empty. Raises CallError for an unknown batch or rank.
        """
        index = validation.integer("index", place.index, -NUMBER_MAX, NUMBER_MAX)
        rank = validation.integer("rank", place.rank, -NUMBER_MAX, NUMBER_MAX)
        world_size = validation.integer("world_size", place.world_size, -NUMBER_MAX, NUMBER_MAX)
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
        if num_rows < world_size:
            return range(first + rank % num_rows, first + rank % num_rows + 1)
        return range(first + rank * num_rows // world_size, first + (rank + 1) * num_rows // world_size)

    def is_padding(self, place: "BatchSlice") -> bool:
        """Return True if a rank's slice repeats a row that another rank has, because there are more ranks than rows."""
        return place.rank >= self.num_rows(place.index)

    def num_rows(self, index: int) -> int:
        """Return the number of rows in one whole batch of an epoch: ``batch_size``, or fewer in a short last one."""
        return min(self.batch_size, self.epoch_rows - index * self.batch_size)


@dataclass(frozen=True, slots=True)
class BatchSlice:
    """Address of a part of a stream: one rank's slice of one batch of one epoch."""

    epoch: int
    index: int
    rank: int = 0
    world_size: int = 1
