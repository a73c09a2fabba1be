"""A scanned dataset without splits, seen as one with splits: the same records, each in the split it was given."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from augment import manifest
from augment.dataset import Dataset
from augment.formats import assemble


def divided(dataset: Dataset, names: Sequence[str], assigned: NDArray[np.int64]) -> Dataset:
    """The dataset with splits, held in memory; ``assigned`` is the place in ``names`` of each record's split.

    Keys, files, annotations and what the scan refused stay; the dataset's digest is another, since it counts splits.
    """
    records = pa.Table.from_batches(dataset.source.record_batches(), manifest.SCHEMA)
    order = sorted(range(len(names)), key=lambda i: names[i].encode())
    tables: dict[str | None, pa.Table] = {
        names[i]: records.filter(pa.array(assigned == i)).combine_chunks() for i in order
    }
    summary = replace(
        dataset.source.summary,
        digest=assemble.dataset_digest({name: table.to_batches(manifest.BATCH_ROWS) for name, table in tables.items()}),
        splits=assemble.split_summaries(tables),
    )
    refused = [(each.key, f"{each.reason}: {each.detail}") for each in dataset.source.refusals()]
    sink = pa.BufferOutputStream()
    manifest.write(
        sink,
        summary,
        (batch for table in tables.values() for batch in table.to_batches(manifest.BATCH_ROWS)),
        assemble.refused_rows(refused),
    )
    return Dataset.from_buffer(sink.getvalue())
