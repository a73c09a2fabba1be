"""Views of a stream: one pipeline, or several for each record."""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from augment import validation
from augment.errors import CallError, problems_below
from augment.pipelines.spec import PipelineSpec
from augment.render.pipeline import Pipeline

VIEWS_MAX: Final = 64
"""Most images of one record in a row; DINO (Caron et al. 2021) takes 2 global and up to 10 local ones."""

_MEMBERS: Final = ("pipeline", "count")


@dataclass(frozen=True, slots=True)
class View:
    """``count`` views through one pipeline, each a separate draw because its number is in the address."""

    pipeline: Pipeline
    count: int = 1


def take_views(pipeline: object, views: Sequence[object] | None) -> tuple[View, ...]:
    """Return the views of a stream from a pipeline or a list of views, never both.

    A view is anything that ``Pipeline.take`` takes, or a mapping with ``pipeline`` and ``count``. Raises CallError, and
    PipelineError with the position below ``views``.
    """
    if pipeline is not None and views is not None:
        raise CallError("pipeline and views are both given; `views` replaces `pipeline`, leave one out")
    if pipeline is None and views is None:
        raise CallError(
            "pipeline is None; give an augment.Pipeline, the name of a preset or the path of a file, or `views`, a "
            "list of them"
        )
    if views is None:
        return (View(Pipeline.take(pipeline)),)
    given: object = views
    if isinstance(given, str | Mapping) or not isinstance(given, Sequence) or not given:
        raise CallError(
            f"views is {validation.quoted(given)}; give a list such as [{{'pipeline': 'simclr', 'count': 2}}]"
        )
    found = tuple(_view(each, i) for i, each in enumerate(views))
    if (total := sum(view.count for view in found)) > VIEWS_MAX:
        raise CallError(f"views add up to {total}, a row may have {VIEWS_MAX} (VIEWS_MAX); lower a count")
    return found


def problems_of_view(place: int | None) -> AbstractContextManager[None]:
    """Prefix the problems of a pipeline with its position below ``views``; None means it is the only pipeline."""
    return problems_below(*(() if place is None else ("views", place, "pipeline")))


def _view(given: object, place: int) -> View:
    if not isinstance(given, Mapping):
        given = {"pipeline": given}
    if unknown := [name for name in given if name not in _MEMBERS]:
        raise CallError(f"views.{place} has {validation.quoted(unknown[0])}; a view has pipeline and count")
    count = validation.integer(f"views.{place}.count", given.get("count", 1), 1, VIEWS_MAX)
    pipeline = given.get("pipeline")
    if not isinstance(pipeline, Pipeline | PipelineSpec | str | os.PathLike):
        raise CallError(
            f"views.{place}.pipeline is {validation.quoted(pipeline)}; give an augment.Pipeline, the name of a preset "
            "or the path of a file"
        )
    with problems_of_view(place):
        return View(Pipeline.take(pipeline), count)
