"""The outputs of one record as bytes: its copies, rendered and encoded, and its own picture."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from augment import masks
from augment.encode import DEFAULT_QUALITY, encode
from augment.errors import RecordError
from augment.expansion.outputs import Outputs
from augment.expansion.spec import ExpansionSpec
from augment.render import Renderer
from augment.sample import Applied, Record, Rendered, Sample
from augment.workers.task import Guard

_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Encoded:
    """One output. ``mask`` is PNG; ``annotations`` is the text of ``Annotations.to_json``.

    ``applied`` and ``dropped`` are JSON, what was done to a copy and what it lost; None for an original.
    """

    data: bytes
    height: int
    width: int
    mask: bytes | None = None
    annotations: str | None = None
    render_key: str | None = None
    applied: str | None = None
    dropped: str | None = None


class CopyMaker:
    """Renders and encodes copies of one record, which it decodes once.

    Each copy is a guarded piece of work of its own, so that the limit on time holds for one and not for all. Where the
    guard does it in another process, the decoded picture stays there and the next copy decodes again.
    """

    def __init__(self, renderer: Renderer, spec: ExpansionSpec, outputs: Outputs, guard: Guard, record: Record) -> None:
        self._renderer = renderer
        self._spec = spec
        self._outputs = outputs
        self._guard = guard
        self._record = record
        self._decoded: Sample | None = None

    def make(self, copy: int | None) -> Encoded:
        """A copy by its number, or the original; RecordError where it cannot be decoded, rendered or encoded."""
        if copy is None:
            return self._original()
        return self._guard(self._renderer.subject(self._record), self._record.key, lambda: self._make(copy))

    def _make(self, copy: int) -> Encoded:
        record = self._record
        if self._decoded is None:
            self._decoded = self._renderer.decode(record)
        rendered = self._renderer.transform(record, self._decoded, draw=copy)
        sample = rendered.sample
        height, width = sample.image.shape[:2]
        try:
            data = encode(sample.image, self._spec.image_format, self._spec.quality or DEFAULT_QUALITY)
            has_mask = self._outputs.has_mask(record) and sample.mask is not None
            mask = masks.encode_mask(sample.mask) if has_mask and sample.mask is not None else None
        except RecordError as error:
            raise RecordError(record.key, error.reason, error.detail) from error
        return Encoded(
            data,
            height,
            width,
            mask=mask,
            annotations=self._said(rendered),
            render_key=rendered.render_key,
            applied=_json(_applied(rendered.applied)),
            dropped=_json(rendered.dropped) if rendered.dropped else None,
        )

    def _said(self, rendered: Rendered) -> str | None:
        """What a copy's annotations are; None where its record has none, and donors brought nothing."""
        sample = rendered.sample
        if self._record.annotations is None and sample.boxes is sample.keypoints is sample.labels is None:
            return None
        moved = self._renderer.annotations(self._record, rendered)
        if self._record.annotations is None and not (moved.boxes or moved.keypoints or moved.labels):
            return None
        return self._outputs.said(moved.to_json())

    def _original(self) -> Encoded:
        record, dataset = self._record, self._renderer.dataset
        return Encoded(
            dataset.read(record),
            record.height,
            record.width,
            mask=self._original_mask() if self._outputs.has_mask(record) else None,
            annotations=self._outputs.said(record.annotations),
        )

    def _original_mask(self) -> bytes:
        """The record's own mask where it is a PNG, else its indices as one."""
        data = self._renderer.dataset.read_mask(self._record)
        if data.startswith(_PNG):
            return data
        subject = self._renderer.subject(self._record)
        return self._guard(subject, self._record.key, lambda: masks.encode_mask(masks.decode_mask(data)))


def _applied(applied: Sequence[Applied]) -> list[Mapping[str, object]]:
    return [{"name": each.name, "params": each.params} for each in applied]


_json = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode
