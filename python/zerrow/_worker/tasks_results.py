"""Tasks "preview" and "export": some rows as JSON values, and a table as a file."""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow import types
from zerrow._worker.convert import PLAIN_TYPES
from zerrow._worker.json_rows import columns_of, json_rows, json_values
from zerrow._worker.messages import Result, Rows
from zerrow._worker.tasks import Answer, Task, TaskError

# The engine takes 16 MiB and four million values, and what it takes is written more tightly.
_MOST_BYTES = 12 << 20


def run(task: Task) -> Answer:
    """Answers the preview, or that the file is written."""
    table = task.inputs[0].table
    value = None
    if task.body["kind"] == "preview":
        value = preview(table, task.body["rows"])
    else:
        try:
            export(table, task.body["path"], task.body["format"], task.body["rows"])
        except (OSError, ValueError, pa.ArrowException) as problem:  # a full disk; an odd table
            raise TaskError(str(problem)) from problem
    return Answer(Result(op="result", value=value))


def preview(table: pa.Table, rows: int | None, room: int = _MOST_BYTES) -> Rows:
    """The first rows, or all, and the columns' types; fewer if they take more than `room` bytes."""
    columns = columns_of(table)
    room -= _size(columns)
    if room < 0:
        raise TaskError(f"{table.num_columns} columns are too many to show")
    shown: list[list[Any]] = []
    for row in json_rows(table.slice(0, rows)):
        room -= _size(row)
        if room < 0:
            break
        shown.append(row)
    return Rows(columns=columns, rows=shown, total_rows=table.num_rows)


def _size(value: list[Any]) -> int:
    text = json.dumps(value, ensure_ascii=False)
    # A value takes the engine more than its text, which may be one digit.
    return len(text.encode(errors="surrogatepass")) + text.count(",") + 2


def export(table: pa.Table, path: str, form: str, most: int | None) -> None:
    """Writes the table; the file appears under its name when it is complete, or not at all.

    Args:
        table: what is written.
        path: absolute.
        form: parquet, csv or json.
        most: how many rows of it; None for all.
    """
    folder, name = os.path.split(path)
    fd, unfinished = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    try:
        with open(fd, "wb") as file:
            shown = table if most is None else table.slice(0, most)
            if form == "json":
                _write_json(shown, table.num_rows, file)
            else:
                {"parquet": _write_parquet, "csv": _write_csv}[form](shown, file)
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(unfinished, 0o666 & ~umask)  # mkstemp's is private
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unfinished)
        raise


def _write_parquet(table: pa.Table, file: BinaryIO) -> None:
    import pyarrow.parquet as pq

    if table.num_rows and not table.num_columns:
        raise TaskError(
            f"a Parquet file can't hold rows without columns, and these are {table.num_rows}"
        )
    for i, field in enumerate(table.schema):
        kind = _writable(field.type)
        if kind != field.type:
            table = table.set_column(i, field.with_type(kind), table.column(i).cast(kind))
    pq.write_table(table, file)


def _writable(kind: pa.DataType) -> pa.DataType:
    """With dictionaries of plain texts in place of views, which pyarrow can't write to Parquet."""
    for applies, convert in _WRITABLE:
        if applies(kind):
            return convert(kind)
    return kind


def _writable_field(field: pa.Field) -> pa.Field:
    return field.with_type(_writable(field.type))


def _writable_dictionary(kind: pa.DictionaryType) -> pa.DataType:
    values = PLAIN_TYPES.get(kind.value_type, kind.value_type)
    return pa.dictionary(kind.index_type, values, kind.ordered)


_WRITABLE: list[tuple[Callable[[pa.DataType], bool], Callable[[Any], pa.DataType]]] = [
    (types.is_dictionary, _writable_dictionary),
    (types.is_struct, lambda kind: pa.struct([_writable_field(field) for field in kind])),
    (types.is_list, lambda kind: pa.list_(_writable_field(kind.value_field))),
    (types.is_large_list, lambda kind: pa.large_list(_writable_field(kind.value_field))),
    (
        types.is_fixed_size_list,
        lambda kind: pa.list_(_writable_field(kind.value_field), kind.list_size),
    ),
    (
        types.is_map,
        lambda kind: pa.map_(
            _writable_field(kind.key_field), _writable_field(kind.item_field), kind.keys_sorted
        ),
    ),
]


def _write_csv(table: pa.Table, file: BinaryIO) -> None:
    """Nulls are nothing and texts in quotes; what isn't a number is written as in JSON."""
    from pyarrow import csv

    columns = [_csv_column(column) for column in table.columns]
    csv.write_csv(pa.table(columns, names=table.column_names), file)


def _csv_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        return column
    chunks = [
        pa.array([_csv_text(value) for value in json_values(chunk)], pa.large_string())
        for chunk in column.chunks
    ]
    return pa.chunked_array(chunks, pa.large_string())


def _csv_text(value: Any) -> str | None:  # noqa: ANN401
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _write_json(table: pa.Table, total_rows: int, file: BinaryIO) -> None:
    """{"columns": [{"name", "type"}], "rows": [[...]], "total_rows": n}, a row on each line."""
    columns = [{"name": name, "type": kind} for name, kind in columns_of(table)]
    file.write(b'{"columns":' + _json(columns) + b',"rows":[')
    separator = b"\n"
    for row in json_rows(table):
        file.write(separator + _json(row))
        separator = b",\n"
    file.write(b'],"total_rows":' + _json(total_rows) + b"}\n")


def _json(value: object) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="replace")
