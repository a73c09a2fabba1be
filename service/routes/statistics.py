"""Statistics of a dataset's pixels: what normalisation by ``statistics: dataset`` takes."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from service import schemas
from service.routes.datasets import Name
from service.routing import Route
from service.state import Joined

router = APIRouter(route_class=Route, prefix="/v1/datasets", tags=["datasets"])


class StatisticsDocument(BaseModel):
    """Of all pixels of a split, decoded at their full size."""

    dataset: str
    dataset_digest: str
    split: str | None = Field(description="The split that was chosen; null where it is all records.")
    mean: list[float] = Field(description="Of red, green and blue, of values in [0, 1].", examples=[[0.48, 0.45, 0.4]])
    std: list[float] = Field(description="The deviation of all values, likewise.", examples=[[0.27, 0.26, 0.27]])
    num_records: int = Field(description="Pictures that were counted: those that can be decoded.")
    num_pixels: int


@router.get(
    "/{name}/statistics",
    summary="Mean and deviation of a dataset's pixels",
    response_model=StatisticsDocument,
    responses={
        404: {"model": schemas.Problem, "description": "There is no such dataset."},
        409: {"model": schemas.Problem, "description": "The dataset is being scanned, or was refused."},
        422: {"model": schemas.Problem, "description": "There is no such split, or no picture of it can be decoded."},
        503: {"model": schemas.Problem, "description": "It is being measured; `Retry-After` says when to ask again."},
    },
)
async def read_statistics(
    state: Joined,
    name: Name,
    split: Annotated[
        str | None, Query(description="Omitted: `train` where the dataset has one, else all records.")
    ] = None,
) -> dict[str, Any]:
    """Measured in one pass when it is first asked for, and kept with the dataset.

    A pass that takes more than AUGMENT_SCAN_WAIT_S (10 s) goes on after the answer, which is 503 until it ends.
    """
    with state.admission.place():
        view, numbers = await state.measuring.measured(name, split)
    return {
        "dataset": name,
        "dataset_digest": view.digest,
        "split": view.split,
        "mean": list(numbers.mean),
        "std": list(numbers.std),
        "num_records": numbers.num_records,
        "num_pixels": numbers.num_pixels,
    }
