"""The cells of ``augment preview DATASET``: augmented copies of records spread evenly, with their targets drawn."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from augment.cli import options, terminal
from augment.errors import DatasetError, RecordError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from augment.cli.preview_mix import MixedCell
    from augment.dataset import Dataset
    from augment.document import JSON
    from augment.pipelines.spec import PipelineSpec
    from augment.sample import Rendered, Sample


@dataclass(frozen=True, slots=True)
class Cell:
    """One copy of a record."""

    key: str
    draw: int
    rendered: "Rendered"
    classes: tuple[str, ...]

    @property
    def sample(self) -> "Sample":
        return self.rendered.sample

    @property
    def label(self) -> str:
        """The record and what was done to it."""
        names = ", ".join(one.name.removeprefix("Random") or one.name for one in self.rendered.applied)
        lost = ", ".join(f"dropped {name}: {number}" for name, number in self.rendered.dropped.items())
        return f"{self.key} {self.draw}: {names or 'nothing applied'}{f' ({lost})' if lost else ''}"

    def as_json(self) -> dict[str, object]:
        return {"key": self.key, "draw": self.draw} | self.rendered.provenance.as_json()


def render(
    root: Path,
    spec: "PipelineSpec",
    *,
    references: "Mapping[str, Dataset] | None" = None,
    num: int,
    seed: int,
    split: str | None,
    data_format: str | None,
    as_json: bool,
) -> list[Cell]:
    """One copy of each of ``num`` records; of fewer records several copies. Records that are refused are left out.

    Raises PipelineError where the pipeline does not fit the dataset, DatasetError where every record is refused.
    """
    from augment.render import Renderer
    from augment.transforms import sizes

    dataset = options.scan(root, data_format, "leave_out", as_json=as_json).choose(split)
    smallest = dataset.min_size()
    sizes.check_fits(spec, smallest.height, smallest.width, dataset.targets, key=smallest.key)
    renderer = Renderer(dataset, spec, seed=seed, references=references)
    num_copies = -(-num // dataset.num_records)
    places = [cell * dataset.num_records * num_copies // num for cell in range(num)]
    cells, refused = [], None
    for place in places:
        record = dataset.record(place // num_copies)
        try:
            rendered = renderer.render(record, draw=place % num_copies)
        except RecordError as error:
            refused = error
            if not as_json:
                terminal.note(str(error))
            continue
        cells.append(Cell(record.key, place % num_copies, rendered, dataset.classes))
    if not cells:
        raise DatasetError(f"every record that was tried is refused, the last: {refused}; check the dataset")
    return cells


def draw(
    cells: "Sequence[Cell | MixedCell]", *, normalize: "Mapping[str, JSON] | None", title: str
) -> "NDArray[np.uint8]":
    """The grid; pictures are shown as they look when what ``normalize`` made of them is made pixels again."""
    from augment import sheet
    from augment.normalize import pictures
    from augment.overlay import Overlay

    return sheet.contact_sheet(
        [pictures.seen(cell.sample.image, normalize) for cell in cells],
        [cell.label for cell in cells],
        cell_px=320,
        title=title,
        overlays=[Overlay(cell.sample, cell.classes) for cell in cells],
    )
