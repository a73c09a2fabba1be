"""What is sent to start a job, and what a job looks like."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from augment import encode
from augment.expansion.shares import COPIES_MAX
from augment.render import SEED_MAX
from service import schemas
from service.home import NAME
from service.job_table import JobState


class OutputRequest(schemas.Schema):
    """Where copies go, and how they are encoded."""

    name: str = Field(
        pattern=f"^{NAME.pattern}$",
        description="A folder of the service's outputs: new, or the one that this very expansion began.",
        examples=["photos-x4"],
    )
    format: str | None = Field(
        None, description="The format that is written; omitted: the dataset's own.", examples=["folder", "coco"]
    )
    drop_targets: list[str] = Field(
        [],
        description="Targets that the output is to be without, because its format cannot hold them: `label`, `labels`, "
        "`mask`, `boxes`, `instance_masks`, `keypoints`.",
        examples=[["mask"]],
    )
    image_format: Literal["jpeg", "png", "webp"] = Field("jpeg", description="How copies are encoded.")
    quality: int = Field(encode.DEFAULT_QUALITY, ge=1, le=100, description="Of JPEG and WebP.")


class JobRequest(schemas.Schema):
    """An expansion: copies of every record that is augmented."""

    dataset: str = Field(description="The name of a registered dataset.", examples=["photos"])
    pipeline: str | dict[str, Any] | None = Field(
        None,
        description="The name of a preset or a saved pipeline, YAML text, or a JSON document; only `copies: 0` needs "
        "none.",
        examples=["flip-rotate-crop"],
    )
    copies: Annotated[int, Field(ge=0, le=COPIES_MAX)] | dict[str, Annotated[int, Field(ge=0, le=COPIES_MAX)]] | str = (
        Field(
            1,
            description="Copies of each record; or numbers by class (`*` for all others); or `balance`, which brings "
            "every class to the largest, or `balance:500`. 0 with `include_originals` converts to another format.",
            examples=[4, {"cat": 4, "*": 1}, "balance"],
        )
    )
    seed: int = Field(0, ge=0, le=SEED_MAX, description="Other seeds draw other copies.", examples=[7])
    split: str | None = Field(
        None,
        description="Expands this split alone. Omitted: `train` is augmented where the dataset has one and the other "
        "splits are copied, each into a folder of its own; without splits all records are augmented.",
    )
    augment_splits: list[str] | None = Field(
        None, description="Which splits are augmented; omitted: the training split.", examples=[["train", "val"]]
    )
    copy_splits: bool | None = Field(
        None,
        description="Whether the splits that are not augmented are copied unchanged. Omitted: they are, unless `split` "
        "names one.",
    )
    allow_leaks: bool = Field(
        default=False,
        description="Whether a picture may be both in a split that is augmented and in another one; else such a job is "
        "refused.",
    )
    include_originals: bool = Field(default=False, description="Whether originals lie beside their copies.")
    output: OutputRequest
    update: bool = Field(
        default=False,
        description="Whether the output of an earlier state of the dataset is brought up to date: what is unchanged "
        "is kept, the rest rendered.",
    )
    max_failures: int | float | None = Field(
        None,
        ge=0,
        description="How many records may be left out before the job fails: a count, or a fraction between 0 and 1. "
        "Omitted: any number.",
    )


class JobProgress(BaseModel):
    """How far a job is."""

    done: int = Field(description="Outputs that are written, kept or refused.", examples=[512])
    total: int = Field(
        description="Outputs of all records that are augmented; those of splits that are copied are not counted.",
        examples=[800],
    )
    failed: int = Field(description="Records and files that are left out.", examples=[1])


class JobDocument(BaseModel):
    """A job."""

    id: str = Field(examples=["019a3f5e2c41d0b7a6f1"])
    state: JobState
    progress: JobProgress
    output: str = Field(
        description="The folder, on the service's machine; `GET …/output` fetches it.",
        examples=["/var/lib/augment/outputs/photos-x4"],
    )
    error: schemas.Problem | None = Field(description="Why it failed; null where it did not.")
    expansion: str = Field(description="The expansion's digest: equal where all files are equal.")
    dataset: str = Field(examples=["photos"])
    pipeline: str = Field(
        description="The pipeline's name; empty where it came without.", examples=["flip-rotate-crop"]
    )
    references: list[str] = Field(description="The datasets that the pipeline's transforms take pictures of.")
    format: str | None = Field(description="The output's format; null where it is the dataset's.", examples=["coco"])
    drop_targets: list[str]
    copies: int | dict[str, int] | str
    seed: int
    split: str | None
    augment_splits: list[str] | None
    copy_splits: bool | None
    include_originals: bool
    image_format: str
    quality: int
    update: bool
    size_bytes: int = Field(description="Of all outputs so far.")
    created: str = Field(description="RFC 3339.", examples=["2026-01-31T12:00:00Z"])
    started: str | None
    finished: str | None


class JobPage(BaseModel):
    """A page of jobs."""

    jobs: list[JobDocument] = Field(description="In the order in which they came.")
    next: str | None = Field(description="Pass it as `after` for the next page; null on the last.")
