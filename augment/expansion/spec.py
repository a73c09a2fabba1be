"""What an expansion is: everything that its files depend on, and nothing else."""

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from augment import arguments, encode, engine
from augment.address import digest_fields
from augment.dataset import Dataset
from augment.errors import CallError, OutputError
from augment.expansion import changes
from augment.formats import registry
from augment.pipeline import PipelineSpec
from augment.render import check_seed

REVISION = 1
"""Counts changes of what ``expansion.json``, the manifest's columns and the names of outputs mean."""

COPIES_MAX = 10_000
"""More than any published recipe writes to disk; what is larger is a stream."""

_OUTPUTS_A_SHARD = 128
"""A shard is the work that a kill may cost: some seconds of it, at 10 to 100 ms a picture."""
_NUM_SHARDS_MIN = 32
"""Where there are records enough: a few large pictures keep many cores busy."""
_NUM_SHARDS_WANTED = 4096
_RECORDS_A_SHARD_MAX = 1024

_OF_THE_DATASET = frozenset({"dataset", "refused", "num_records", "classes", "shard_size"})
_OF_THE_ENGINE = frozenset({"engine"})


@dataclass(frozen=True)
class ExpansionSpec:
    """The description in ``expansion.json``.

    ``engine``, ``dataset`` and ``pipeline_digest`` are digests; ``pipeline`` is the canonical pipeline, so that the
    folder can be rendered again without its file. ``refused`` digests what the scan left out, since the manifest names
    it. ``quality`` is None for a format that has none. A shard is ``shard_size`` records in the order of their keys.
    """

    engine: str
    dataset: str
    refused: str
    split: str | None
    pipeline: Mapping[str, object]
    pipeline_digest: str
    seed: int
    copies: int
    include_originals: bool
    format: str
    image_format: str
    quality: int | None
    num_records: int
    classes: tuple[str, ...]
    shard_size: int

    @functools.cached_property
    def id(self) -> str:
        """32 hexadecimal digits: equal where all files are equal by construction."""
        content = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "pipeline"}
        text = json.dumps(content, sort_keys=True, ensure_ascii=False)
        return digest_fields((REVISION, text), person=b"augment.expand").hex()

    @property
    def num_shards(self) -> int:
        """Shards; the last one may hold fewer records than the others."""
        return -(-self.num_records // self.shard_size)

    @property
    def outputs_a_record(self) -> int:
        """Files that one record becomes."""
        return self.copies + int(self.include_originals)

    @property
    def num_outputs(self) -> int:
        """Files that all records become, if none is refused."""
        return self.num_records * self.outputs_a_record

    @property
    def extension(self) -> str:
        """What the names of rendered files end in, without a dot."""
        return encode.EXTENSIONS[self.image_format]

    def shard(self, index: int) -> range:
        """The records of a shard, as positions in the dataset's order."""
        return range(index * self.shard_size, min((index + 1) * self.shard_size, self.num_records))

    def to_json(self) -> str:
        """The text of ``expansion.json``: sorted and indented, so that people and ``diff`` can read it."""
        return json.dumps({"revision": REVISION, **asdict(self)}, sort_keys=True, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str) -> "ExpansionSpec":
        """Read ``expansion.json``; OutputError, which calls the file ``name``, where this engine cannot."""
        try:
            content = json.loads(text)
            revision = content.pop("revision")
            if revision != REVISION:
                raise OutputError(
                    f"{name} has revision {revision}, this version of augment writes {REVISION}; choose another output "
                    "folder, or use the version that wrote this one"
                )
            spec = cls(**{**content, "classes": tuple(content["classes"])})
            if min(spec.num_records, spec.copies, spec.shard_size) < 1 or spec.format not in registry.FORMATS:
                raise ValueError
            encode.check_options(spec.image_format)
        except (ValueError, KeyError, TypeError, AttributeError, CallError):
            raise OutputError(f"{name} is not an expansion's description; choose another output folder") from None
        return spec


def check(
    *, copies: int, seed: int, include_originals: bool, image_format: str, quality: int
) -> tuple[int, int, bool, int]:
    """The numbers as Python's own: seed, copies, include_originals, quality; CallError for an argument out of range."""
    seed, copies = check_seed(seed), arguments.integer("copies", copies, 1, COPIES_MAX)
    include_originals = arguments.flag("include_originals", include_originals)
    encode.check_options(image_format, quality)
    return seed, copies, include_originals, int(quality)


def describe(
    dataset: Dataset,
    pipeline: PipelineSpec,
    *,
    copies: int,
    seed: int,
    include_originals: bool,
    image_format: str,
    quality: int,
) -> ExpansionSpec:
    """Describe the expansion of a dataset, of which the split is chosen already.

    Raises CallError for an argument out of range.
    """
    seed, copies, include_originals, quality = check(
        copies=copies, seed=seed, include_originals=include_originals, image_format=image_format, quality=quality
    )
    refused = (part for each in dataset.refused for part in (each.key, each.reason, each.detail))
    return ExpansionSpec(
        engine=engine.engine_id(),
        dataset=dataset.digest,
        refused=digest_fields(refused).hex(),
        split=dataset.split,
        pipeline=json.loads(json.dumps(pipeline.canonical())),
        pipeline_digest=pipeline.digest,
        seed=seed,
        copies=copies,
        include_originals=include_originals,
        format=dataset.format,
        image_format=image_format,
        quality=None if image_format == "png" else quality,
        num_records=dataset.num_records,
        classes=dataset.classes,
        shard_size=_shard_size(dataset.num_records, copies + int(include_originals)),
    )


def _shard_size(num_records: int, outputs_a_record: int) -> int:
    """A function of what is expanded alone, so that the files do not tell how many workers there were."""
    small = min(_OUTPUTS_A_SHARD // outputs_a_record, num_records // _NUM_SHARDS_MIN)
    return min(max(small, num_records // _NUM_SHARDS_WANTED, 1), _RECORDS_A_SHARD_MAX)


def check_same(
    old: ExpansionSpec, new: ExpansionSpec, root: Path, *, update: bool, dataset: Dataset | None = None
) -> bool:
    """Whether the folder holds this very expansion; False where it is to be brought up to date.

    Raises OutputError where the folder is another expansion's, or where the dataset or the engine changed and
    ``update`` was not asked for; with the ``dataset`` of now it says which records did.
    """
    if old.id == new.id:
        return True
    changed = {field.name for field in fields(new) if getattr(old, field.name) != getattr(new, field.name)}
    wanted = changed - _OF_THE_DATASET - _OF_THE_ENGINE - {"pipeline"}
    if wanted:
        named = sorted("pipeline" if name == "pipeline_digest" else name for name in wanted)
        told = ", ".join(f"{name} is {_show(old, name)} there and {_show(new, name)} here" for name in named)
        raise OutputError(f"{root} holds another expansion: {told}; choose another output folder, or ask for the same")
    if not update:
        causes = []
        if "dataset" in changed or "refused" in changed:
            causes.append(f"the dataset changed{_changes(old, new, root, dataset)}")
        if "engine" in changed:
            causes.append("the engine changed (another version of augment or of a library that decides pixels)")
        if not causes:
            causes.append("this version of augment cuts the dataset into other shards")
        raise OutputError(
            f"{' and '.join(causes)} since {root} was written; run it with --update to keep what is the same and "
            "render the rest, or choose another output folder"
        )
    return False


def _changes(old: ExpansionSpec, new: ExpansionSpec, root: Path, dataset: Dataset | None) -> str:
    told = "" if dataset is None else str(changes.since(root, old.num_shards, old.id, dataset))
    if not told and old.dataset == new.dataset:
        told = "in the files that are refused"
    if not told and old.num_records != new.num_records:
        told = f"{old.num_records} records then, {new.num_records} now"
    return f" ({told})" if told else ""


def _show(spec: ExpansionSpec, name: str) -> str:
    return spec.pipeline_digest if name == "pipeline" else json.dumps(getattr(spec, name))
