"""The one schema of a source's files. Pure.

Files agree by name, in whatever order, and by type: the same one, or one that widens exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa
from zerrow._errors import SourceError
from zerrow._sources.partitions import Value, fields_of
from zerrow._sources.widening import widest


@dataclass(frozen=True)
class FileColumns:
    """What one file has: its own columns, and those of its folders' names."""

    path: str
    schema: pa.Schema
    partition: dict[str, Value] = field(default_factory=dict)


def common_schema(files: Sequence[FileColumns]) -> pa.Schema:
    """The table's columns: the first file's, then its folders', in the widest of all types."""
    first = files[0]
    for file in files:
        _check_names(file)
        _check_same_names(first, file)
    fields = []
    for own in first.schema:
        others = [file.schema.field(own.name) for file in files]
        type_ = widest(other.type for other in others)
        if type_ is None:
            raise SourceError(_difference(own.name, files))
        fields.append(own.with_type(type_).with_nullable(any(o.nullable for o in others)))
    fields += fields_of([file.partition for file in files])
    return pa.schema(fields, first.schema.metadata)


def as_part_of(table: pa.Field, own: pa.Schema) -> pa.Field:
    """A column of the table as one file gives it: whether it has nulls, and notes, are the file's.

    A column of the folders' names is the table's.
    """
    index = own.get_field_index(table.name)
    return table if index < 0 else own.field(index).with_type(table.type)


def _check_names(file: FileColumns) -> None:
    names = file.schema.names
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise SourceError(f"column {twice!r} is there twice in {file.path}")
    for name in file.partition:
        if name in names:
            raise SourceError(
                f"column {name!r} is there twice: in {file.path} and in the name of its folder "
                f"{name}=...; rename one of them"
            )


def _check_same_names(first: FileColumns, other: FileColumns) -> None:
    mine, others = set(first.schema.names), set(other.schema.names)
    if mine == others:
        return
    for name in first.schema.names:
        if name not in others:
            raise SourceError(
                f"its files differ: column {name!r} of {first.path} is missing in {other.path}"
            )
    surplus = next(name for name in other.schema.names if name not in mine)
    raise SourceError(
        f"its files differ: column {surplus!r} of {other.path} is missing in {first.path}"
    )


def _difference(name: str, files: Sequence[FileColumns]) -> str:
    """Names two files whose types of a column don't go together."""
    one = files[0]
    for other in files[1:]:
        types = [file.schema.field(name).type for file in (one, other)]
        if widest(types) is None:
            break
        one = other if widest(types) == types[1] else one
    return (
        f"its files differ: column {name!r} is {one.schema.field(name).type} in {one.path}, "
        f"but {other.schema.field(name).type} in {other.path}, and neither type holds all values "
        "of the other"
    )
