"""Tasks "preview" and "export": a table as text cells, and as a Parquet file."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from zerrow._worker.tasks import Answer, Task, TaskError

_LONGEST_CELL = 200
_LONGEST_TYPE = 1000
# The engine takes 16 MiB, and what it takes is written more tightly.
_MOST_BYTES = 12 << 20
_BLOCK_ROWS = 1000


def run(task: Task) -> Answer:
    """Answers the preview, or what was written."""
    table = task.inputs[0].table
    if task.body["kind"] == "preview":
        value = preview(table, task.body["rows"])
    else:
        try:
            value = export(table, task.body["path"])
        except (OSError, ValueError, pa.ArrowException) as problem:  # a full disk; an odd table
            raise TaskError(str(problem)) from problem
    return Answer({"op": "result", "value": value})


def preview(table: pa.Table, rows: int) -> dict[str, Any]:
    """The first rows as text, each column with its type; fewer if they take too much room."""
    columns = [[field.name, _cut(str(field.type), _LONGEST_TYPE)] for field in table.schema]
    room = _MOST_BYTES - _size(columns)
    if room < 0:
        raise TaskError(f"{table.num_columns} columns are too many to show")
    shown: list[list[str]] = []
    for row in _rows(table.slice(0, rows)):
        room -= _size(row)
        if room < 0:
            break
        shown.append(row)
    return {"columns": columns, "rows": shown, "total_rows": table.num_rows}


def _rows(table: pa.Table) -> Iterator[list[str]]:
    for start in range(0, table.num_rows, _BLOCK_ROWS):
        block = table.slice(start, _BLOCK_ROWS)
        cells = [[_text(scalar) for scalar in column] for column in block.columns]
        yield from (list(row) for row in zip(*cells, strict=True))


def _size(value: list[Any]) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")) + 2


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _text(scalar: pa.Scalar) -> str:
    try:
        value = scalar.as_py()
    except (ValueError, OverflowError, pa.ArrowException):
        value = scalar  # a time that Python has no value for: nanoseconds, year 10000
    text = "null" if value is None else str(value)
    return _cut(text, _LONGEST_CELL)


def export(table: pa.Table, path: str) -> dict[str, Any]:
    """Writes the table; the file appears under its name when it is complete, or not at all."""
    import pyarrow.parquet as pq

    if table.num_rows and not table.num_columns:
        raise TaskError(
            f"a Parquet file can't hold rows without columns, and these are {table.num_rows}"
        )
    folder, name = os.path.split(path)
    fd, unfinished = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    os.close(fd)
    try:
        pq.write_table(table, unfinished)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(unfinished, 0o666 & ~umask)  # mkstemp's is private
        with open(unfinished, "rb") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unfinished)
        raise
    return {"path": path, "bytes": os.path.getsize(path)}
