"""A stream as global JAX arrays on the devices of a mesh: ``for batch in sharded_batches(stream, epoch): …``.

The array on all devices is the stream's batch, row by row, whatever the number of processes and devices.
"""

from collections import deque
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from augment.client.columns import check_columns, check_stream, columns_of
from augment.client.stream import ClientStream
from augment.client.transport import ClientError
from augment.samples.sample import Batch


def sharded_batches(
    stream: ClientStream,
    epoch: int,
    start: int = 0,
    stop: int | None = None,
    *,
    sharding: Sharding | None = None,
    columns: Sequence[str] | None = None,
    ahead: int = 1,
) -> Generator[dict[str, Any], None, None]:
    """Yield batches ``start`` to ``stop`` of an epoch as dictionaries of ``jax.Array`` by the wire's columns.

    ``sharding`` places the rows; without it, they are split evenly over all devices of all processes. It may name the
    batch axis alone, ``NamedSharding(mesh, PartitionSpec("batch"))``; other axes are not split. Each process fetches
    the rows of its own devices, if these are the rows of its ``jax.process_index()``, else the whole batch.

    ``columns`` chooses what a batch holds; without it, ``epoch`` and ``index`` (Python integers: where to go on after a
    stop is ``index + 1``) and all columns that are arrays. Images are uint8 (N, H, W, C) unless the stream was declared
    with another ``dtype`` or ``layout``; without ``jax_enable_x64``, 64 bits become 32. Columns of another size in each
    row (``boxes``) and text (``key``) must be named, and are lists for the rows that this process fetched.

    ``ahead`` batches are copied to the devices before they are asked for. ClientError if the devices cannot share the
    rows of a batch evenly.
    """
    check_stream(stream)
    names = check_columns(columns)
    placement = Placement(sharding or _all_devices(), stream.document)
    placement.check(start, stream.num_batches if stop is None else stop)
    batches = stream.epoch(epoch, start, stop, rank=placement.rank, world_size=placement.world_size)
    return _placed(batches, placement, names, ahead)


def _all_devices() -> Sharding:
    return NamedSharding(Mesh(np.array(jax.devices()), ("batch",)), PartitionSpec("batch"))


def _placed(
    batches: Generator[Batch, None, None], placement: "Placement", names: Sequence[str] | None, ahead: int
) -> Generator[dict[str, Any], None, None]:
    """Yield batches late by ``ahead``: their copies to the devices go on meanwhile."""
    waiting: deque[dict[str, Any]] = deque()
    with closing(batches):
        for batch in batches:
            waiting.append(placement.place(batch, names))
            if len(waiting) > ahead:
                yield waiting.popleft()
        yield from waiting


class Placement:
    """Rows of a stream's batches on the devices of a sharding, and the slice of them that this process fetches.

    ``rank`` and ``world_size`` are those of the process if its devices hold exactly the rows that the stream gives to
    that rank, else 0 and 1.
    """

    def __init__(self, sharding: Sharding, document: Mapping[str, Any]) -> None:
        self._sharding = sharding
        self._batch_size = int(document["batch_size"])
        self._num_rows = int(document["num_records"]) * int(document["repeats"])
        self.num_shards = sharding.num_devices // sharding.shard_shape((sharding.num_devices,))[0]
        self.rank, self.world_size = 0, 1
        rank, world_size = jax.process_index(), jax.process_count()
        if self.num_shards % world_size == 0:
            rows = range(rank * self.num_shards // world_size, (rank + 1) * self.num_shards // world_size)
            shards = sharding.addressable_devices_indices_map((self.num_shards,)).values()
            if {shard[0].indices(self.num_shards)[0] for shard in shards} == set(rows):
                self.rank, self.world_size = rank, world_size

    def check(self, start: int, stop: int) -> None:
        """Raise ClientError unless the shards are equal in each of these batches."""
        for index in {start, stop - 1}:
            num_rows = self._rows(index)
            if num_rows % self.num_shards:
                raise ClientError(
                    f"batch {index} has {num_rows} rows, which {self.num_shards} shards cannot share evenly; declare "
                    f"the stream with drop_last=True and a batch_size that is a multiple of {self.num_shards}"
                )

    def _rows(self, index: int) -> int:
        """Return the rows of a whole batch: fewer in a short last one."""
        return min(self._batch_size, self._num_rows - index * self._batch_size)

    def place(self, batch: Batch, names: Sequence[str] | None) -> dict[str, Any]:
        """Return the columns of a batch as global arrays; columns that are lists as they are."""
        address = {"epoch": batch.epoch, "index": batch.index}
        found = columns_of(batch, None if names is None else [name for name in names if name not in address])
        num_rows = self._rows(batch.index)
        first = self.rank * num_rows // self.world_size
        placed = {
            name: self._array(values, num_rows, first) if isinstance(values, np.ndarray) else values
            for name, values in found.items()
        }
        if names is None:
            return address | {name: values for name, values in placed.items() if isinstance(values, jax.Array)}
        return {name: address[name] if name in address else placed[name] for name in names}

    def _array(self, local: np.ndarray[Any, Any], num_rows: int, first: int) -> Any:
        """Return the global array whose rows from ``first`` on are ``local``."""
        values = local.astype(jax.dtypes.canonicalize_dtype(local.dtype), copy=False)

        def shard(index: tuple[slice, ...]) -> np.ndarray[Any, Any]:
            start, stop, _ = index[0].indices(num_rows)
            return values[start - first : stop - first]

        return jax.make_array_from_callback((num_rows, *local.shape[1:]), self._sharding, shard)
