"""Declaration of a stream, from what trainers have: a list of steps, a framework's dtype, a name of statistics."""

from collections.abc import Mapping, Sequence
from typing import Any

from augment import validation
from augment.client.transport import ClientError
from augment.errors import CallError
from augment.normalize.parameters import DATASET, NAMED
from augment.normalize.pixel_format import PixelFormat, dtype_name
from augment.validation import did_you_mean


def stream_declaration(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document that ``POST /v1/streams`` takes; ClientError names the argument that is none.

    ``pipeline``, also of a view, may be a list of steps. ``normalize`` may be ``"imagenet"`` or another name of
    statistics for ``standard``. ``dtype`` may be a dtype of NumPy, PyTorch, TensorFlow or JAX.
    """
    try:
        form = PixelFormat(dtype_name(given["dtype"]), given["layout"])
    except CallError as error:
        raise ClientError(str(error)) from error
    views = given["views"]
    return {
        **given,
        "pipeline": _pipeline(given["pipeline"], "pipeline"),
        "views": [_view(view, i) for i, view in enumerate(views)] if isinstance(views, list | tuple) else views,
        "normalize": _normalize(given["normalize"]),
        "dtype": form.dtype,
    }


def _view(view: Any, number: int) -> Any:
    if isinstance(view, Mapping) and "pipeline" in view:
        return {**view, "pipeline": _pipeline(view["pipeline"], f"views.{number}.pipeline")}
    return view


def _pipeline(pipeline: Any, name: str) -> Any:
    if isinstance(pipeline, list | tuple):
        return {"transforms": list(pipeline)}
    if pipeline is None or isinstance(pipeline, str | Mapping):
        return pipeline
    raise ClientError(
        f"{name} is {validation.quoted(pipeline)}; give the name of a pipeline, a mapping, or a list of steps such as "
        '[{"HorizontalFlip": {"p": 0.5}}]'
    )


def _normalize(normalize: Any) -> Any:
    if isinstance(normalize, str):
        names = (*NAMED, DATASET)
        if normalize not in names:
            hint = did_you_mean(normalize, names)
            raise ClientError(f"normalize is {normalize!r}; give a section or one of {', '.join(names)}{hint}")
        return {"method": "standard", "statistics": normalize}
    if isinstance(normalize, Sequence):
        return [_normalize(each) for each in normalize]
    return normalize
