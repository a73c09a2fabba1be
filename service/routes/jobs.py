"""Routes of jobs, the expansions that the service runs: start, follow, cancel, resume, fetch."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar, get_type_hints

from anyio import to_thread
from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import BaseModel, Field

from augment.errors import problems_below
from augment.expansion.copies import COPIES_MAX
from augment.expansion.options import OPTIONS, ExpansionOptions
from augment.transforms.runtime import compiler
from service import responses, schemas
from service.asgi import requests
from service.asgi.requests import Route
from service.errors import ConflictError, MalformedError
from service.home import NAME
from service.jobs.jobs import Jobs
from service.jobs.table import Job, JobState, JobWanted
from service.responses import Chunk
from service.schemas import problem
from service.state import Joined, State

_Model = TypeVar("_Model", bound=BaseModel)
_Number = Annotated[int, Field(ge=0, le=COPIES_MAX)]
_TYPES: dict[str, Any] = get_type_hints(ExpansionOptions) | {  # stricter in JSON
    "copies": _Number | dict[str, _Number] | str,
    "augment_splits": list[str] | None,
    "drop_targets": list[str],
    "image_format": schemas.ImageFormat | None,
    "max_failures": schemas.MaxFailures | None,
}


def _with_options(*, output: bool) -> Callable[[type[_Model]], type[_Model]]:
    """Add the options of an expansion to a request: those of its output, or the others."""
    members = {name: option.metadata["output_member"] for name, option in OPTIONS.items()}
    chosen = {members[name] or name: each for name, each in OPTIONS.items() if (members[name] is not None) == output}
    return schemas.with_options(chosen, {members[name] or name: kind for name, kind in _TYPES.items()})


@_with_options(output=True)
class OutputRequest(schemas.Schema):
    """Output folder of the copies, and their encoding."""

    name: str = Field(
        pattern=f"^{NAME.pattern}$",
        description="Name of the output folder: a new one, or one that the same expansion began.",
        examples=["photos-x4"],
    )


@_with_options(output=False)
class JobRequest(schemas.Schema):
    """Request of an expansion: augmented copies of a dataset's records."""

    dataset: str = Field(description="Name of a registered dataset.", examples=["photos"])
    pipeline: str | dict[str, Any] | None = Field(
        None,
        description="Name of a preset or a saved pipeline, YAML text, or a JSON document; required unless `copies` is "
        "0.",
        examples=["flip-rotate-crop"],
    )
    output: OutputRequest


class JobProgress(BaseModel):
    """Progress of a job."""

    done: int = Field(description="Number of outputs that are written, kept or refused.", examples=[512])
    total: int = Field(
        description="Number of outputs of all augmented records, without those of splits that are only copied.",
        examples=[800],
    )
    failed: int = Field(description="Number of records and files that are left out.", examples=[1])


class JobDocument(BaseModel):
    """A job."""

    id: str = Field(examples=["019a3f5e2c41d0b7a6f1"])
    state: JobState
    progress: JobProgress
    output: str = Field(
        description="Output folder on the service's machine; `GET …/output` fetches it.",
        examples=["/var/lib/augment/outputs/photos-x4"],
    )
    error: schemas.ProblemDocument | None = Field(description="Reason of the failure, or null.")
    expansion: str = Field(description="The expansion's digest: equal if all files are equal.")
    dataset: str = Field(examples=["photos"])
    pipeline: str = Field(description="The pipeline's name, or empty if it has none.", examples=["flip-rotate-crop"])
    references: list[str] = Field(description="Datasets whose images the pipeline's transforms use.")
    format: str | None = Field(description="The output's format; null for the dataset's own.", examples=["coco"])
    drop_targets: list[str]
    copies: int | dict[str, int] | str
    seed: int
    split: str | None
    augment_splits: list[str] | None
    copy_splits: bool | None
    include_originals: bool
    image_format: str | None
    quality: int
    update: bool
    size_bytes: int = Field(description="Bytes of all outputs so far.")
    notices: list[str] = Field(
        description="Notices, one sentence each: parts of the pipeline that were dropped or moved, losses in reading "
        "the dataset's images, images that are too small."
    )
    created: str = Field(description="RFC 3339.", examples=["2026-01-31T12:00:00Z"])
    started: str | None
    finished: str | None


JobPage = schemas.page("JobPage", "jobs", JobDocument, "In the order of their arrival.")


router = APIRouter(route_class=Route, prefix="/v1/jobs", tags=["jobs"])

_EVENT_EVERY_S = 0.25
_KEEP_ALIVE_S = 15.0
"""Interval of comments in an event stream, as the HTML standard (section 9.2.7) advises."""
_RECONNECT_MS = 1000

JobId = Annotated[str, Path(description="The job's id.", examples=["019a3f5e2c41d0b7a6f1"])]


_UNKNOWN: schemas.Responses = {404: problem("The job does not exist.")}
_LOCATION = {"headers": {"Location": {"description": "URL of the job.", "schema": {"type": "string"}}}}
_EVENT = 'id: running:512:1\nevent: progress\ndata: {"id":"019a…","state":"running","progress":{"done":512,…},…}\n\n'


@router.post(
    "",
    summary="Start a job",
    status_code=202,
    response_model=JobDocument,
    responses={
        202: {"description": "The job is stored and will run.", **_LOCATION},
        404: problem("The dataset or the pipeline does not exist."),
        409: problem("The output belongs to another expansion or is in use, or the dataset is being scanned."),
        413: problem("The home is full (AUGMENT_MAX_HOME_BYTES)."),
        422: problem(
            "A value is out of range, the pipeline does not fit the dataset, or the key was used for another request."
        ),
        429: problem("Too many jobs wait (AUGMENT_QUEUE_LIMIT)."),
    },
)
async def start_job(
    state: Joined,
    wanted: JobRequest,
    response: Response,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="Any text of at most 255 characters. The same request with the same key is the same job, even "
            "if it is sent repeatedly.",
            max_length=255,
        ),
    ] = None,
) -> dict[str, Any]:
    """Start a job that expands a dataset into a folder. `augment expand` and jobs can resume each other's folders.

    The request is checked completely before the answer. An accepted job survives a restart of the service.
    """
    state.admission.check_open()
    if idempotency_key is not None and not (idempotency_key := idempotency_key.strip().strip('"')):
        raise MalformedError("the Idempotency-Key is empty; send a new UUID with each new request, or leave it out")
    text = json.dumps(wanted.model_dump(), sort_keys=True, separators=(",", ":"))
    fingerprint = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    job = state.jobs.repeated(idempotency_key, fingerprint)  # first: its dataset may have changed or gone since
    if job is None:
        resolved = await to_thread.run_sync(_resolve, state, wanted)
        with problems_below("pipeline"):
            job = await state.jobs.accept(resolved, idempotency_key=idempotency_key, fingerprint=fingerprint)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return _document(state.jobs, job)


@router.get("", summary="All jobs", response_model=JobPage)
async def list_jobs(state: Joined, query: schemas.PageQuery) -> dict[str, Any]:
    """List the jobs in the order of their arrival, page by page."""
    ids, following = query.of(state.jobs.ids())
    return {"jobs": [_document(state.jobs, state.jobs.get(one)) for one in ids], "next": following}


@router.get("/{job_id}", summary="One job", response_model=JobDocument, responses=_UNKNOWN)
async def read_job(state: Joined, job_id: JobId) -> dict[str, Any]:
    """Return a job with its progress so far."""
    return _document(state.jobs, state.jobs.get(job_id))


@router.get(
    "/{job_id}/events",
    summary="Follow a job",
    response_class=Response,
    responses={
        200: {
            "description": "Server-sent events: `progress` at each change, then one named after the final state, which "
            "ends the stream. The data of each is the job's document.",
            "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EVENT}},
        },
        204: {"description": "The client has the final event; `EventSource` stops reconnecting."},
        **_UNKNOWN,
    },
)
async def follow_job(
    request: Request,
    state: Joined,
    job_id: JobId,
    last_event_id: Annotated[
        str | None, Header(description="Id of the last event that the client has; `EventSource` sends it itself.")
    ] = None,
) -> Response:
    """Stream the progress of a job as server-sent events until it ends: `curl -N URL/v1/jobs/ID/events`."""
    job = state.jobs.get(job_id)
    if job.state.is_final and last_event_id == _event_id(job):
        return Response(status_code=204)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    events = _events(state, job_id, last_event_id)
    return await responses.streamed(request, events, media_type="text/event-stream", headers=headers)


@router.post(
    "/{job_id}/cancel",
    summary="Cancel a job",
    response_model=JobDocument,
    responses={**_UNKNOWN, 409: problem("The job has ended already.")},
)
async def cancel_job(state: Joined, job_id: JobId) -> dict[str, Any]:
    """Cancel a job that waits or runs, and answer when its workers have left the folder.

    Finished outputs are kept, and `resume` (or `augment expand`) continues from there.
    """
    return _document(state.jobs, await state.jobs.cancel(job_id))


@router.post(
    "/{job_id}/resume",
    summary="Resume a job",
    status_code=202,
    response_model=JobDocument,
    responses={
        202: {"description": "The job waits or runs again.", **_LOCATION},
        **_UNKNOWN,
        409: problem("The job has succeeded, or its dataset or the engine has changed and `update` is not true."),
    },
)
async def resume_job(
    state: Joined,
    job_id: JobId,
    response: Response,
    update: Annotated[  # noqa: FBT002 - a query parameter has a name
        bool, Query(description="Resume even if dataset or engine have changed; unchanged files are kept.")
    ] = False,
) -> dict[str, Any]:
    """Resume a job that was cancelled or has failed; finished outputs are kept."""
    state.admission.check_open()
    job = await state.jobs.resume(job_id, update=update)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return _document(state.jobs, job)


@router.delete(
    "/{job_id}",
    summary="Delete a job",
    status_code=204,
    response_class=Response,
    responses={**_UNKNOWN, 409: problem("The job has not ended, or another job has the same output.")},
)
async def delete_job(
    state: Joined,
    job_id: JobId,
    output: Annotated[  # noqa: FBT002 - a query parameter has a name
        bool, Query(description="Delete the output folder with all files too.")
    ] = False,
) -> None:
    """Remove a job that has ended from the list. Its files are kept unless `output=true` is sent."""
    await state.jobs.delete(job_id, output=output)


@router.get(
    "/{job_id}/output",
    summary="Fetch a job's output",
    response_class=Response,
    responses={
        200: {
            "description": "The folder as a tar, sorted by path; the same bytes each time.",
            "content": {"application/x-tar": {"schema": {"type": "string", "format": "binary"}}},
        },
        **_UNKNOWN,
        409: problem("The job has not succeeded, or another run writes the folder."),
        429: problem("The queue is full; `Retry-After` says when to retry."),
    },
)
async def read_output(request: Request, state: Joined, job_id: JobId) -> Response:
    """Fetch a job's output folder as a tar: `curl URL/v1/jobs/ID/output | tar x -C FOLDER`."""
    job = state.jobs.get(job_id)
    if job.state is not JobState.SUCCEEDED:
        raise ConflictError(f"job {job_id} is {job.state}; its output can be fetched when it has succeeded")

    async def chunks() -> AsyncGenerator[Chunk, None]:
        with state.admission.place() as turn:
            async with aclosing(state.jobs.stream_output(job)) as pieces:
                async for piece in pieces:
                    turn.leave()  # from now on only the client is waited for
                    yield piece

    headers = {
        "Cache-Control": "no-store",
        "Content-Disposition": requests.disposition("attachment", f"{job.wanted.output_name}.tar"),
    }
    return await responses.streamed(request, chunks(), media_type="application/x-tar", headers=headers)


async def _events(state: State, job_id: str, last_event_id: str | None) -> AsyncGenerator[Chunk, None]:
    yield f"retry: {_RECONNECT_MS}\n\n".encode()
    sent, sent_at = last_event_id, time.monotonic()
    while not state.admission.draining and job_id in state.jobs:
        job = state.jobs.get(job_id)
        event_id, now = _event_id(job), time.monotonic()
        if event_id != sent or job.state.is_final:
            kind = str(job.state) if job.state.is_final else "progress"
            data = JobDocument.model_validate(_document(state.jobs, job)).model_dump_json()
            yield f"id: {event_id}\nevent: {kind}\ndata: {data}\n\n".encode()
            sent, sent_at = event_id, now
        elif now - sent_at >= _KEEP_ALIVE_S:
            yield b": keep-alive\n\n"
            sent_at = now
        if job.state.is_final:
            return
        await asyncio.sleep(_EVENT_EVERY_S)


def _event_id(job: Job) -> str:
    """Return an id derived from the event's content, so that it is the same after a restart."""
    return f"{job.state}:{job.done}:{job.failed}"


def _resolve(state: State, wanted: JobRequest) -> JobWanted:
    with problems_below("pipeline"):
        pipeline = None if wanted.pipeline is None else state.pipelines.get(wanted.pipeline)
    members = {each.metadata["output_member"] or name: name for name, each in OPTIONS.items()}
    output = wanted.output.model_dump(exclude={"name"})
    return JobWanted(
        **wanted.model_dump(exclude={"pipeline", "output"}),
        **{members[member]: value for member, value in output.items()},
        pipeline=None if pipeline is None else pipeline.spec.canonical(),
        pipeline_name="" if pipeline is None else pipeline.name,
        pipeline_notices=() if pipeline is None else pipeline.notices,
        output_name=wanted.output.name,
        references=() if pipeline is None else sorted(compiler.references_of(pipeline.spec)),
    )


def _document(jobs: Jobs, job: Job) -> dict[str, Any]:
    wanted = job.wanted  # fields of the same name come from here
    return {name: getattr(wanted, name) for name in JobDocument.model_fields if hasattr(wanted, name)} | {
        "id": job.id,
        "state": job.state,
        "progress": {"done": job.done, "total": job.total, "failed": job.failed},
        "output": str(jobs.output(job)),
        "error": job.error,
        "expansion": job.expansion,
        "pipeline": wanted.pipeline_name,
        "format": wanted.output_format,
        "size_bytes": job.size_bytes,
        "notices": list(job.notices),
        "created": _time(job.created_at),
        "started": _time(job.started_at),
        "finished": _time(job.finished_at),
    }


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
