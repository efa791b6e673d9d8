"""Task "source": reads Parquet files, only the columns and rows that are asked for."""

import collections
import functools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa
from zerrow import _native
from zerrow._parquet import ParquetError, ParquetFile
from zerrow._pruning import Always, Filter, may_skip
from zerrow._tasks import Answer, Task, TaskError

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
    first = ParquetFile(files[0])
    columns = first.schema.names if columns is None else columns
    request = _Request(columns) if condition is None else _filtered(columns, condition, first)
    # A chunk for each row group: few enough that all its buffers are large and can be shared.
    pieces = list(_in_order(_reads(request, first, files)))
    table = _joined(pieces, columns, first.schema)
    if condition is not None and table.num_rows < len(pieces) * _MIN_CHUNK_ROWS:
        table = table.combine_chunks() if columns else table
    return table


_EVERY_ROW = Always(True)


@dataclass
class _Request:
    """What is asked for of each row group."""

    columns: list[str]
    filtered: list[str] = field(default_factory=list)  # columns that the filter reads
    serialized: bytes | None = None  # the filter, for Arrow
    prunable: Filter = _EVERY_ROW


def _filtered(columns: list[str], condition: str, first: ParquetFile) -> _Request:
    from zerrow import _filters

    expression = _filters.compile_condition(condition, first.schema)
    return _Request(
        columns,
        _filters.columns_of(condition),
        _filters.serialize(expression),
        _filters.prunable(condition, first.schema),
    )


def _reads(
    request: _Request, first: ParquetFile, files: list[str]
) -> Iterator[Callable[[], pa.Table]]:
    """A function for each row group that may have rows; a file is opened when its turn comes."""
    for path in files:
        file = first if path == first.path else ParquetFile(path)
        _check_types(request, first, file)
        for number, group in enumerate(file.groups(request.filtered)):
            # It is Arrow that filters the rows.
            if not may_skip(request.prunable, group, "arrow"):
                yield functools.partial(_read_group, request, file, number, group.rows)


def _read_group(request: _Request, file: ParquetFile, number: int, rows: int) -> pa.Table:
    needed = list(dict.fromkeys([*request.columns, *request.filtered]))
    table = file.read(number, needed) if needed else _without_columns(rows)
    if request.serialized is not None:
        table = _native.filter_table(table, request.serialized)
    return table.select(request.columns)


def _in_order(reads: Iterator[Callable[[], pa.Table]]) -> Iterator[pa.Table]:
    """What the functions return. Each decodes its columns in parallel; several run at once too.

    Only so many are begun before their turn that open files don't add up.
    """
    threads = pa.cpu_count()
    begun: collections.deque[Future[pa.Table]] = collections.deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="read") as pool:
        try:
            for read_group in reads:
                begun.append(pool.submit(read_group))
                if len(begun) > 2 * threads:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for left in begun:
                left.cancel()


def _check_types(request: _Request, first: ParquetFile, file: ParquetFile) -> None:
    """Files agreed when the project was read; here they have changed since."""
    for name in dict.fromkeys([*request.columns, *request.filtered]):
        index = file.schema.get_field_index(name)
        if index < 0:
            raise ParquetError(f"{file.path} has no column {name!r} (any more)")
        expected = first.schema.field(name).type
        if file.schema.field(index).type != expected:
            raise ParquetError(
                f"column {name!r} is {file.schema.field(index).type} in {file.path}, "
                f"but {expected} in {first.path}"
            )


def _joined(pieces: list[pa.Table], columns: list[str], schema: pa.Schema) -> pa.Table:
    if not columns:
        return _without_columns(sum(piece.num_rows for piece in pieces))
    fields = []
    for name in columns:
        own = [piece.schema.field(name) for piece in pieces]
        nullable = any(one.nullable for one in own) if own else schema.field(name).nullable
        fields.append(schema.field(name).with_nullable(nullable))
    common = pa.schema(fields, schema.metadata)
    if not pieces:
        return common.empty_table()
    return pa.concat_tables(
        [pa.Table.from_arrays(piece.columns, schema=common) for piece in pieces]
    )


def _without_columns(rows: int) -> pa.Table:
    """Rows alone; a table of no columns can't be made otherwise."""
    return pa.table({"": pa.nulls(rows)}).select([])
