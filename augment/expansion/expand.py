"""Offline augmentation: copies of every record of a dataset, written to a folder with a manifest.

    describe and check -> lock the folder -> undo what a kill left -> shards, by workers -> remove what is stale
    -> write what describes all of it

The folder itself is the durable state (``expansion/folder.py``). The same command resumes an interrupted run, and the
files are those of an uninterrupted one. Workers get the datasets in memory files that last as long as the work.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from augment import user_state, validation
from augment.datasets.dataset import Dataset
from augment.errors import StorageError, WorkerError
from augment.expansion import dataset_files, folder, lock, manifest, shard
from augment.expansion.manifest import PathSet
from augment.expansion.names import Names
from augment.expansion.options import Copies, ExpansionKeywords, ExpansionOptions
from augment.expansion.plan import Plan, SizeTask, There, look
from augment.expansion.progress import Progress, ShardResult, Summary, Tally
from augment.expansion.shard import ShardTask
from augment.expansion.spec import ExpansionSpec, changes_since, check_same, checked, describe, left_out
from augment.expansion.splits import check_leaks, divide, views
from augment.pipelines.spec import PipelineSpec
from augment.render.pipeline import Pipeline
from augment.render.references import References, take
from augment.render.renderer import ReferenceSource, RenderSource
from augment.scanning import scan
from augment.transforms import sizes
from augment.validation import FailureBudget
from augment.workers import task
from augment.workers.files import MemoryFile
from augment.workers.task import Task, Workers


def source(
    spec: ExpansionSpec,
    pipeline: PipelineSpec,
    dataset: Dataset,
    references: Mapping[str, Dataset],
    stack: contextlib.ExitStack,
) -> RenderSource:
    """Return the source that an expansion is rendered from; it is valid until the stack is closed."""
    return RenderSource(
        manifest=_shared(dataset, stack),
        dataset_digest=spec.dataset,
        split=spec.split,
        spec=pipeline,
        seed=spec.seed,
        references=tuple(ReferenceSource(name, _shared(each, stack), each.digest) for name, each in references.items()),
    )


def _shared(dataset: Dataset, stack: contextlib.ExitStack) -> Path:
    file = stack.enter_context(MemoryFile("dataset"))
    file.write(dataset.to_buffer())
    return file.path


def expand_dataset(
    dataset: Dataset | str | os.PathLike[str],
    out: str | os.PathLike[str],
    pipeline: Pipeline | PipelineSpec | str | os.PathLike[str] | None = None,
    *,
    references: References | None = None,
    workers: Workers | None = None,
    progress: Callable[[Progress], None] | None = None,
    **options: Unpack[ExpansionKeywords],
) -> Summary:
    """Describe an expansion and run it: see ``Expansion`` and ``Expansion.run``."""
    return Expansion(dataset, out, pipeline, references=references, **options).run(workers, progress=progress)


class Expansion:
    """A dataset, a pipeline and an output folder, checked against one another. Nothing is written yet.

    ``dataset`` is a Dataset or the path of a folder, which is scanned; ``pipeline`` a pipeline, the name of a preset or
    the path of a file; only an expansion without copies may omit it. ``references`` are datasets, or paths of folders,
    by the names that transforms use. Fields of ``ExpansionOptions`` may be given as keyword arguments; they override
    those of ``options``.

    Raises OutputError if one folder is inside the other; DatasetError if two outputs would have one name, the format
    cannot hold a target, or an augmented split shares images with another one (unless ``allow_leaks``); PipelineError
    if the pipeline does not fit the dataset; CallError for arguments out of range.
    """

    def __init__(
        self,
        dataset: Dataset | str | os.PathLike[str],
        out: str | os.PathLike[str],
        pipeline: Pipeline | PipelineSpec | str | os.PathLike[str] | None = None,
        options: ExpansionOptions | None = None,
        *,
        references: References | None = None,
        **named: Unpack[ExpansionKeywords],
    ) -> None:
        # Check everything that needs no dataset before a scan that may take minutes.
        self.out = validation.path("out", out).absolute()
        options = self.options = checked(replace(options or ExpansionOptions(), **named))
        if not isinstance(dataset, Dataset):
            dataset = validation.path("dataset", dataset, "an augment.Dataset or the path of a folder").absolute()
        root = dataset.root if isinstance(dataset, Dataset) else dataset
        folder.check_place(self.out, root)
        folder.check_ours(self.out)
        self.pipeline = _pipeline(pipeline, options.copies)
        self._references = take(references, [self.pipeline])
        for each in self._references.values():
            folder.check_place(self.out, each.root)
        self.dataset = scan.take(dataset)
        division = divide(self.dataset, options.split, options.augment_splits, copy_splits=options.copy_splits)
        if not options.allow_leaks:
            check_leaks(self.dataset, division)
        self.notices: tuple[str, ...] = self.dataset.notices
        if options.copies != 0:
            for part, view in views(self.dataset, division.parts):
                if not part.copied:
                    self.notices += sizes.check_dataset(self.pipeline, view)
        self.spec = describe(self.dataset, division, self.pipeline, options, self._references)
        num_crowds = self.dataset.source.summary.num_crowds
        if num_crowds and "boxes" in self.spec.targets and not scan.FORMATS[self.spec.format].tells_crowds:
            crowds = "1 crowd" if num_crowds == 1 else f"{num_crowds:,} crowds"
            self.notices += (
                f"{self.spec.format} cannot mark {crowds} (iscrowd) of the dataset: written as any object",
            )
        self._names = Names(self.dataset, self.spec)
        self._names.check()

    @property
    def id(self) -> str:
        """Digest of the expansion: equal if all files are equal."""
        return self.spec.id

    def plan(self, workers: Workers | None = None) -> Plan:
        """Return what a run would do, with an estimate of the bytes from a few rendered records. Nothing is written.

        Raises OutputError if a run would.
        """
        workers = validation.workers("workers", workers)
        old = ExpansionSpec.read(self.out)
        if old is not None:
            check_same(old, self.spec, self.out, update=self.options.update, dataset=self.dataset)
            self._check_places(old)
        with contextlib.ExitStack() as stack:
            render = source(self.spec, self.pipeline, self.dataset, self._references, stack)
            measured = task.submit(workers, SizeTask(render, self.spec)).result()
        if old is None:
            return Plan.of(self.spec, self.dataset, self.out, measured, There(), None)
        there = look(self.out, old, self.spec, self.pipeline, self.dataset, self._names)
        changed = changes_since(self.out, old, self.spec, self.dataset)
        return Plan.of(self.spec, self.dataset, self.out, measured, there, changed)

    def run(self, workers: Workers | None = None, *, progress: Callable[[Progress], None] | None = None) -> Summary:
        """Complete the expansion in the folder; valid outputs are kept.

        A folder that holds this expansion of an earlier state of the dataset needs the option ``update``. Without
        ``workers`` all is rendered in this process, and an image that crashes a decoder crashes it. ``progress`` is
        called a few times a second from this thread.

        Raises OutputError if the folder is another's or another run works in it; StorageError if the disk is full or
        fails; WorkerError; DatasetError beyond ``max_failures``. After each, and after Ctrl-C or a kill, the same call
        resumes.
        """
        workers = validation.workers("workers", workers)
        progress = validation.function("progress", progress) or (lambda _: None)
        left = tuple(left_out(self.dataset, self.spec))
        tally = Tally(self.spec, FailureBudget(self.options.max_failures), left, progress)
        with lock.locked(self.out):
            folder.check_ours(self.out)
            self._prepare()
            this_run = lock.Run(self.out, self.spec.num_shards)
            try:
                with contextlib.ExitStack() as stack, this_run:
                    render = source(self.spec, self.pipeline, self.dataset, self._references, stack)
                    self._render(workers, render, this_run, tally)
            except BaseException as error:
                self._undo_unfinished(this_run)
                if isinstance(error, StorageError | WorkerError):
                    raise type(error)(f"{tally.told()}: {error}") from error
                raise
            num_removed = self._remove_stale()
            num_closing = dataset_files.write(self.out, self.spec, lambda: tally.show(()))
        for each in (self.dataset, *self._references.values()):
            user_state.remember(each.digest, each.root, each.source.summary.ignore)
        return replace(tally.summary(self.out, num_removed, num_closing), notices=self.notices)

    def _prepare(self) -> None:
        """Undo what a killed run left, and make the folder this expansion's.

        A kill may follow any step. Until the description is replaced the folder is the old expansion's with all its
        parts. Afterwards it is the new one's, without parts, and ``previous`` knows the old outputs.
        """
        old = ExpansionSpec.read(self.out)
        update = self.options.update
        same = old is not None and check_same(old, self.spec, self.out, update=update, dataset=self.dataset)
        lock.end_runs(self.out)
        if old is not None:
            _undo_shards(self.out, old)
        folder.remove_temporaries(self.out)
        if old is not None:
            self._check_places(old)
        if old is not None and not same:
            dataset_files.remove(self.out, old)
            manifest.keep_previous(self.out, old.num_shards, old.id)
        if not same:
            text = self.spec.to_json().encode()
            folder.place(self.out, folder.DESCRIPTION, text, temporary="description", durable=True)

    def _check_places(self, old: ExpansionSpec) -> None:
        """Raise OutputError if a file that no expansion here wrote has an output's path."""
        known = [manifest.path_set(self.out, old.num_shards, old.id)]
        if (previous := manifest.Previous.open(self.out)) is not None:
            known.append(PathSet(previous.paths()))
        whole = old.id != self.spec.id and not manifest.is_damaged(self.out, old.num_shards, old.id)
        self._names.check_places(self.out, known, whole=whole)

    def _render(self, workers: Workers | None, source: RenderSource, this_run: lock.Run, tally: Tally) -> None:
        def show(under_way: Sequence[Task[ShardResult]]) -> None:
            indices = [task.index for task in under_way if isinstance(task, ShardTask)]
            counts = [this_run.counts(index) for index in indices]
            tally.show(counts, lambda i: self._key(indices[i], counts[i].refused))

        work = self._unfinished(source, this_run, tally)
        with contextlib.closing(task.run_all(workers, work, show)) as results:
            for result in results:
                tally.add(result)
        tally.show(())

    def _key(self, index: int, place: int) -> str:
        """Return the key of a shard's record, by its index in the shard's split."""
        ((_, view),) = views(self.dataset, [self.spec.shard(index).part])
        return view.keys([place])[0]

    def _unfinished(self, source: RenderSource, this_run: lock.Run, tally: Tally) -> Iterator[ShardTask]:
        refused = shard.refused_at_scan(self.dataset, self.spec)
        for index in range(self.spec.num_shards):
            settled = shard.settled(self.out, self.spec, index)
            if settled is None:
                yield ShardTask(source, self.spec, self.out, this_run.path.name, index, refused.get(index, ()))
            else:
                tally.add(settled)
                tally.show(())

    def _undo_unfinished(self, this_run: lock.Run) -> None:
        """Remove the outputs of shards whose workers died. If that fails too, the next run does it."""
        if this_run.is_over:
            with contextlib.suppress(StorageError):
                _undo_shards(self.out, self.spec)
                folder.remove_temporaries(self.out)

    def _remove_stale(self) -> int:
        """Remove outputs of deleted records, surplus parts, and the former rows after an update.

        Returns their number.
        """
        previous = manifest.Previous.open(self.out)
        if previous is None:
            return 0
        current = manifest.path_set(self.out, self.spec.num_shards, self.spec.id)
        num_removed = sum(len(current.missing(paths)) for paths in previous.images())
        for paths in previous.paths():
            for path in current.missing(paths):
                folder.remove(self.out, path)
        for name in manifest.part_names(self.out)[self.spec.num_shards :]:
            folder.remove(self.out, name)
        folder.remove(self.out, folder.PREVIOUS)
        return num_removed


def _pipeline(pipeline: Pipeline | PipelineSpec | str | os.PathLike[str] | None, copies: Copies) -> PipelineSpec:
    if pipeline is None and copies == 0:
        return PipelineSpec(())  # nothing is augmented
    return Pipeline.take(pipeline).spec


def _undo_shards(out: Path, spec: ExpansionSpec) -> None:
    """Remove the files of shards that have no part in the manifest."""
    folder.recover(out, lambda index: manifest.read_part(out, index, spec.id, brief=True) is not None)
