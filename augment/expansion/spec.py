"""ExpansionSpec: everything that an expansion's files depend on, and nothing else."""

import functools
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from augment import engine, validation
from augment.address import digest_fields
from augment.datasets.dataset import Dataset
from augment.errors import CallError, DatasetError, OutputError
from augment.expansion import copies, folder, manifest
from augment.expansion.copies import Share
from augment.expansion.options import Copies, ExpansionOptions
from augment.expansion.splits import Division, Part, full_key, views
from augment.formats.format import Format, OutputDataset, ShardFormat
from augment.images import encode
from augment.pipelines.spec import PipelineSpec
from augment.render.renderer import check_seed
from augment.samples.sample import Refusal
from augment.scanning import scan

REVISION = 3
"""Counts changes in the meaning of ``expansion.json``, the manifest's columns and the names of outputs."""

TARGETS = ("label", "labels", "mask", "boxes", "instance_masks", "keypoints")
"""Targets that can be left out of an output; the words of ``--drop-targets``."""

_OUTPUTS_A_SHARD = 256
"""Outputs in a shard, which is the work that a kill may lose: seconds, at 1 to 50 ms an image."""
_NUM_SHARDS_MIN = 32
"""Fewest shards if there are enough records: a few large images then keep many cores busy."""
_NUM_SHARDS_WANTED = 4096
_RECORDS_A_SHARD_MAX = 1024

_MAY_CHANGE = {"may_change": True}
"""Metadata of fields in which a folder may differ from the request and be updated (``--update``)."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Records ``start`` to ``stop`` of one part, in the order of their keys.

    ``index`` counts all shards, ``number`` those of the part.
    """

    index: int
    part: Part
    number: int
    records: range


@dataclass(frozen=True)
class ExpansionSpec:
    """Content of ``expansion.json``.

    ``engine``, ``dataset`` and ``pipeline_digest`` are digests; ``pipeline`` is the canonical pipeline, so that the
    folder can be rendered again without its file. ``refused`` digests what the scan left out, because the manifest
    lists it. ``references`` are digests by name of the datasets that transforms use. ``split``, ``augmented`` and
    ``copy_splits`` are as in ``splits.Division``, ``parts`` are the resulting parts. ``copies`` is the requested rule,
    ``shares`` its result by class, empty for a number. ``image_format`` is None if each copy is encoded like its
    original, ``quality`` for a format that has none. ``source_format`` is the dataset's format and ``details`` its
    private data; ``targets`` are those of the outputs. A shard has ``shard_size`` records.
    """

    engine: str = field(metadata=_MAY_CHANGE)
    dataset: str = field(metadata=_MAY_CHANGE)
    refused: str = field(metadata=_MAY_CHANGE)
    source_format: str
    split: str | None
    augmented: tuple[str, ...]
    copy_splits: bool
    parts: tuple[Part, ...] = field(metadata=_MAY_CHANGE)
    pipeline: Mapping[str, object] = field(metadata=_MAY_CHANGE)  # compared by its digest
    pipeline_digest: str
    references: Mapping[str, str] = field(metadata=_MAY_CHANGE)
    seed: int
    copies: Copies
    shares: tuple[Share, ...] = field(metadata=_MAY_CHANGE)
    include_originals: bool
    format: str
    image_format: str | None
    quality: int | None
    drop_targets: tuple[str, ...]
    classes: tuple[str, ...] = field(metadata=_MAY_CHANGE)
    keypoint_names: tuple[str, ...] = field(metadata=_MAY_CHANGE)
    targets: tuple[str, ...] = field(metadata=_MAY_CHANGE)
    details: Mapping[str, Any] = field(metadata=_MAY_CHANGE)
    shard_size: int = field(metadata=_MAY_CHANGE)

    @functools.cached_property
    def id(self) -> str:
        """Digest of the expansion, 32 hexadecimal digits: equal if all files are equal by construction."""
        content = {name: value for name, value in asdict(self).items() if name != "pipeline"}
        text = json.dumps(content, sort_keys=True, ensure_ascii=False)
        return digest_fields((REVISION, text), person=b"augment.expand").hex()

    @functools.cached_property
    def _shards(self) -> tuple[tuple[Part, int, int], ...]:
        """Parts with the numbers of their first shard and of the first shard after them."""
        found, first = [], 0
        for part in self.parts:
            following = first - (-part.num_records // self.shard_size)
            found.append((part, first, following))
            first = following
        return tuple(found)

    @functools.cached_property
    def _copies_by_class(self) -> Mapping[str | None, Share]:
        return {share.class_name: share for share in self.shares}

    @property
    def num_shards(self) -> int:
        """Number of shards; the last one of a part may hold fewer records than the others."""
        return self._shards[-1][2]

    @property
    def num_records(self) -> int:
        """Number of augmented records."""
        return sum(part.num_records for part in self.parts if not part.copied)

    @property
    def num_copied(self) -> int:
        """Number of records of splits copied unchanged."""
        return sum(part.num_records for part in self.parts if part.copied)

    @property
    def num_outputs(self) -> int:
        """Number of images that the augmented records become, if none is refused."""
        if isinstance(self.copies, int):
            num_copies = self.copies * self.num_records
        else:
            num_copies = sum(share.num_copies for share in self.shares)
        return num_copies + self.num_records * int(self.include_originals)

    @property
    def has_folders(self) -> bool:
        """True if each split has its own folder."""
        return self.split is None and self.parts[0].split is not None

    @functools.cached_property
    def whole(self) -> OutputDataset:
        """Facts about all outputs that the format may use."""
        return OutputDataset(
            classes=self.classes,
            keypoint_names=self.keypoint_names,
            targets=frozenset(self.targets),
            splits=tuple(part.split for part in self.parts if part.split is not None) if self.has_folders else (),
            source_format=self.source_format,
            details=self.details,
        )

    @property
    def packs(self) -> bool:
        """True if the format packs many images into one file."""
        return isinstance(scan.FORMATS[self.format], ShardFormat)

    def folder(self, part: Part) -> str | None:
        """Return the folder of a part's split in the output, or None if splits have no folders."""
        return part.split if self.has_folders else None

    def shard(self, index: int) -> Shard:
        """Return a shard by its number."""
        part, first, _ = next(each for each in self._shards if index < each[2])
        start = (index - first) * self.shard_size
        records = range(start, min(start + self.shard_size, part.num_records))
        return Shard(index, part, index - first, records)

    def copies_of(self, part: Part, key: str, class_name: str | None) -> int:
        """Return the number of copies of a record of this part."""
        if part.copied:
            return 0
        if isinstance(self.copies, int):
            return self.copies
        share = self._copies_by_class.get(class_name)
        return 0 if share is None else share.of(part.split, key)

    def has_original(self, part: Part) -> bool:
        """Return True if the part's own images are outputs."""
        return part.copied or self.include_originals

    def outputs_of(self, part: Part, key: str, class_name: str | None) -> int:
        """Return the number of a record's images that count towards ``num_outputs``."""
        return 0 if part.copied else self.copies_of(part, key, class_name) + int(self.include_originals)

    def to_json(self) -> str:
        """Return the text of ``expansion.json``: sorted and indented, so that people and ``diff`` can read it."""
        return json.dumps({"revision": REVISION, **asdict(self)}, sort_keys=True, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, root: Path) -> "ExpansionSpec | None":
        """Read the expansion of a folder, or return None if it holds none. Raises OutputError as ``from_json``."""
        text = folder.read_text(root, folder.DESCRIPTION)
        return None if text is None else cls.from_json(text, str(root / folder.DESCRIPTION))

    @classmethod
    def from_json(cls, text: str, name: str) -> "ExpansionSpec":
        """Read ``expansion.json``. Raises OutputError, which calls the file ``name``, if this engine cannot read it."""
        try:
            content = json.loads(text)
            revision = content.pop("revision")
            if revision != REVISION:
                raise OutputError(
                    f"{name} has revision {revision}, this version of augment writes {REVISION}; choose another output "
                    "folder, or use the version that wrote this one"
                )
            for names in ("augmented", "drop_targets", "classes", "keypoint_names", "targets"):
                content[names] = tuple(content[names])
            content["parts"] = tuple(Part(**part) for part in content["parts"])
            content["shares"] = tuple(Share(**share) for share in content["shares"])
            if not all(isinstance(digest, str) for digest in content["references"].values()):
                raise ValueError
            spec = cls(**content)
            copies.check(spec.copies, least=0)
            numbers = [part.num_records for part in spec.parts]
            if min(*numbers, sum(numbers), spec.shard_size) < 1 or spec.format not in scan.FORMATS:
                raise ValueError
            if spec.image_format is not None:
                encode.check_options(spec.image_format)
        except (ValueError, KeyError, TypeError, AttributeError, CallError):
            raise OutputError(f"{name} is not an expansion's description; choose another output folder") from None
        return spec


def checked(options: ExpansionOptions) -> ExpansionOptions:
    """Return the options with Python's own numbers. Raises CallError for a value out of range."""
    include_originals = validation.flag("include_originals", options.include_originals)
    encode.check_options("jpeg" if options.image_format is None else options.image_format, options.quality)
    return replace(
        options,
        seed=check_seed(options.seed),
        copies=copies.check(options.copies, least=0 if include_originals else 1),
        include_originals=include_originals,
        quality=int(options.quality),
        update=validation.flag("update", options.update),
        max_failures=validation.FailureBudget(options.max_failures).max_failures,
    )


def describe(
    dataset: Dataset,
    division: Division,
    pipeline: PipelineSpec,
    options: ExpansionOptions,
    references: Mapping[str, Dataset] | None = None,
) -> ExpansionSpec:
    """Describe the expansion of a dataset with checked options.

    Raises CallError for an argument out of range, DatasetError if the format cannot hold the dataset's targets or the
    rule of copies does not hold for its classes.
    """
    name = dataset.format if options.output_format is None else validation.text("output_format", options.output_format)
    targets = _targets(dataset, scan.named(name), options.drop_targets)
    augmented = [(part.split, each) for part, each in views(dataset, division.parts) if not part.copied]
    by_class = copies.shares(augmented, options.copies, include_originals=options.include_originals)
    refused = (field for each in left_out(dataset, division) for field in (each.key, each.reason, each.detail))
    num_records = sum(part.num_records for part in division.parts)
    spec = ExpansionSpec(
        engine=engine.engine_id(),
        dataset=dataset.digest,
        refused=digest_fields(refused).hex(),
        source_format=dataset.format,
        split=division.split,
        augmented=division.augmented,
        copy_splits=division.copy_splits,
        parts=division.parts,
        pipeline=json.loads(json.dumps(pipeline.canonical())),
        pipeline_digest=pipeline.digest,
        references={name: each.digest for name, each in (references or {}).items()},
        seed=options.seed,
        copies=options.copies,
        shares=by_class,
        include_originals=options.include_originals,
        format=name,
        image_format=options.image_format,
        quality=None if options.image_format == "png" else options.quality,
        drop_targets=tuple(target for target in TARGETS if target in options.drop_targets),
        classes=dataset.classes,
        keypoint_names=dataset.keypoint_names,
        targets=targets,
        details=json.loads(json.dumps(dataset.details)),
        shard_size=1,
    )
    outputs = spec.num_outputs + spec.num_copied
    if not outputs:
        raise CallError("no record gets a copy; ask for more copies, or include the originals (include_originals)")
    return replace(spec, shard_size=_shard_size(num_records, -(-outputs // num_records)))


def left_out(dataset: Dataset, division: "Division | ExpansionSpec") -> Iterator[Refusal]:
    """Yield the refusals of the scan in the parts; if one split is expanded alone, relative to it."""
    if division.split is not None:
        return iter(dataset.choose(division.split).refused)
    if division.copy_splits or not division.augmented:
        return iter(dataset.refused)
    prefixes = tuple(f"{part.split}/" for part in division.parts)
    return (refusal for refusal in dataset.refused if refusal.key.startswith(prefixes))


def _targets(dataset: Dataset, chosen: Format, drop_targets: Collection[str]) -> tuple[str, ...]:
    """Return the targets of outputs: the dataset's without the dropped ones."""
    for name in drop_targets:
        if name not in TARGETS:
            raise CallError(f"drop_targets names {name!r}; it can name {', '.join(TARGETS)}")
    gone = set(drop_targets) | ({"instance_masks"} if "boxes" in drop_targets else set())
    left = dataset.targets - gone
    lost = [name for name in TARGETS if name in left - chosen.writes]
    if lost:
        held = [name for name in TARGETS if name in chosen.writes]
        raise DatasetError(
            f"the dataset has {' and '.join(lost)}, which the format {chosen.name} cannot hold (it holds "
            f"{', '.join(held) or 'images alone'}); choose another format, or leave them out with --drop-targets "
            f"{','.join(lost)} (drop_targets)"
        )
    return tuple(sorted(name for name in left if name.partition("_")[0] != "keypoint" or "keypoints" in left))


def _shard_size(num_records: int, outputs_a_record: int) -> int:
    """Return the records in a shard, a function of the expansion alone, so that files do not depend on the workers."""
    small = min(_OUTPUTS_A_SHARD // outputs_a_record, num_records // _NUM_SHARDS_MIN)
    return min(max(small, num_records // _NUM_SHARDS_WANTED, 1), _RECORDS_A_SHARD_MAX)


def check_same(
    old: ExpansionSpec, new: ExpansionSpec, root: Path, *, update: bool, dataset: Dataset | None = None
) -> bool:
    """Return True if the folder holds this same expansion, or False if it must be updated.

    Raises OutputError if the folder is another expansion's, or if the dataset or the engine changed and ``update`` is
    not set; given the current ``dataset``, the message names the changed records.
    """
    if old.id == new.id:
        return True
    differing = [each for each in fields(new) if getattr(old, each.name) != getattr(new, each.name)]
    changed = {each.name for each in differing}
    wanted = [each.name for each in differing if not each.metadata.get("may_change")]
    if wanted:
        named = sorted("pipeline" if name == "pipeline_digest" else name for name in wanted)
        told = ", ".join(f"{name} is {_show(old, name)} there and {_show(new, name)} here" for name in named)
        raise OutputError(
            f"{root} holds another expansion: {told}; choose another output folder, or give the same options"
        )
    if not update:
        causes = []
        if "dataset" in changed or "refused" in changed:
            causes.append(f"the dataset changed{_changes(old, new, root, dataset)}")
        others = [name for name, digest in sorted(new.references.items()) if old.references.get(name) != digest]
        causes += [f"the references {name!r} changed" for name in others]
        if "engine" in changed:
            causes.append("the engine changed (another version of augment or of a library that decides pixels)")
        if not causes:
            causes.append("this version of augment cuts the dataset into other shards")
        raise OutputError(
            f"{' and '.join(causes)} since {root} was written; run it with --update to keep what is unchanged and "
            "render the rest, or choose another output folder"
        )
    return False


def _changes(old: ExpansionSpec, new: ExpansionSpec, root: Path, dataset: Dataset | None) -> str:
    told = "" if dataset is None else changes_since(root, old, new, dataset).text
    if not told and old.dataset == new.dataset:
        told = "in the files that are refused"
    numbers = [sum(part.num_records for part in spec.parts) for spec in (old, new)]
    if not told and numbers[0] != numbers[1]:
        told = f"{numbers[0]} records then, {numbers[1]} now"
    return f" ({told})" if told else ""


def _show(spec: ExpansionSpec, name: str) -> str:
    if name == "image_format" and spec.image_format is None:
        return "that of each original"
    return spec.pipeline_digest if name == "pipeline" else json.dumps(getattr(spec, name))


_NAMED = 3


@dataclass(slots=True)
class _Keys:
    """Number of keys, and the first few of them."""

    number: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, split: str | None, key: str) -> None:
        self.number += 1
        if self.number <= _NAMED:
            self.first.append(full_key(split, key))

    def told(self, what: str) -> str:
        more = ", …" if self.number > len(self.first) else ""
        return f"{self.number:,} {'record' if self.number == 1 else 'records'} {what} ({', '.join(self.first)}{more})"


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of a dataset since it was expanded; ``added`` is None if a part of the manifest cannot be read."""

    added: int | None
    changed: int
    gone: int
    text: str
    """One line, as ``1 record added (cat/new), 2 records changed (cat/1, cat/2)``; empty if nothing is known."""


def changes_since(out: Path, old: ExpansionSpec, new: ExpansionSpec, dataset: Dataset) -> Changes:
    """Compare the records in a folder's manifest with those of the dataset now."""
    splits = {new.folder(part): view for part, view in views(dataset, new.parts)}
    known: dict[str | None, set[int]] = {split: set() for split in splits}
    added, changed, gone = _Keys(), _Keys(), _Keys()
    is_whole = True
    for index in range(old.num_shards):
        records = manifest.read_records(out, index, old.id)
        is_whole = is_whole and records is not None
        for (split, key), digest in (records or {}).items():
            view = splits.get(split)
            place = None if view is None else view.find(key)
            if view is None or place is None:
                gone.add(split, key)
                continue
            known[split].add(place)
            if view.record(place).digest != digest:
                changed.add(split, key)
    for split, view in splits.items() if is_whole else ():
        for place in range(view.num_records):
            if place not in known[split]:
                added.add(split, view.keys([place])[0] if added.number < _NAMED else "")
    named = {"added": added, "changed": changed, "gone": gone}
    text = ", ".join(keys.told(what) for what, keys in named.items() if keys.number)
    return Changes(added.number if is_whole else None, changed.number, gone.number, text)
