"""Task "source": reads Parquet files, only the columns and rows that are asked for."""

import time
from typing import TYPE_CHECKING, cast

import pyarrow as pa
import pyarrow.dataset as ds
from zerrow._tasks import Answer, Task, TaskError

if TYPE_CHECKING:
    import pyarrow.compute as pc

# A row group is decoded as a whole whatever this says; batches are slices of it, and the fewer
# the better: all their buffers are then large enough to be shared.
_BATCH_ROWS = 1 << 20
# Pieces that a filter has left smaller than this are put together.
_MIN_CHUNK_ROWS = 1 << 17


def run(task: Task) -> Answer:
    """Reads with all cores; the filter is applied to row groups first and then to each row."""
    started = time.perf_counter()
    try:
        table = read(task.body["files"], task.body.get("columns"), task.body.get("filter"))
    except (OSError, ValueError, pa.ArrowException) as problem:
        raise TaskError(f"source {task.body['table']!r} can't be read: {problem}") from problem
    task.timings["run_s"] = time.perf_counter() - started
    return task.publish(table)


def read(files: list[str], columns: list[str] | None, condition: str | None) -> pa.Table:
    """The rows of all files, in the files' order, for which the condition is true."""
    schema = _without_views(ds.dataset(files, format="parquet").schema)
    dataset = ds.dataset(files, schema=schema, format="parquet")
    expression = _compile(condition, dataset.schema)
    table = dataset.to_table(columns=columns, filter=expression, batch_size=_BATCH_ROWS)
    chunks = max((column.num_chunks for column in table.columns), default=0)
    if expression is not None and chunks > 1 and table.num_rows < chunks * _MIN_CHUNK_ROWS:
        table = table.combine_chunks()
    return table


def _without_views(schema: pa.Schema) -> pa.Schema:
    """Plain strings for string views, which a file's writer may have noted as their type.

    Arrow can neither filter nor sort views, and its reader puts their text into blocks of 32 KiB,
    too small to be shared.
    """
    plain = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    return pa.schema(
        [field.with_type(plain.get(field.type, field.type)) for field in schema], schema.metadata
    )


def _compile(condition: str | None, schema: pa.Schema) -> "pc.Expression | None":
    if condition is None:
        return None
    from zerrow._filters import compile_condition

    return cast("pc.Expression", compile_condition(condition, schema))
