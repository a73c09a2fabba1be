"""Routes of datasets: register or upload, describe, list, delete, and statistics of their pixels.

The statistics are those that normalisation with ``statistics: dataset`` uses.
"""

import itertools
import uuid
from dataclasses import asdict
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, BeforeValidator, Field

from augment.errors import CallError
from augment.samples.sample import Record
from augment.validation import quoted
from service import schemas
from service.asgi import requests
from service.asgi.admission import AdmissionSlot
from service.asgi.requests import Route
from service.datasets import upload
from service.datasets.registration import RegistrationRequest
from service.errors import MalformedError
from service.home import NAME, discard
from service.schemas import BINARY, problem
from service.state import Joined, State

router = APIRouter(route_class=Route, prefix="/v1/datasets", tags=["datasets"])

MAX_JSON_BYTES = 64 * 2**10
_ARCHIVES = ("application/zip", "application/x-tar", "application/gzip")
_ARCHIVE_TYPES = frozenset(
    {*_ARCHIVES, "application/x-zip-compressed", "application/x-gzip", "application/octet-stream"}
)
_FORM = "multipart/form-data"

Name = Annotated[str, Path(description="The dataset's name.", examples=["photos"])]


_Pattern = Annotated[str, Field(min_length=1, max_length=1000)]


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class RegistrationOptions(schemas.Schema):
    """Name and options of a dataset to register or upload."""

    name: str = Field(pattern=f"^{NAME.pattern}$", examples=["photos"])
    format: str | None = Field(
        None, description="`folder`, `coco`, `yolo` …; detected by default.", examples=["folder"]
    )
    replace: bool = Field(default=False, description="True: replace other content under this name.")
    bad_annotations: Literal["refuse", "leave_out"] = Field(
        "refuse",
        description="What to do with images whose annotations are invalid (a box outside of its image, an unknown "
        "class): `refuse` the dataset with a report, or `leave_out` the images.",
    )
    ignore: Annotated[tuple[_Pattern, ...], BeforeValidator(_split), Field(max_length=100)] = Field(
        (),
        description="Patterns of files and folders to leave out, such as `*.xml` or `notes/*`: a list, or a text with "
        "commas.",
        examples=[["*.xml"]],
    )


class Registration(RegistrationOptions):
    """A folder that the service can read, below one of AUGMENT_DATA_ROOTS."""

    path: str = Field(min_length=1, max_length=4096, examples=["/data/photos"])


class RegistrationProgress(BaseModel):
    """Progress of a registration."""

    stage: str = Field(description="waiting, unpacking or scanning.", examples=["scanning"])
    done: int = Field(description="Number of files that are done.")
    total: int | None = Field(description="Number of all files; null while unknown.")


class UnderWay(BaseModel):
    """A registration that is not done, or failed after it was acknowledged."""

    state: str = Field(description="scanning or failed.", examples=["scanning"])
    progress: RegistrationProgress | None = None
    error: schemas.ProblemDocument | None = None


class DatasetDocument(BaseModel):
    """A dataset. Fields of the scan are missing until it is done."""

    name: str = Field(examples=["photos"])
    state: str = Field(description="ready, scanning or failed.", examples=["ready"])
    digest: str | None = Field(None, description="Digest of all keys and records; equal for equal content.")
    format: str | None = Field(None, examples=["folder"])
    num_records: int | None = Field(None, examples=[200])
    num_refused: int | None = Field(None, description="Number of files that are not usable images.", examples=[1])
    classes: list[str] | None = Field(None, examples=[["cat", "dog"]])
    splits: dict[str, int] | None = Field(None, description="Number of records of each split; empty without splits.")
    targets: list[str] | None = Field(
        None,
        description="Targets of the records: label, labels, boxes, mask, instance_masks, keypoints.",
        examples=[["boxes", "label"]],
    )
    notices: list[str] | None = Field(None, description="Notices of the scan that are not errors, one sentence each.")
    uploaded: bool | None = Field(
        None, description="True if the files were uploaded; they are deleted with the dataset."
    )
    path: str | None = Field(None, description="Folder of a dataset registered by path.", examples=["/data/photos"])
    progress: RegistrationProgress | None = None
    error: schemas.ProblemDocument | None = None
    update: UnderWay | None = Field(None, description="A later registration under this name.")


DatasetPage = schemas.page("DatasetPage", "datasets", DatasetDocument, "In alphabetical order.")


class RecordView(BaseModel):
    """One image of a dataset."""

    key: str = Field(description="Its path, without extension.", examples=["cat/001"])
    label: int | None = Field(description="Index into the dataset's classes.", examples=[0])
    class_name: str | None = Field(alias="class", examples=["cat"])
    split: str | None = Field(examples=[None])
    height: int = Field(description="Upright, in pixels.")
    width: int
    size_bytes: int
    digest: str = Field(description="Digest of the encoded bytes and the annotations.")


RecordPage = schemas.page("RecordPage", "records", RecordView, "In the order of their keys, split by split.")


class RefusedFile(BaseModel):
    """A refused file and the reason."""

    path: str
    reason: str = Field(examples=["undecodable"])
    detail: str


RefusedPage = schemas.page("RefusedPage", "refused", RefusedFile, "In the order of their paths.", words="refused files")


_UNKNOWN: schemas.Responses = {404: problem("The dataset does not exist.")}
_NOT_READY: schemas.Responses = {**_UNKNOWN, 409: problem("It is being scanned, or was refused.")}
_REFUSED: schemas.Responses = {
    400: problem("The body is not valid JSON, an incomplete form or a broken archive."),
    403: problem("The path, or a link below it, is outside AUGMENT_DATA_ROOTS, or AUGMENT_DATA_ROOTS is not set."),
    409: problem("The name has other content and `replace` is not true, is in use by a job, or is being scanned."),
    413: problem("AUGMENT_MAX_FILES, AUGMENT_MAX_HOME_BYTES or AUGMENT_MAX_UNPACK_RATIO is exceeded."),
    415: problem("The body is not JSON, a form or an archive, or has a Content-Encoding."),
    422: problem(
        "No image can be used, annotations are invalid, or the archive has links, `..`, duplicate names or a password."
    ),
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": Registration.model_json_schema(),
                "example": {"name": "photos", "path": "/data/photos", "format": "folder"},
            },
            _FORM: {
                "schema": {
                    "type": "object",
                    "required": ["name", "file"],
                    "properties": {
                        "name": {"type": "string", "example": "photos"},
                        "format": {"type": "string", "example": "folder"},
                        "replace": {"type": "boolean"},
                        "bad_annotations": {"type": "string", "enum": ["refuse", "leave_out"]},
                        "ignore": {"type": "string", "example": "*.xml,notes/*"},
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "A zip, tar or gzipped tar. Names may be in any script (UTF-8); "
                            "a backslash in a zip separates folders.",
                        },
                    },
                }
            },
            **dict.fromkeys(_ARCHIVES, BINARY),
        },
    }
}


@router.post(
    "",
    summary="Register or upload a dataset",
    response_model=DatasetDocument,
    response_model_exclude_unset=True,
    status_code=201,
    responses={
        200: {"model": DatasetDocument, "description": "The name has this content already."},
        202: {"model": DatasetDocument, "description": "The scan continues; `Location` shows its progress."},
        **_REFUSED,
    },
    openapi_extra=_BODY,
)
async def register_dataset(
    request: Request,
    response: Response,
    state: Joined,
    *,
    name: Annotated[str | None, Query(description="For an archive as the whole body.")] = None,
    format: Annotated[str | None, Query(description="As `name`.")] = None,  # noqa: A002 - the word of the contract
    replace: Annotated[bool | None, Query(description="As `name`.")] = None,
    bad_annotations: Annotated[str | None, Query(description="As `name`; `refuse` or `leave_out`.")] = None,
    ignore: Annotated[str | None, Query(description="As `name`; patterns with commas between them.")] = None,
) -> dict[str, Any]:
    """Register a folder by its path (JSON), or upload one: a form with `name` and `file`, or an archive as the body.

    `curl -F name=photos -F file=@photos.zip URL/v1/datasets`, or
    `curl -H 'Content-Type: application/zip' --data-binary @photos.zip 'URL/v1/datasets?name=photos'`. If an archive
    holds a single folder with everything in it, that folder is the dataset. A scan that takes longer than
    AUGMENT_SCAN_WAIT_S (10 s) continues after the answer.
    """
    kind = requests.check_media_type(
        request,
        {"application/json", _FORM, *_ARCHIVE_TYPES},
        example="`curl -F name=photos -F file=@photos.zip URL/v1/datasets`",
    )
    query = {"name": name, "format": format, "replace": replace, "bad_annotations": bad_annotations}
    query["ignore"] = ignore
    with state.admission.place(after_body=True) as turn:
        if kind == "application/json":
            done = await _register_path(request, state, turn)
        else:
            done = await _register_upload(request, state, turn, query, is_form=kind == _FORM)
    described = await to_thread.run_sync(state.datasets.describe, done[0])
    response.headers["Location"] = f"/v1/datasets/{done[0]}"
    response.status_code = done[1]
    if done[1] == 202:
        response.headers["Retry-After"] = "1"
    return described


@router.get("", summary="All datasets", response_model=DatasetPage, response_model_exclude_unset=True)
async def list_datasets(state: Joined, query: schemas.PageQuery) -> Any:
    """List the datasets, including those that are being scanned, page by page."""

    def read() -> dict[str, Any]:
        names, following = query.of(state.datasets.names())
        return {"datasets": [state.datasets.describe(name) for name in names], "next": following}

    return await to_thread.run_sync(read)


@router.get(
    "/{name}",
    summary="One dataset",
    response_model=DatasetDocument,
    response_model_exclude_unset=True,
    responses=_UNKNOWN,
)
async def read_dataset(state: Joined, name: Name) -> Any:
    """Return a dataset with the result or the progress of its scan."""
    return await to_thread.run_sync(state.datasets.describe, name)


@router.get("/{name}/records", summary="Records of a dataset", response_model=RecordPage, responses=_NOT_READY)
async def list_records(state: Joined, name: Name, query: schemas.PageQuery) -> Any:
    """List keys, classes and sizes of the records, page by page, in the order of the dataset."""

    def read() -> dict[str, Any]:
        dataset, after = state.datasets.get(name), query.after
        start = 0 if after is None else dataset.find(after)
        if start is None:
            raise CallError(f"after is {quoted(after, 100)}, which is not a key of {name}; send the `next` of a page")
        start += after is not None
        stop = min(start + query.limit, dataset.num_records)
        splits = list(dataset.splits)
        views = [_record(record, dataset.classes, splits) for record in map(dataset.record, range(start, stop))]
        return {"records": views, "next": views[-1]["key"] if stop < dataset.num_records else None}

    return await to_thread.run_sync(read)


@router.get("/{name}/refused", summary="Refused files of a dataset", response_model=RefusedPage, responses=_NOT_READY)
async def list_refused(state: Joined, name: Name, query: schemas.PageQuery) -> Any:
    """List the files that are not usable images, with their reasons, page by page."""

    def read() -> dict[str, Any]:
        after, limit = (query.after or "").encode(), query.limit  # by bytes, as the manifest sorts them
        known = (one for one in state.datasets.get(name).refused if query.after is None or one.key.encode() > after)
        views = [
            {"path": refusal.key, "reason": str(refusal.reason), "detail": refusal.detail}
            for refusal in itertools.islice(known, limit + 1)
        ]
        return {"refused": views[:limit], "next": views[limit - 1]["path"] if len(views) > limit else None}

    return await to_thread.run_sync(read)


@router.delete(
    "/{name}",
    summary="Delete a dataset",
    status_code=204,
    response_class=Response,
    responses={**_UNKNOWN, 409: problem("A job uses it.")},
)
async def delete_dataset(state: Joined, name: Name) -> None:
    """Delete a dataset, or stop its scan. Uploaded files are deleted; a folder registered by path is kept."""
    await state.datasets.delete(name)


async def _register_path(request: Request, state: State, turn: AdmissionSlot) -> tuple[str, int]:
    text = await requests.read_text(request, max_bytes=MAX_JSON_BYTES, limit="64 kB of JSON")
    turn.enter()
    asked = requests.validated(Registration, requests.strict_json(text), "body")
    path = await to_thread.run_sync(state.datasets.confined, asked.path)
    return await _register(state, RegistrationRequest(**{**asked.model_dump(), "path": path}))


async def _register_upload(
    request: Request, state: State, turn: AdmissionSlot, query: dict[str, Any], *, is_form: bool
) -> tuple[str, int]:
    given = {name: value for name, value in query.items() if value is not None}
    if not is_form:
        asked = requests.validated(RegistrationOptions, given, "body")
        state.datasets.check_free(asked.name)  # before gigabytes are sent in vain
    archive = state.home.path / "tmp" / uuid.uuid4().hex
    length = request.headers.get("content-length", "")
    await to_thread.run_sync(state.datasets.quota.check, int(length) if length.isdigit() else 1)
    try:
        async with upload.Spool(archive, state.datasets.quota) as spool:
            given |= await upload.receive(request, spool, is_form=is_form)
        turn.take()  # never refused: gigabytes have been received
        if not spool.num_bytes:
            raise MalformedError("the archive is empty; send its bytes")
        asked = requests.validated(RegistrationOptions, given, "body")
        return await _register(state, RegistrationRequest(**asked.model_dump()), archive)
    finally:
        await to_thread.run_sync(discard, archive)  # after a success it has been moved already


async def _register(state: State, request: RegistrationRequest, archive: Any = None) -> tuple[str, int]:
    done = await state.datasets.register(request, archive)
    if done is None:
        return request.name, 202
    return request.name, 201 if done[1] else 200


def _record(record: Record, classes: tuple[str, ...], splits: list[str]) -> dict[str, Any]:
    members = {name: getattr(record, name) for name in ("key", "label", "height", "width", "size_bytes", "digest")}
    return members | {
        "class": None if record.label is None else classes[record.label],
        "split": record.key.partition("/")[0] if splits else None,
    }


class StatisticsDocument(BaseModel):
    """Mean and deviation of all pixels of a split, decoded at full size."""

    dataset: str
    dataset_digest: str
    split: str | None = Field(description="The split; null if it is all records.")
    mean: list[float] = Field(
        description="Mean of red, green and blue, of values in [0, 1].", examples=[[0.48, 0.45, 0.4]]
    )
    std: list[float] = Field(
        description="Standard deviation of red, green and blue, of values in [0, 1].", examples=[[0.27, 0.26, 0.27]]
    )
    num_records: int = Field(description="Number of images that were decoded and counted.")
    num_pixels: int


@router.get(
    "/{name}/statistics",
    summary="Mean and deviation of a dataset's pixels",
    response_model=StatisticsDocument,
    responses={
        **_UNKNOWN,
        409: problem("The dataset is being scanned, or was refused."),
        422: problem("The split does not exist, or none of its images can be decoded."),
        503: problem("The statistics are being measured; `Retry-After` says when to retry."),
    },
)
async def read_statistics(
    state: Joined,
    name: Name,
    split: Annotated[
        str | None, Query(description="The split; by default `train` if the dataset has one, else all records.")
    ] = None,
) -> dict[str, Any]:
    """Return mean and deviation, which the first request measures in one pass.

    A pass that takes longer than AUGMENT_SCAN_WAIT_S (10 s) continues after the answer, which is 503 until it ends.
    """
    with state.admission.place():
        view, numbers = await state.measuring.measured(name, split)
    return {"dataset": name, "dataset_digest": view.digest, "split": view.split} | asdict(numbers)
