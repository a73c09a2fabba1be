"""The copies of one record as the bytes of their files."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from augment import encode
from augment.expansion.spec import ExpansionSpec
from augment.render import Renderer
from augment.sample import Applied, Record, Sample
from augment.task import Guard


@dataclass(frozen=True, slots=True)
class EncodedCopy:
    """One rendered copy. ``applied`` is JSON: what was done to it."""

    data: bytes
    height: int
    width: int
    render_key: str
    applied: str


class CopyMaker:
    """Renders and encodes copies of one record, which it decodes once.

    Each copy is a guarded piece of work of its own, so that the limit on time holds for one and not for all. Where the
    guard does it in another process, the decoded picture stays there and the next copy decodes again.
    """

    def __init__(self, renderer: Renderer, spec: ExpansionSpec, guard: Guard, record: Record) -> None:
        self._renderer = renderer
        self._spec = spec
        self._guard = guard
        self._record = record
        self._decoded: Sample | None = None

    def make(self, copy: int) -> EncodedCopy:
        """Raises RecordError where the record cannot be decoded, rendered or encoded."""
        return self._guard(self._renderer.subject(self._record), self._record.key, lambda: self._make(copy))

    def _make(self, copy: int) -> EncodedCopy:
        if self._decoded is None:
            self._decoded = self._renderer.decode(self._record)
        rendered = self._renderer.transform(self._record, self._decoded, draw=copy)
        height, width = rendered.sample.image.shape[:2]
        data = encode.encode(
            rendered.sample.image, self._spec.image_format, self._spec.quality or encode.DEFAULT_QUALITY
        )
        return EncodedCopy(data, height, width, rendered.render_key, _json(rendered.applied))


def _json(applied: Sequence[Applied]) -> str:
    content = [{"name": each.name, "params": each.params} for each in applied]
    return json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
