"""Texts as dictionaries where only Zerrow chose that: marked, and decoded for whoever didn't ask.

A source's text column is cached as a dictionary where that pays, and SQL and native operators work
on it as it is. What they hand on is the same, so each such field bears a mark; a consumer that was
promised the type which the file has gets that. A dictionary of the user's own has no mark.
"""

from collections.abc import Callable, Collection, Mapping

import pyarrow as pa
import pyarrow.types as pt
from zerrow._native import encode_columns

_MARK = b"zerrow:dictionary"
_AUTOMATIC = b"auto"


def is_marked(field: pa.Field) -> bool:
    """Whether the field is a dictionary that nobody asked for."""
    return pt.is_dictionary(field.type) and (field.metadata or {}).get(_MARK) == _AUTOMATIC


def any_marked(tables: Mapping[str, pa.Table]) -> bool:
    """Whether one of the tables has such a field."""
    return any(is_marked(field) for table in tables.values() for field in table.schema)


def decoded(table: pa.Table, names: Collection[str] | None = None) -> pa.Table:
    """The table with the types that it was promised to have; or only its columns of these names."""
    for i, field in enumerate(table.schema):
        if is_marked(field) and (names is None or field.name in names):
            type_ = field.type.value_type
            chunks = [
                part for chunk in table.column(i).chunks for part in _decoded_parts(chunk, type_)
            ]
            column = pa.chunked_array(chunks, type_)
            table = table.set_column(i, _unmarked(field).with_type(type_), column)
    return table


def as_chosen(table: pa.Table, choice: str) -> pa.Table:
    """The table for a consumer that takes dictionaries `never`, `always`, or is up to (`auto`)."""
    if choice == "auto":
        return table
    if choice == "never":
        return decoded(table)
    texts = [field.name for field in table.schema if is_text(field.type)]
    if texts and len(set(table.column_names)) == table.num_columns:
        table = encode_columns(table, texts)
    fields = [_unmarked(field) for field in table.schema]
    return table.cast(pa.schema(fields, table.schema.metadata)) if table.num_columns else table


def computed(
    given: dict[str, pa.Table], compute: Callable[[dict[str, pa.Table]], pa.Table]
) -> pa.Table:
    """What `compute` makes of tables, of the types that it makes of decoded ones.

    It tells these when it gets tables without rows: DataFusion's plans and results may differ.
    Where it can't do with dictionaries, it gets decoded tables; then its errors are the user's.
    """
    if not any_marked(given):
        return compute(given)
    try:
        empty = {name: decoded(table.schema.empty_table()) for name, table in given.items()}
        return _as_promised(compute(given), compute(empty).schema)
    except Exception:
        return compute({name: decoded(table) for name, table in given.items()})


def _as_promised(table: pa.Table, promised: pa.Schema) -> pa.Table:
    """Marks dictionaries where the promise is their values' type, and casts to it what else is."""
    if table.column_names != promised.names:
        raise ValueError("dictionaries change the columns")
    for i, (field, promise) in enumerate(zip(table.schema, promised, strict=True)):
        marked, column = _unmarked(field), table.column(i)
        if pt.is_dictionary(field.type) and field.type.value_type == promise.type:
            marked = field.with_metadata({**(field.metadata or {}), _MARK: _AUTOMATIC})
        elif field.type != promise.type:
            marked, column = marked.with_type(promise.type), column.cast(promise.type)
        if not marked.equals(field, check_metadata=True):
            table = table.set_column(i, marked, column)
    return table


def with_many_values(table: pa.Table, most: int) -> list[str]:
    """Names of marked columns with a dictionary of more values."""
    return [
        field.name
        for field, column in zip(table.schema, table.columns, strict=True)
        if is_marked(field) and any(len(chunk.dictionary) > most for chunk in column.chunks)
    ]


def _unmarked(field: pa.Field) -> pa.Field:
    metadata = {k: v for k, v in (field.metadata or {}).items() if k != _MARK}
    return field.with_metadata(metadata or None)


def is_text(type_: pa.DataType) -> bool:
    """Whether its values are text or bytes, plain."""
    return type_ in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())


def _decoded_parts(chunk: pa.DictionaryArray, type_: pa.DataType) -> list[pa.Array]:
    """In several parts if the text is longer than an array of the type can hold."""
    try:
        return [chunk.cast(type_)]
    except (pa.ArrowInvalid, pa.ArrowCapacityError):
        if len(chunk) < 2:
            raise
    half = len(chunk) // 2
    return _decoded_parts(chunk[:half], type_) + _decoded_parts(chunk[half:], type_)
