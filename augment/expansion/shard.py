"""One shard of an expansion: a fixed range of records of one split becomes files and a part of the manifest.

A shard may be done again at any time, by any process: what is there and right is kept, the rest is made.
"""

import bisect
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from augment import engine
from augment.dataset import Dataset
from augment.errors import OutputError, Reason
from augment.expansion import folder, lock, manifest
from augment.expansion.manifest import Row, Status
from augment.expansion.shard_work import FileWork, PackWork, ShardWork
from augment.expansion.spec import ExpansionSpec, Shard
from augment.expansion.splits import views
from augment.formats import registry
from augment.render import Renderer, RenderSource
from augment.sample import Refusal
from augment.workers.task import Guard


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What became of a shard, counted in pictures. ``size_bytes`` is that of all its files, kept ones too.

    ``num_outputs`` counts towards the expansion's total; ``num_copied`` are new pictures of splits that pass through,
    ``num_described`` new annotation files beside pictures that were kept.
    """

    index: int
    num_outputs: int
    num_rendered: int
    num_originals: int
    num_copied: int
    num_kept: int
    num_described: int
    size_bytes: int
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class ShardTask:
    """Bring one shard of the expansion in the folder ``root`` to its end.

    ``run_name`` is the file of the run there; ``refused`` are files that the scan left out and this part is to name,
    each with the split that its row has.
    """

    source: RenderSource
    spec: ExpansionSpec
    root: Path
    run_name: str
    index: int
    refused: tuple[tuple[str | None, Refusal], ...] = ()

    def run(self, guard: Guard) -> ShardResult:
        """Render what is missing, then put the manifest part in place.

        Where that fails for any reason (a full disk, the end of the run), what was written is removed again.
        """
        shard = self.spec.shard(self.index)
        with lock.seat(self.root, self.run_name, self.index) as seat:
            renderer = source_of(self.source, shard).renderer()
            check_renderer(renderer, self.spec, shard)
            kind = PackWork if registry.FORMATS[self.spec.format].PACKS else FileWork
            work = kind(self.root, self.spec, shard, renderer, guard, seat, self.refused)
            work.do()
        return _result(work)


def source_of(source: RenderSource, shard: Shard) -> RenderSource:
    """What renders the records of the shard's split."""
    return replace(source, split=shard.part.split)


def _result(work: ShardWork) -> ShardResult:
    originals = sum(copy is None for _, copy in work.made)
    copied = work.shard.part.copied
    return ShardResult(
        work.shard.index,
        num_outputs=num_outputs(work.spec, work.shard, work.rows),
        num_rendered=len(work.made) - originals,
        num_originals=0 if copied else originals,
        num_copied=originals if copied else 0,
        num_kept=sum(row.path is not None for row in work.rows) - len(work.made),
        num_described=work.num_described,
        size_bytes=_size_bytes(work.rows),
        refusals=tuple(_refusals(work.rows)),
    )


def settled(root: Path, spec: ExpansionSpec, index: int) -> ShardResult | None:
    """The result of a shard that is finished and whose files are all there as they were written, else None."""
    rows = manifest.read_part(root, index, spec.id, brief=True)
    if rows is None:
        return None
    since_ns = folder.changed_ns(root, manifest.part_name(index))
    files = {file for row in rows for file in row.on_disk()}
    if not all(folder.has_output(root, each.path, each.size_bytes, each.digest, since_ns) for each in files):
        return None
    return ShardResult(
        index,
        num_outputs=num_outputs(spec, spec.shard(index), rows),
        num_rendered=0,
        num_originals=0,
        num_copied=0,
        num_kept=sum(row.path is not None for row in rows),
        num_described=0,
        size_bytes=_size_bytes(rows),
        refusals=tuple(_refusals(rows)),
    )


def refused_at_scan(dataset: Dataset, spec: ExpansionSpec) -> Mapping[int, tuple[tuple[str | None, Refusal], ...]]:
    """The files that the scan left out, by the shard among whose keys their names fall, with the splits of their rows.

    What lies in no split is told by the first shard, under its whole path.
    """
    refusals: dict[int, list[tuple[str | None, Refusal]]] = defaultdict(list)
    first_shard = 0
    inside: set[str] = set()
    for part, view in views(dataset, spec.parts):
        first_keys = view.keys(range(0, view.num_records, spec.shard_size))
        split = spec.folder(part)
        for refusal in view.refused:
            shard = first_shard + max(bisect.bisect_right(first_keys, refusal.key) - 1, 0)
            refusals[shard].append((split, refusal))
            inside.add(refusal.key if split is None else f"{split}/{refusal.key}")
        first_shard += len(first_keys)
    if spec.has_folders and spec.copy_splits:
        refusals[0] += [(None, each) for each in dataset.refused if each.key not in inside]
    return {index: tuple(some) for index, some in refusals.items() if some}


def check_renderer(renderer: Renderer, spec: ExpansionSpec, shard: Shard) -> None:
    """Raise OutputError where this process would render something else than the expansion describes."""
    here = (engine.engine_id(), renderer.spec.digest, renderer.seed, renderer.dataset.num_records)
    if here != (spec.engine, spec.pipeline_digest, spec.seed, shard.part.num_records):
        raise OutputError("a worker has another engine or dataset than the expansion; install one version everywhere")


def num_outputs(spec: ExpansionSpec, shard: Shard, rows: Iterable[Row]) -> int:
    """Pictures of a shard that count towards the expansion's total, those of refused records too."""
    records = {row.key: row.class_name for row in rows if row.record_digest is not None}
    return sum(spec.outputs_of(shard.part, key, class_name) for key, class_name in records.items())


def _size_bytes(rows: Iterable[Row]) -> int:
    return sum(each.size_bytes for each in {file for row in rows for file in row.on_disk()})


def _refusals(rows: Sequence[Row]) -> Iterator[Refusal]:
    for row in rows:
        if row.status == Status.REFUSED and row.reason is not None:
            key = row.key if row.split is None else f"{row.split}/{row.key}"
            yield Refusal(key, Reason(row.reason), row.detail or "")
