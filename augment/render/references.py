"""The datasets that transforms of a pipeline take images of: given by name, each found in a folder or as it is."""

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
"""Datasets, or paths of folders to be scanned, by the names that transforms call them by."""


def take(given: References | None, pipelines: Iterable[PipelineSpec], *, has_views: bool = False) -> dict[str, Dataset]:
    """The datasets that these pipelines name; folders are scanned once it is known that none lacks.

    Raises PipelineError for each transform whose dataset is not given, with the place of the view where pipelines are
    those of views, and CallError for a name that no transform has.
    """
    found: object = {} if given is None else given
    if not isinstance(found, Mapping):
        raise CallError(f"references is {validation.quoted(found)}; give datasets by name, as {{'styles': FOLDER}}")
    for name in found:
        validation.text("the name of references", name)
    specs = tuple(pipelines)
    for place, spec in enumerate(specs):
        with problems_of_view(place if has_views else None):
            compiler.check_references(spec, found)
    names = frozenset().union(*map(compiler.references_of, specs))
    for name in found:
        if name not in names:
            told = did_you_mean(name, names) or f"; they take those of {', '.join(sorted(names)) or 'none'}"
            raise CallError(f"references has {validation.quoted(name)}, whose images no transform takes{told}")
    return {name: scan.take(found[name]) for name in sorted(names)}
