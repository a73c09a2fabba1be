"""Settings of the service: each limit and path, with its default and the source of the number."""

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
    """Settings, read from the environment as ``AUGMENT_<NAME>``. Arguments of ``augment serve`` override it."""

    model_config = SettingsConfigDict(env_prefix="AUGMENT_", env_ignore_empty=True, extra="ignore", frozen=True)

    host: str = Field("127.0.0.1", description="Address to listen on. Loopback, as for any development server.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 for a free one (8000 as in uvicorn).")
    home: Path = Field(
        Path("augment-home"),
        description="Folder of the state: datasets, pipelines, streams, jobs, outputs. One service at a time.",
    )
    data_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        (),
        description="Folders, separated by `:`, below which datasets may be registered by path; none by default "
        "(imgproxy serves no local files without a root either).",
    )
    workers: int | None = Field(
        None, ge=1, description="Number of processes that render; by default one for each CPU of this process."
    )
    api_keys: Annotated[tuple[str, ...], NoDecode] = Field(
        (), repr=False, description="Keys of clients, separated by `,`. Without keys it only serves on loopback."
    )
    allow_anonymous: bool = Field(
        default=False,
        description="Serve addresses other than loopback without keys; only behind a proxy that authenticates.",
    )
    batch_cache_bytes: int = Field(
        _GIB, ge=_MIB, description="Bytes of rendered batches kept for other readers: 100 of 64 x 224 x 224 images."
    )
    batch_folder: Path = Field(
        Path("/dev/shm"),  # noqa: S108 - files there are in a subfolder with a random name
        description="Memory-backed folder for rendered batches, as PyTorch's loaders use it; when it is full, the "
        "home's disk is used.",
    )
    decode_cache_bytes: int = Field(
        8 * _GIB,
        ge=0,
        description="Bytes of decoded images kept on the home's disk between epochs, first come first kept, while a "
        "GiB is left there: 15,000 photographs of ImageNet's size. 0 keeps none.",
    )
    max_pixels: int = Field(DEFAULT_MAX_PIXELS, ge=1, description="Pixels of one image; 50 megapixels, as in imgproxy.")
    max_body_bytes: int = Field(
        256 * _MIB, ge=_KIB, description="Bytes of one request's body, except uploads of datasets: 50 photographs."
    )
    max_files: int = Field(
        1_000_000, ge=1, description="Files of one dataset: ImageNet has 1.28 million, in two parts."
    )
    max_unpack_ratio: int = Field(
        100,
        ge=1,
        description="Ratio of unpacked to packed size of an uploaded archive; 100, as in Apache POI.",
    )
    scan_wait_s: float = Field(
        10.0,
        ge=0,
        description="Seconds that a client waits for a scan before it gets 202, and for a dataset's mean and deviation "
        "before it gets 503; gateways wait 30 to 60.",
    )
    max_images: int = Field(64, ge=1, description="Images of one one-shot request, and all copies together.")
    max_home_bytes: int = Field(100 * _GIB, ge=_MIB, description="Bytes of uploads and outputs together.")
    record_timeout_s: float = Field(
        DEFAULT_RECORD_TIMEOUT_S,
        gt=0,
        description="CPU seconds to decode and render one record, and seconds to scan one file; three times what "
        "imgproxy allows a request. After ten times as many seconds of wall time a request ends with 503.",
    )
    worker_memory_bytes: int = Field(
        DEFAULT_MEMORY_BYTES, ge=256 * _MIB, description="Private memory of one worker process."
    )
    worker_max_tasks: int = Field(DEFAULT_MAX_TASKS, ge=1, description="Tasks after which a worker is replaced.")
    queue_limit: int = Field(
        64,
        ge=1,
        description="Requests that may render or wait at once, and as many streams; more get 429 (twice imgproxy's "
        "queue per core, on 16 cores).",
    )
    bodies_limit: int = Field(
        256,
        ge=1,
        description="Requests whose bodies are received at once; more get 429 (half of the open answers).",
    )
    body_timeout_s: float = Field(
        60.0,
        gt=0,
        description="Seconds without a piece of the body, after which the client gets 408 (nginx's "
        "client_body_timeout).",
    )
    answers_limit: int = Field(
        512,
        ge=1,
        description="Answers that are open at once, including those of clients that have stopped reading; more get 429 "
        "(nginx's worker_connections).",
    )
    grace_s: float = Field(
        8.0,
        ge=0,
        description="Seconds from SIGTERM to the end of the process. Connections are cut two seconds before the end, "
        "or a quarter of the time if that is less; Docker kills after 10.",
    )
    jobs_running: int = Field(
        1, ge=1, description="Jobs that run at once; others wait. One, because a job uses all processes of jobs."
    )
    jobs_workers: int | None = Field(
        None,
        ge=1,
        description="Number of processes that render for jobs, in addition to AUGMENT_WORKERS and as many by default. "
        "They have a lower priority than those, as autovacuum has in PostgreSQL.",
    )
    max_request_pixels: int = Field(
        4 * DEFAULT_MAX_PIXELS,
        ge=1,
        description="Pixels of all images of one one-shot request, once for each copy: four of the largest images.",
    )
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Lowest level that is logged.")

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
        """True if only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return a warning for each environment variable that looks like a setting but is not one."""
    known = [f"AUGMENT_{name.upper()}" for name in Settings.model_fields]
    return [
        f"{name} is not a setting and has no effect{did_you_mean(name, known) or '; docs/settings.md lists them'}"
        for name in sorted(environment)
        if name.startswith("AUGMENT_") and name not in known
    ]


def refusal_to_start(settings: Settings) -> str | None:
    """Return why a service with these settings must not start, with the remedy, or None if it may."""
    if (missing := next((root for root in settings.data_roots if not root.is_dir()), None)) is not None:
        return f"{missing} is not a folder; set --data-root (AUGMENT_DATA_ROOTS) to one that exists, or leave it out"
    if settings.api_keys or settings.is_loopback or settings.allow_anonymous:
        return None
    return (
        f"host is {settings.host}, which other machines can reach, but no key is set: set AUGMENT_API_KEYS, listen on "
        "127.0.0.1, or set AUGMENT_ALLOW_ANONYMOUS=1 if a proxy in front of the service authenticates"
    )
