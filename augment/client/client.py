"""Access to the service from Python: streams for trainers, one-shot images, expansions as jobs."""

import io
import json
import sys
import time
import uuid
import weakref
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TextIO, Unpack

from augment.client.declaration import stream_declaration
from augment.client.replicas import Replicas, ReplicaStatus
from augment.client.stream import ClientStream
from augment.client.transport import ClientError, JobError, Transport
from augment.expansion.options import OPTIONS, ExpansionKeywords, ExpansionOptions
from augment.samples.sample import Batch
from augment.streams.options import STREAM_OPTIONS, StreamKeywords, StreamOptions
from augment.tta.merge import Merged, merge_predictions
from augment.validation import MaxFailures, quoted

_POLL_S = 0.25
_FINAL = frozenset({"succeeded", "failed", "cancelled"})
_BAR = 30


def run(transport: Transport, request: Mapping[str, Any], *, wait: bool, progress: bool) -> dict[str, Any]:
    """Run a job and return its last document. Raises JobError if the job failed or was cancelled."""
    server = transport.current  # a job belongs to one home: no other server knows it
    headers = {"Idempotency-Key": uuid.uuid4().hex}  # a retry after a lost answer must not start a second job
    document: dict[str, Any] = transport.json("POST", "/v1/jobs", dict(request), headers=headers, only=server)
    if not wait:
        return document
    shown = ProgressBar(sys.stderr) if progress else None
    try:
        while True:
            document = transport.json("GET", f"/v1/jobs/{document['id']}", only=server)
            if shown is not None:
                shown.show(document)
            if document["state"] in _FINAL:
                break
            time.sleep(_POLL_S)
    finally:
        if shown is not None:
            shown.end()
    if document["state"] != "succeeded":
        raise JobError(document)
    return document


class ProgressBar:
    """Progress bar on a terminal; elsewhere one line for each state and each tenth."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._is_terminal = file.isatty()
        self._last: tuple[object, int] | None = None

    def show(self, document: Mapping[str, Any]) -> None:
        """Draw the progress of a job's document."""
        counts = document.get("progress") or {}
        done, total, failed = (int(counts.get(name) or 0) for name in ("done", "total", "failed"))
        share = done / total if total else 0.0
        text = f"{document['state']}: {done} of {total}" + (f", {failed} refused" if failed else "")
        if self._is_terminal:
            filled = round(share * _BAR)
            self._file.write(f"\r[{'#' * filled}{'.' * (_BAR - filled)}] {text}\x1b[K")
        elif (step := (document["state"], int(share * 10))) != self._last:
            self._last = step
            self._file.write(f"{text}\n")
        self._file.flush()

    def end(self) -> None:
        """End the line on a terminal."""
        if self._is_terminal:
            self._file.write("\n")


@dataclass(frozen=True, slots=True)
class AugmentedImage:
    """One augmented image: its encoded bytes, its provenance and annotations, and its mask as PNG or None."""

    data: bytes
    name: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    mask: bytes | None = None


class Client:
    """Client of one service, or of several replicas with the same data. Thread-safe; ``close`` ends all reading.

    Replicas are given by several URLs or by a host name with several addresses; they share the batches of each epoch.
    ``timeout_s`` bounds each wait for bytes, ``deadline_s`` the time without any progress. Until the service has
    answered once, a call fails after 5 s.
    """

    def __init__(
        self, url: str | Sequence[str], key: str | None = None, *, timeout_s: float = 60.0, deadline_s: float = 120.0
    ) -> None:
        if not isinstance(url, str | Iterable):
            raise ClientError(f"url is {quoted(url)}; give a URL like http://host:8000, or a list of them")
        urls = [url] if isinstance(url, str) else list(url)
        self._transport = Transport(urls, key, timeout_s=timeout_s, deadline_s=deadline_s)
        self._replicas = Replicas(self._transport)
        self._streams: weakref.WeakSet[ClientStream] = weakref.WeakSet()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_streams"}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state, _streams=weakref.WeakSet())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading all streams of this client."""
        for stream in list(self._streams):
            stream.close()

    @property
    def version(self) -> dict[str, Any]:
        """Service version, replica id, engine and library versions, as ``GET /version`` returns them."""
        document: dict[str, Any] = self._transport.json("GET", "/version")
        return document

    @property
    def replicas(self) -> tuple[ReplicaStatus, ...]:
        """State, latency and share of each replica, in the order of the URLs."""
        self._replicas.discover()
        self._replicas.check()
        return self._replicas.status()

    @property
    def datasets(self) -> list[dict[str, Any]]:
        """Documents of all datasets of the service."""
        documents: list[dict[str, Any]] = []
        after = None
        while True:
            page = self._transport.json("GET", "/v1/datasets", query={"after": after})
            documents += page["datasets"]
            after = page.get("next")
            if after is None:
                return documents

    def register(
        self,
        name: str,
        path: str | Path,
        *,
        format: str | None = None,  # noqa: A002 - the word of the contract
        replace: bool = False,
        bad_annotations: str = "refuse",
    ) -> dict[str, Any]:
        """Register a folder that the service can read, wait until it is scanned, and return its document.

        ``bad_annotations="leave_out"`` leaves out images whose annotations are invalid.
        """
        request = {"name": name, "path": str(path), "replace": replace, "bad_annotations": bad_annotations}
        if format is not None:
            request["format"] = format
        document: dict[str, Any] = self._transport.json("POST", "/v1/datasets", request)
        while document.get("state") == "scanning":
            time.sleep(_POLL_S)
            document = self._transport.json("GET", f"/v1/datasets/{name}")
        return document

    def stream(
        self,
        *,
        dataset: str,
        pipeline: str | Mapping[str, Any] | Sequence[Any] | None = None,
        views: Sequence[Mapping[str, Any]] | None = None,
        prefetch: int = 2,
        max_failures: MaxFailures | None = None,
        **options: Unpack[StreamKeywords],
    ) -> ClientStream:
        """Declare a stream that fetches up to ``prefetch`` batches ahead.

        ``views`` (in place of ``pipeline``) are those of ``augment.Stream``, ``options`` the fields of
        ``StreamOptions``. ``pipeline`` may also be a list of steps, ``normalize`` the name of statistics
        (``"imagenet"``), and ``dtype`` a type of NumPy or a framework. ``max_failures`` bounds the rows of this run
        that replace refused records: a count, or a fraction above 0 and below 1.
        """
        asked = StreamOptions(**options)
        declaration: dict[str, Any] = {"dataset": dataset, "pipeline": pipeline, "views": views}
        declaration |= {name: getattr(asked, name) for name in STREAM_OPTIONS}
        stream = ClientStream(
            self._transport,
            self._replicas,
            stream_declaration(declaration),
            prefetch=prefetch,
            max_failures=max_failures,
        )
        self._streams.add(stream)
        return stream

    def merge(self, predictions: Sequence[Mapping[str, Any]], batch: Batch, **options: Any) -> Merged:
        """Merge a model's predictions for the views of a batch into one prediction for each row.

        ``options`` are those of ``augment.merge_predictions``. This runs locally.
        """
        return merge_predictions(predictions, batch, **options)

    def augment(
        self,
        image: bytes | str | Path,
        *,
        pipeline: str | Mapping[str, Any],
        seed: int | None = None,
        copies: int = 1,
        image_format: str | None = None,
        quality: int | None = None,
        annotations: Mapping[str, Any] | None = None,
        mask: bytes | str | Path | None = None,
    ) -> list[AugmentedImage]:
        """Augment one image, given as encoded bytes or as a path. The seed is random if it is omitted.

        ``annotations`` (``boxes``, ``box_labels``, ``keypoints`` and the others of ``POST /v1/augment``) and ``mask``
        (class indices as PNG) move with the pixels. The results hold them in ``provenance`` and ``mask``.
        """
        files = {"images": _content(image)} | ({} if mask is None else {"masks": _content(mask)})
        text = pipeline if isinstance(pipeline, str) else json.dumps(pipeline)
        fields = {
            "pipeline": text, "seed": seed, "copies": copies, "image_format": image_format, "quality": quality,
            "annotations": None if annotations is None else json.dumps(annotations),
        }  # fmt: skip
        body, content_type = _form(files, {name: value for name, value in fields.items() if value is not None})
        answer, headers = self._transport.request(
            "POST", "/v1/augment", body=body, headers={"Content-Type": content_type}
        )
        kind = headers.get("content-type") or ""
        if kind.startswith("image/"):
            return [AugmentedImage(answer, f"0.{kind[6:]}", json.loads(headers.get("augment-provenance") or "{}"))]
        with zipfile.ZipFile(io.BytesIO(answer)) as archive:
            results = json.loads(archive.read("annotations.json"))["results"]
            return [
                AugmentedImage(
                    archive.read(result["name"]),
                    result["name"],
                    result,
                    archive.read(result["mask"]) if "mask" in result else None,
                )
                for result in results
            ]

    def expand(
        self,
        *,
        dataset: str,
        output: str,
        pipeline: str | Mapping[str, Any] | None = None,
        wait: bool = True,
        progress: bool = True,
        **options: Unpack[ExpansionKeywords],
    ) -> dict[str, Any]:
        """Expand a dataset as a job of the service, wait for its end and return the job's document.

        ``output`` is the name of an output, ``options`` are the fields of ``ExpansionOptions``. ``copies=0`` with
        ``include_originals`` needs no pipeline. A lost connection does not end the job. Raises JobError if the job
        failed or was cancelled.
        """
        self._replicas.discover()
        request: dict[str, Any] = {"dataset": dataset, "pipeline": pipeline, "output": {"name": output}}
        values = ExpansionOptions(**options)
        for name, option in OPTIONS.items():
            member = option.metadata["output_member"]
            (request["output"] if member else request)[member or name] = _json_value(getattr(values, name))
        return run(self._transport, request, wait=wait, progress=progress)


def _json_value(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, Collection) and not isinstance(value, str) else value


def _content(file: bytes | str | Path) -> bytes:
    return file if isinstance(file, bytes) else Path(file).read_bytes()


def _form(files: Mapping[str, bytes], fields: Mapping[str, object]) -> tuple[bytes, str]:
    """Return a multipart body (RFC 7578) and its content type."""
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    for name, content in files.items():
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="image"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        parts += [head.encode(), content, b"\r\n"]
    body = b"".join([*parts, f"--{boundary}--\r\n".encode()])
    return body, f"multipart/form-data; boundary={boundary}"
