"""Jobs: expansions that the service runs; started, followed, stopped, resumed, fetched."""

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
from pydantic import BaseModel, Field, create_model

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
    options: dict[str, Any] = {}
    for name, option in OPTIONS.items():
        member = option.metadata["output_member"]
        if (member is not None) == output:
            default = list(option.default) if isinstance(option.default, tuple) else option.default
            schema = Field(default, description=option.metadata["description"], **option.metadata["schema"])
            options[member or name] = (_TYPES[name], schema)
    return lambda model: create_model(
        model.__name__, __base__=model, __doc__=model.__doc__, __module__=model.__module__, **options
    )


@_with_options(output=True)
class OutputRequest(schemas.Schema):
    """Output folder of the copies, and their encoding."""

    name: str = Field(
        pattern=f"^{NAME.pattern}$",
        description="A folder of the service's outputs: new, or the one that this very expansion began.",
        examples=["photos-x4"],
    )


@_with_options(output=False)
class JobRequest(schemas.Schema):
    """An expansion: copies of every record that is augmented."""

    dataset: str = Field(description="The name of a registered dataset.", examples=["photos"])
    pipeline: str | dict[str, Any] | None = Field(
        None,
        description="The name of a preset or a saved pipeline, YAML text, or a JSON document; only `copies: 0` needs "
        "none.",
        examples=["flip-rotate-crop"],
    )
    output: OutputRequest


class JobProgress(BaseModel):
    """Progress of a job."""

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
    error: schemas.ProblemDocument | None = Field(description="Reason of the failure, or null.")
    expansion: str = Field(description="The expansion's digest: equal if all files are equal.")
    dataset: str = Field(examples=["photos"])
    pipeline: str = Field(description="The pipeline's name, or empty if it has none.", examples=["flip-rotate-crop"])
    references: list[str] = Field(description="The datasets that the pipeline's transforms take images of.")
    format: str | None = Field(description="The output's format; null if it is the dataset's.", examples=["coco"])
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
    size_bytes: int = Field(description="Of all outputs so far.")
    notices: list[str] = Field(
        description="What was dropped or moved while the pipeline was read; what reading the dataset's images loses; "
        "images that are too small: a sentence each."
    )
    created: str = Field(description="RFC 3339.", examples=["2026-01-31T12:00:00Z"])
    started: str | None
    finished: str | None


JobPage = schemas.page("JobPage", "jobs", JobDocument, "In the order of their arrival.")


router = APIRouter(route_class=Route, prefix="/v1/jobs", tags=["jobs"])

_EVENT_EVERY_S = 0.25
_KEEP_ALIVE_S = 15.0
"""The HTML standard's advice for event streams (section 9.2.7): a comment every 15 seconds or so."""
_RECONNECT_MS = 1000

JobId = Annotated[str, Path(description="The id that the job was accepted with.", examples=["019a3f5e2c41d0b7a6f1"])]


_UNKNOWN: schemas.Responses = {404: problem("There is no such job.")}
_LOCATION = {"headers": {"Location": {"description": "Where the job is.", "schema": {"type": "string"}}}}
_EVENT = 'id: running:512:1\nevent: progress\ndata: {"id":"019a…","state":"running","progress":{"done":512,…},…}\n\n'


@router.post(
    "",
    summary="Start a job",
    status_code=202,
    response_model=JobDocument,
    responses={
        202: {"description": "It is in the list, durably, and will run.", **_LOCATION},
        404: problem("There is no such dataset or pipeline."),
        409: problem("The output's name is another expansion's or in use, or the dataset is being scanned."),
        413: problem("The home is full (AUGMENT_MAX_HOME_BYTES)."),
        422: problem("A value is out of range, the pipeline cannot hold for the dataset, or a key was used before."),
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
            description="Any text of at most 255 characters; the same request with the same key is the same job, "
            "however often it is sent.",
            max_length=255,
        ),
    ] = None,
) -> dict[str, Any]:
    """Expand a dataset into a folder, as `augment expand` does: either goes on with what the other began.

    Everything that can be checked is checked before the answer; what was accepted outlives the service's end.
    """
    state.admission.check_open()
    if idempotency_key is not None and not (idempotency_key := idempotency_key.strip().strip('"')):
        raise MalformedError("the Idempotency-Key is empty; send a new UUID with each new request, or leave it out")
    text = json.dumps(wanted.model_dump(), sort_keys=True, separators=(",", ":"))
    fingerprint = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    job = state.jobs.repeated(idempotency_key, fingerprint)  # though what it names may have changed or gone since
    if job is None:
        resolved = await to_thread.run_sync(_resolve, state, wanted)
        with problems_below("pipeline"):
            job = await state.jobs.accept(resolved, idempotency_key=idempotency_key, fingerprint=fingerprint)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return _document(state.jobs, job)


@router.get("", summary="All jobs", response_model=JobPage)
async def list_jobs(state: Joined, query: schemas.PageQuery) -> dict[str, Any]:
    """List the jobs in the order of their arrival, a page at a time."""
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
            "description": "Server-sent events: `progress` as often as something changes, then one named as the final "
            "state, and the stream ends. The data of each is the job's document.",
            "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EVENT}},
        },
        204: {"description": "The client has seen the final event: `EventSource` asks no more."},
        **_UNKNOWN,
    },
)
async def follow_job(
    request: Request,
    state: Joined,
    job_id: JobId,
    last_event_id: Annotated[
        str | None, Header(description="The last event that the client has; sent by `EventSource` itself.")
    ] = None,
) -> Response:
    """Follow a job by server-sent events until it has ended: `curl -N URL/v1/jobs/ID/events`."""
    job = state.jobs.get(job_id)
    if job.state.is_final and last_event_id == _event_id(job):
        return Response(status_code=204)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    events = _events(state, job_id, last_event_id)
    return await responses.streamed(request, events, media_type="text/event-stream", headers=headers)


@router.post(
    "/{job_id}/cancel",
    summary="Stop a job",
    response_model=JobDocument,
    responses={**_UNKNOWN, 409: problem("It has ended already.")},
)
async def cancel_job(state: Joined, job_id: JobId) -> dict[str, Any]:
    """Stop a job that waits or runs; answered when its workers have left the folder.

    What is finished stays, and `resume` (or `augment expand`) goes on from there.
    """
    return _document(state.jobs, await state.jobs.cancel(job_id))


@router.post(
    "/{job_id}/resume",
    summary="Go on with a job",
    status_code=202,
    response_model=JobDocument,
    responses={
        202: {"description": "It waits or runs again.", **_LOCATION},
        **_UNKNOWN,
        409: problem("It has succeeded, or its dataset or the engine has changed and `update` is not true."),
    },
)
async def resume_job(
    state: Joined,
    job_id: JobId,
    response: Response,
    update: Annotated[  # noqa: FBT002 - a query parameter has a name
        bool, Query(description="Go on although dataset or engine have changed; unchanged files are kept.")
    ] = False,
) -> dict[str, Any]:
    """Go on with a job that was cancelled or has failed; finished outputs are kept."""
    state.admission.check_open()
    job = await state.jobs.resume(job_id, update=update)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return _document(state.jobs, job)


@router.delete(
    "/{job_id}",
    summary="Forget a job",
    status_code=204,
    response_class=Response,
    responses={**_UNKNOWN, 409: problem("It has not ended, or another job has the same output.")},
)
async def delete_job(
    state: Joined,
    job_id: JobId,
    output: Annotated[  # noqa: FBT002 - a query parameter has a name
        bool, Query(description="Remove the output folder with all files too; otherwise it stays.")
    ] = False,
) -> None:
    """Take a job that has ended off the list. Its files stay unless `output=true` is sent."""
    await state.jobs.delete(job_id, output=output)


@router.get(
    "/{job_id}/output",
    summary="Fetch a job's output",
    response_class=Response,
    responses={
        200: {
            "description": "The folder as a tar: its files as they lie there, sorted; the same bytes each time.",
            "content": {"application/x-tar": {"schema": {"type": "string", "format": "binary"}}},
        },
        **_UNKNOWN,
        409: problem("It has not succeeded, or another run works in the folder."),
        429: problem("The queue is full; `Retry-After` says when to ask again."),
    },
)
async def read_output(request: Request, state: Joined, job_id: JobId) -> Response:
    """Fetch everything that the job wrote: `curl URL/v1/jobs/ID/output | tar x -C FOLDER`."""
    job = state.jobs.get(job_id)
    if job.state is not JobState.SUCCEEDED:
        raise ConflictError(f"job {job_id} is {job.state}; its output can be fetched when it has succeeded")

    async def chunks() -> AsyncGenerator[Chunk, None]:
        with state.admission.place() as turn:
            async with aclosing(state.jobs.stream_output(job)) as pieces:
                async for piece in pieces:
                    turn.leave()  # from here on the client is waited for
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
    """Return an id made of the event's content, so that it means the same after a restart."""
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
    wanted = job.wanted  # fields of the same name are its
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
