"""The cells of ``augment preview DATASET --mix``: a batch of a stream, its rows mixed, their targets drawn."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from augment.cli import options, terminal

if TYPE_CHECKING:
    from augment.dataset import Dataset
    from augment.mixing.mix import Mix
    from augment.sample import Provenance, Sample
    from augment.transforms.load import Pipeline

_CLASSES_SHOWN = 3
"""In a caption, the heaviest first; mixed rows of pictures with one class have two."""


@dataclass(frozen=True, slots=True)
class MixedCell:
    """One row of a mixed batch."""

    key: str
    position: int
    sample: "Sample"
    provenance: "Provenance"
    classes: tuple[str, ...]

    @property
    def label(self) -> str:
        """What it is labelled as, how much of it is its own, and what was mixed into it."""
        weights = sorted(self.weights().items(), key=lambda item: -item[1])
        names = ", ".join(f"{name} {weight:.2f}" for name, weight in weights[:_CLASSES_SHOWN])
        mixed = self.provenance.mixed
        what = "not mixed" if mixed is None else mixed.name if names else f"{mixed.name} {mixed.weight:.2f}"
        records = self.key if mixed is None else f"{self.key} with {mixed.partner}"
        return f"{names + ': ' if names else ''}{what}, {records}"

    def weights(self) -> dict[str, float]:
        """The classes that have any weight."""
        given = [] if self.sample.labels is None else self.sample.labels.tolist()
        return {name: weight for name, weight in zip(self.classes, given, strict=False) if weight}

    def as_json(self) -> dict[str, object]:
        labelled = {} if self.sample.labels is None else {"label_weights": self.weights()}
        return {"key": self.key, "position": self.position} | labelled | self.provenance.as_json()


def parse(text: str) -> "Mix":
    """What ``--mix`` says: a name, or YAML or JSON; raises PipelineError."""
    from augment import document
    from augment.mixing.parse import parse as parse_mix

    return parse_mix(document.parse(text, lenient=True))


def render(
    root: Path,
    pipeline: "Pipeline",
    mix: "Mix",
    *,
    references: "Mapping[str, Dataset]",
    num: int,
    seed: int,
    split: str | None,
    data_format: str | None,
    as_json: bool,
) -> list[MixedCell]:
    """The first batch of the stream that these say, of ``num`` rows or as many as there are records.

    Raises PipelineError where pipeline or mix do not fit the dataset, DatasetError where records are refused and so are
    all that might take their places.
    """
    from augment import stacking
    from augment.stream import Stream

    dataset = options.scan(root, data_format, "leave_out", as_json=as_json)
    num_rows = min(num, dataset.choose(split).num_records)
    stream = Stream(
        dataset,
        pipeline,
        batch_size=num_rows,
        seed=seed,
        split=split,
        mix=mix.canonical(),
        references=references,
    )
    batch = stream.batch(0, 0)
    if not as_json:
        for refusal in batch.refusals:
            terminal.note(f"{refusal.key}: {refusal.reason}: {refusal.detail}")
    places = batch.positions.tolist()
    return [
        MixedCell(batch.keys[row], places[row], stacking.sample(batch, row), batch.provenance[row], dataset.classes)
        for row in range(len(batch))
    ]
