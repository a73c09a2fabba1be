"""One job's expansion: described and checked for a client, and run in a thread of its own.

A run is ``augment.expand.Expansion.run``, as the command line calls it; it can be told to stop at any time, and leaves
a folder from which the next one goes on, whoever runs it.
"""

import threading
import time
from pathlib import Path

from augment.expand import Expansion
from augment.expansion import folder
from augment.expansion.spec import ExpansionSpec, check_same
from augment.expansion.tally import Budget, Progress, Summary
from augment.transforms import check
from augment.transforms.load import Pipeline
from augment.workers.task import Workers
from service import referred
from service.datasets import Datasets
from service.errors import NoRoomError
from service.home import folder_bytes
from service.job_table import JobWanted
from service.quota import Quota

_MEASURE_S = 60.0
"""How often a run measures the home anew: uploads and other jobs fill it too."""


class StoppedRun(BaseException):
    """A run was told to stop. No Exception: like Ctrl-C it is no failure of anything."""


class Run:
    """What a client may see of a run, and how to stop it; safe between threads."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Ask the run to end; it does a few times a second, and its workers stop before their next record."""
        self._stopped.set()

    @property
    def is_stopped(self) -> bool:
        """Whether it was asked to end."""
        return self._stopped.is_set()

    def check(self) -> None:
        """Raise StoppedRun once the run was asked to end."""
        if self.is_stopped:
            raise StoppedRun

    def __call__(self, expansion: Expansion, wanted: JobWanted, workers: Workers, room: "Room") -> Summary:
        """Bring the folder to the expansion's end; raises what ``Expansion.run`` does, StoppedRun, NoRoomError."""

        def note(progress: Progress) -> None:
            self.progress = progress
            self.check()
            room.check(progress.size_bytes)

        self.check()
        return expansion.run(workers, update=wanted.update, max_failures=wanted.max_failures, progress=note)


class Room:
    """What AUGMENT_MAX_HOME_BYTES leaves to one output; of one thread."""

    def __init__(self, quota: Quota, out: Path) -> None:
        self._quota = quota
        self._out = out
        self._others = 0
        self._measure_at = 0.0

    def check(self, size_bytes: int) -> None:
        """Raise NoRoomError where an output of so many bytes has no room beside all others."""
        now = time.monotonic()
        if now >= self._measure_at:
            self._others = self._quota.used_bytes() - folder_bytes(self._out)
            self._measure_at = now + _MEASURE_S
        if self._others + size_bytes >= self._quota.max_bytes:
            raise NoRoomError(
                f"the home would hold more than {self._quota.max_bytes} bytes (AUGMENT_MAX_HOME_BYTES): {size_bytes} "
                f"in this output and {self._others} beside it; delete datasets or outputs, or raise the limit, then "
                "resume"
            )


def describe(datasets: Datasets, out: Path, wanted: JobWanted) -> Expansion:
    """The expansion, checked against dataset, pipeline and folder; nothing is written. It reads the disk.

    Raises NotFoundError, ConflictError, PipelineError, CallError, and OutputError where the folder is another's.
    """
    pipeline = None if wanted.pipeline is None else Pipeline(check.resolve(wanted.pipeline))
    if pipeline is not None:
        referred.check(datasets, pipeline.spec)
    expansion = Expansion(
        datasets.get(wanted.dataset),
        out,
        pipeline,
        copies=wanted.copies,
        seed=wanted.seed,
        split=wanted.split,
        augment_splits=wanted.augment_splits,
        copy_splits=wanted.copy_splits,
        allow_leaks=wanted.allow_leaks,
        include_originals=wanted.include_originals,
        output_format=wanted.output_format,
        drop_targets=wanted.drop_targets,
        image_format=wanted.image_format,
        quality=wanted.quality,
        references={name: datasets.get(name) for name in wanted.references},
    )
    Budget(wanted.max_failures, expansion.num_files)  # raises where it is none
    text = folder.read_text(out, folder.DESCRIPTION)
    if text is not None:
        check_same(ExpansionSpec.from_json(text, folder.DESCRIPTION), expansion.spec, out, update=wanted.update)
    return expansion
