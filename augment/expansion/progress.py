"""Progress of a run, counted shard by shard: for the progress bar, the budget of failures and the summary."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from augment.errors import DatasetError
from augment.expansion.lock import Counts
from augment.expansion.spec import ExpansionSpec
from augment.samples.sample import Refusal
from augment.validation import FailureBudget

_REFUSALS_TOLD = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCounts:
    """Counts of new images (``num_kept``: of old ones), which can be added. ``size_bytes`` is that of all files.

    ``num_copied`` are those of splits copied unchanged. ``num_described`` counts annotation files that were written
    again for all images, or for images that were kept.
    """

    num_rendered: int = 0
    num_originals: int = 0
    num_copied: int = 0
    num_kept: int = 0
    num_described: int = 0
    size_bytes: int = 0

    def __add__(self, other: "FileCounts") -> "FileCounts":
        names = [field.name for field in fields(FileCounts)]
        return FileCounts(**{name: getattr(self, name) + getattr(other, name) for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardResult(FileCounts):
    """Result of a shard; ``num_outputs`` counts towards the expansion's total."""

    num_outputs: int
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a run, in outputs.

    ``done`` includes kept outputs and those of refused records, so that it reaches ``total``. ``failed`` counts records
    and files that are left out.
    """

    done: int
    total: int
    kept: int
    failed: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary(FileCounts):
    """Result of a run; ``refusals`` are the first thousand, ``notices`` those of the dataset and the declaration."""

    id: str
    out: Path
    num_removed: int
    num_refused: int
    refusals: tuple[Refusal, ...]
    notices: tuple[str, ...] = ()

    @property
    def nothing_to_do(self) -> bool:
        """True if the folder was already complete."""
        written = self.num_rendered + self.num_originals + self.num_copied + self.num_described
        return written == self.num_removed == 0


class Tally:
    """Running total of the results of shards.

    ``left`` are the files that the scan left out; the failure budget counts them and the records. Each method but
    ``told`` and ``summary`` raises DatasetError once more are left out than allowed.
    """

    def __init__(
        self, spec: ExpansionSpec, budget: FailureBudget, left: Sequence[Refusal], progress: Callable[[Progress], None]
    ) -> None:
        self._spec = spec
        self._budget = budget
        self._num_files = sum(part.num_records for part in spec.parts) + len(left)
        self._progress = progress
        self._done = 0
        self._shown = 0
        self._counts = FileCounts()
        self._num_refused = 0
        self._refusals: list[Refusal] = []
        self._check(len(left), left)

    def _check(self, num_refused: int, refusals: Sequence[Refusal] = (), *, so_far: str = "") -> None:
        """Raise DatasetError beyond the budget. ``so_far`` is the key of a record that an unfinished shard refused."""
        if self._budget.allows(num_refused, self._num_files):
            return
        told = "".join(f"; the first is {one.key} ({one.reason}: {one.detail})" for one in refusals[:1])
        raise DatasetError(
            f"{num_refused} records and files are left out{' so far' if so_far else ''} and max_failures is "
            f"{self._budget.max_failures}{f'; one is {so_far}' if so_far else told}; fix or remove them, or allow more"
        )

    def add(self, result: ShardResult) -> None:
        """Count a finished shard."""
        self._done += result.num_outputs
        self._counts += result
        self._num_refused += len(result.refusals)
        self._refusals += result.refusals[: _REFUSALS_TOLD - len(self._refusals)]
        self._check(self._num_refused, self._refusals)

    def show(self, under_way: Sequence[Counts], named: Callable[[int], str] = str) -> None:
        """Report the progress, including that of unfinished shards.

        ``named`` returns the key of a refused record by the index in ``under_way`` of the counts that name it.
        """
        # progress never goes back, though a shard whose worker died starts again
        self._shown = max(self._shown, self._done + sum(each.num_outputs for each in under_way))
        num_refused = self._num_refused + sum(each.num_refused for each in under_way)
        for i, each in enumerate(under_way):
            if each.num_refused:
                self._check(num_refused, so_far=named(i))
        self._progress(
            Progress(
                done=self._shown,
                total=self._spec.num_outputs,
                kept=self._counts.num_kept,
                failed=num_refused,
                size_bytes=self._counts.size_bytes + sum(each.size_bytes for each in under_way),
            )
        )

    def told(self) -> str:
        """Return the progress as text, for the message of the error that ended the run."""
        counts = self._counts
        num_files = counts.num_rendered + counts.num_originals + counts.num_copied + counts.num_kept
        if not num_files:
            return f"none of {self._spec.num_outputs} outputs is finished"
        left = (self._spec.num_outputs - self._done) * counts.size_bytes / num_files
        return (
            f"{self._done} of {self._spec.num_outputs} outputs are finished and stay, about {left / 1e6:.1f} MB are "
            "still to be written"
        )

    def summary(self, out: Path, num_removed: int, num_closing: int) -> Summary:
        """Return the summary; ``num_closing`` are the files written last."""
        return Summary(
            id=self._spec.id,
            out=out,
            num_removed=num_removed,
            num_refused=self._num_refused,
            refusals=tuple(self._refusals),
            **asdict(self._counts + FileCounts(num_described=num_closing)),
        )
