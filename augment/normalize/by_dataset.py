"""A method whose numbers are those of the split that is read: known once a stream is declared, and not before."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.document import JSON
from augment.errors import CallError
from augment.normalize.methods import Normalization
from augment.normalize.statistics import DATASET


@dataclass(frozen=True, slots=True)
class ByDataset(Normalization):
    """The rest of the section, without ``mean`` and ``std``. It has a canonical form and no floats."""

    rest: Mapping[str, JSON]

    def canonical(self) -> dict[str, JSON]:
        return {**self.rest, "statistics": DATASET}

    def table(self, image: NDArray[np.uint8], dtype: np.dtype[Any]) -> NDArray[Any]:  # noqa: ARG002
        raise _unknown()

    def denormalise(self, image: NDArray[np.floating]) -> NDArray[np.uint8]:  # noqa: ARG002
        raise _unknown()


def _unknown() -> CallError:
    return CallError(
        f"`statistics: {DATASET}` has no numbers without a dataset: take the section of a stream (its document has "
        "them), or write the mean and std that `augment stats` prints"
    )
