"""Task "source": reads Parquet files, only the columns and rows that are asked for."""

import time

import pyarrow as pa
import pyarrow.dataset as ds
from zerrow._tasks import Answer, Task, TaskError


def run(task: Task) -> Answer:
    """Reads with all cores; the filter is applied to row groups first and then to each row."""
    started = time.perf_counter()
    try:
        table = _read(task)
    except (OSError, ValueError, pa.ArrowException) as problem:
        raise TaskError(f"source {task.body['table']!r} can't be read: {problem}") from problem
    task.timings["run_s"] = time.perf_counter() - started
    return task.publish(table)


def _read(task: Task) -> pa.Table:
    dataset = ds.dataset(task.body["files"], format="parquet")
    condition = task.body.get("filter")
    expression = None
    if condition is not None:
        from zerrow._filters import compile_condition

        expression = compile_condition(condition, dataset.schema)
    columns = task.body.get("columns")
    if columns == []:  # a dataset reads rows without columns as no rows
        return dataset.to_table(filter=expression).select([])
    return dataset.to_table(columns=columns, filter=expression)
