"""Tasks "preview" and "export": a table as text cells, and as a Parquet file."""

import contextlib
import os
import tempfile
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from zerrow._tasks import Answer, Task

_LONGEST_CELL = 200


def run(task: Task) -> Answer:
    """Answers the preview, or what was written."""
    table = task.inputs[0].table
    if task.body["kind"] == "preview":
        value = preview(table, task.body["rows"])
    else:
        value = export(table, task.body["path"])
    return Answer({"op": "result", "value": value})


def preview(table: pa.Table, rows: int) -> dict[str, Any]:
    """The first rows as text, each column with its type."""
    head = table.slice(0, rows)
    cells = [[_text(scalar) for scalar in column] for column in head.columns]
    return {
        "columns": [[field.name, str(field.type)] for field in table.schema],
        "rows": [list(row) for row in zip(*cells, strict=True)],
        "total_rows": table.num_rows,
    }


def _text(scalar: pa.Scalar) -> str:
    try:
        value = scalar.as_py()
    except (ValueError, OverflowError, pa.ArrowException):
        value = scalar  # a time that Python has no value for: nanoseconds, year 10000
    text = "null" if value is None else str(value)
    return text if len(text) <= _LONGEST_CELL else text[: _LONGEST_CELL - 1] + "…"


def export(table: pa.Table, path: str) -> dict[str, Any]:
    """Writes the table; the file appears under its name when it is complete, or not at all."""
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
