"""Reference datasets that transforms take images from, each given by name as a dataset or a folder."""

import os
from collections.abc import Iterable, Mapping

from augment import validation
from augment.datasets.dataset import Dataset
from augment.errors import CallError
from augment.pipelines.spec import PipelineSpec
from augment.render.views import problems_of_view
from augment.scanning import scan
from augment.transforms.runtime import compiler
from augment.validation import did_you_mean

References = Mapping[str, Dataset | str | os.PathLike[str]]
"""Datasets, or paths of folders to scan, by the names that transforms use."""


def take(given: References | None, pipelines: Iterable[PipelineSpec], *, has_views: bool = False) -> dict[str, Dataset]:
    """Return the datasets that these pipelines name. Folders are scanned only after all names are known to be given.

    Raises PipelineError for each transform whose dataset is missing, with the position of the view if ``has_views``,
    and CallError for a name that no transform uses.
    """
    found: object = {} if given is None else given
    if not isinstance(found, Mapping):
        raise CallError(
            f"references is {validation.quoted(found)}; give a mapping of names to datasets, as {{'styles': FOLDER}}"
        )
    for name in found:
        validation.text("the name of references", name)
    specs = tuple(pipelines)
    for place, spec in enumerate(specs):
        with problems_of_view(place if has_views else None):
            compiler.check_references(spec, found)
    names = frozenset().union(*map(compiler.references_of, specs))
    for name in found:
        if name not in names:
            told = did_you_mean(name, names) or f"; they use {', '.join(sorted(names)) or 'none'}"
            raise CallError(f"references has {validation.quoted(name)}, which no transform uses{told}")
    return {name: scan.take(found[name]) for name in sorted(names)}
