"""What a record becomes, as a format is told of it."""

from augment import keys
from augment.expansion.spec import ExpansionSpec
from augment.formats.writing import Output
from augment.sample import Record


def original_of(spec: ExpansionSpec, record: Record) -> Output:
    """The record's own picture, under its key and with the extension that it has."""
    named_whole = record.key.rpartition("/")[2] == record.path.name
    extension = "" if named_whole else keys.extension(record.path.name).removeprefix(".")
    return Output(
        key=record.key,
        split=None,
        copy=None,
        extension=extension,
        height=record.height,
        width=record.width,
        class_name=class_name(spec, record),
    )


def copy_of(spec: ExpansionSpec, record: Record, copy: int, height: int = 0, width: int = 0) -> Output:
    """A copy of the record; its size is known once it is rendered, and its place before."""
    return Output(
        key=record.key,
        split=None,
        copy=copy,
        extension=spec.extension,
        height=height,
        width=width,
        class_name=class_name(spec, record),
    )


def class_name(spec: ExpansionSpec, record: Record) -> str | None:
    """The name of the record's single class; None where it has none."""
    return None if record.label is None else spec.classes[record.label]
