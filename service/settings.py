"""Every limit and place of the service: one setting each, with its default and where the number comes from."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from augment.images.decode import DEFAULT_MAX_PIXELS
from augment.validation import did_you_mean
from augment.workers.pool import DEFAULT_MAX_TASKS, DEFAULT_MEMORY_BYTES, DEFAULT_RECORD_TIMEOUT_S

_KIB, _MIB, _GIB = 2**10, 2**20, 2**30


class Settings(BaseSettings):
    """Read from the environment as ``AUGMENT_<NAME>``; arguments of ``augment serve`` win over it."""

    model_config = SettingsConfigDict(env_prefix="AUGMENT_", env_ignore_empty=True, extra="ignore", frozen=True)

    host: str = Field("127.0.0.1", description="The address to listen on. Loopback, as every development server.")
    port: int = Field(8000, ge=0, le=65535, description="The port to listen on; 0 takes a free one (uvicorn's 8000).")
    home: Path = Field(
        Path("augment-home"),
        description="Where state lives: datasets, pipelines, streams, jobs, outputs. One service at a time.",
    )
    data_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        (),
        description="Folders, with `:` between them, below which datasets may be registered by path; none by default, "
        "as imgproxy serves no local file until it is given a root.",
    )
    workers: int | None = Field(
        None, ge=1, description="Processes that render; by default one for each CPU that this process may use."
    )
    api_keys: Annotated[tuple[str, ...], NoDecode] = Field(
        (), repr=False, description="Keys that clients may present, with `,` between them. None: only on loopback."
    )
    allow_anonymous: bool = Field(
        default=False,
        description="Serve other addresses than loopback without keys; only behind something that authenticates.",
    )
    batch_cache_bytes: int = Field(
        _GIB, ge=_MIB, description="Rendered batches that are kept for the next reader: 100 of 64 x 224 x 224 images."
    )
    batch_folder: Path = Field(
        Path("/dev/shm"),  # noqa: S108 - files there have names of chance in a folder of our own
        description="A memory-backed folder for rendered batches, as PyTorch's loaders use it; the home's disk "
        "takes what finds no room there.",
    )
    decode_cache_bytes: int = Field(
        8 * _GIB,
        ge=0,
        description="Decoded images that are kept on the home's disk from one epoch to the next, the first that "
        "come, as long as a GiB is left there: 15,000 photographs of ImageNet's size. 0 keeps none.",
    )
    max_pixels: int = Field(DEFAULT_MAX_PIXELS, ge=1, description="Pixels of one image; 50 megapixels, as imgproxy.")
    max_body_bytes: int = Field(
        256 * _MIB, ge=_KIB, description="Bytes of one request's body, uploads of datasets excepted: 50 photographs."
    )
    max_files: int = Field(
        1_000_000, ge=1, description="Files of one dataset: ImageNet has 1.28 million, in two parts."
    )
    max_unpack_ratio: int = Field(
        100,
        ge=1,
        description="How many times its size an uploaded archive may unpack to; 100, as Apache POI.",
    )
    scan_wait_s: float = Field(
        10.0,
        ge=0,
        description="Seconds that a client waits for a scan before it gets 202, and for a dataset's mean and deviation "
        "before it gets 503; gateways wait 30 to 60.",
    )
    max_images: int = Field(64, ge=1, description="Images, and copies of all of them, of one one-shot request.")
    max_home_bytes: int = Field(100 * _GIB, ge=_MIB, description="Bytes of uploads and outputs together.")
    record_timeout_s: float = Field(
        DEFAULT_RECORD_TIMEOUT_S,
        gt=0,
        description="Processor seconds for one record, decoded and rendered, and seconds for a file that a scan reads; "
        "three times what imgproxy allows a request. Ten times as long in real time ends a request with 503.",
    )
    worker_memory_bytes: int = Field(
        DEFAULT_MEMORY_BYTES, ge=256 * _MIB, description="Private memory of one worker process."
    )
    worker_max_tasks: int = Field(DEFAULT_MAX_TASKS, ge=1, description="Tasks after which a worker is replaced.")
    queue_limit: int = Field(
        64,
        ge=1,
        description="Requests that may render or wait at once, and as many streams; more get 429 (twice imgproxy's per "
        "core on 16).",
    )
    bodies_limit: int = Field(
        256,
        ge=1,
        description="Requests whose body may be on its way at once; more get 429 (half of the open answers).",
    )
    body_timeout_s: float = Field(
        60.0,
        gt=0,
        description="Seconds between two pieces of a body, after which its client gets 408 (nginx's "
        "client_body_timeout).",
    )
    answers_limit: int = Field(
        512,
        ge=1,
        description="Answers that may be open at once, those of clients that have stopped reading too; more get 429 "
        "(nginx's worker_connections).",
    )
    grace_s: float = Field(
        8.0,
        ge=0,
        description="Seconds from SIGTERM to the end of the process. Running requests have all but the last two of "
        "them, or a quarter, then their connections are cut; Docker kills after 10.",
    )
    jobs_running: int = Field(
        1, ge=1, description="Jobs that run at once, others wait; one, as a job takes all processes of jobs."
    )
    jobs_workers: int | None = Field(
        None,
        ge=1,
        description="Processes that render for jobs, beside those of AUGMENT_WORKERS and as many by default. They have "
        "a lower priority: a job takes what the others leave, as autovacuum does in PostgreSQL.",
    )
    max_request_pixels: int = Field(
        4 * DEFAULT_MAX_PIXELS,
        ge=1,
        description="Pixels of all images of one one-shot request, once for each copy: four of the largest images.",
    )
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="What is logged from.")

    @field_validator("data_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: object) -> object:
        parts = [part for part in value.split(":") if part] if isinstance(value, str) else value
        return tuple(Path(part).absolute() for part in parts) if isinstance(parts, list | tuple) else value

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """What to say of each variable of the environment that looks like a setting and is none."""
    known = [f"AUGMENT_{name.upper()}" for name in Settings.model_fields]
    return [
        f"{name} is no setting and changes nothing{did_you_mean(name, known) or '; docs/settings.md lists them'}"
        for name in sorted(environment)
        if name.startswith("AUGMENT_") and name not in known
    ]


def refusal_to_start(settings: Settings) -> str | None:
    """Why a service with these settings must not start, with the remedy; None where it may."""
    if (missing := next((root for root in settings.data_roots if not root.is_dir()), None)) is not None:
        return f"{missing} is no folder; give --data-root (AUGMENT_DATA_ROOTS) one that exists, or leave it out"
    if settings.api_keys or settings.is_loopback or settings.allow_anonymous:
        return None
    return (
        f"host is {settings.host}, which others can reach, and there is no key: set AUGMENT_API_KEYS, listen on "
        "127.0.0.1, or set AUGMENT_ALLOW_ANONYMOUS=1 if something in front of the service authenticates"
    )
