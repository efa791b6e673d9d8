"""Tables as the user's functions want them, and what functions return as tables.

Each library gets its table in the form that copies least (docs/types.md has the measurements and
what becomes of each type). What a function returns comes back through the Arrow C stream where a
library offers it: its own `to_arrow()` may cast.
"""

import contextlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.types as pt
from zerrow._schemas import Column
from zerrow._worker.tasks import TaskError, without_columns

if TYPE_CHECKING:
    import numpy as np

# What holds the same as views, which not all of Arrow can do with.
PLAIN_TYPES = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
_LONGEST_SHOWN = 200  # characters of a value in a message


def from_table(table: pa.Table, form: str) -> Any:  # noqa: ANN401 - the library's own type
    """The table in a library's form."""
    if form == "pandas":
        import pandas as pd

        return _without_views(table).to_pandas(types_mapper=pd.ArrowDtype)
    if form in ("polars", "polars_lazy"):
        import polars as pl

        # Polars would like one chunk a column, but putting them together copies all.
        frame = cast("pl.DataFrame", pl.from_arrow(table, rechunk=False))
        if frame.height != table.num_rows:  # as versions do that know no rows without columns
            raise columns_needed("polars")
        return frame.lazy() if form == "polars_lazy" else frame
    if form == "duckdb":
        import duckdb
        from zerrow._sql.duckdb_settings import use_utc

        if not table.num_columns:
            raise columns_needed("DuckDB")
        use_utc(duckdb.default_connection())
        return duckdb.from_arrow(table)
    if form == "numpy":
        return _to_arrays(table)
    return table.to_reader() if form == "pyarrow_reader" else table


def _to_arrays(table: pa.Table) -> "dict[str, np.ndarray]":
    """TaskError if columns share a name, or as of _to_array()."""
    names = table.column_names
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise TaskError(
            f"column {twice!r} is there {names.count(twice)} times, and a dict of arrays holds "
            "one: rename the others before, or take the table in another form"
        )
    return {name: _to_array(name, table.column(i)) for i, name in enumerate(names)}


def _to_array(name: str, column: pa.ChunkedArray) -> "np.ndarray":
    """Read-only; on the table's memory if it is one chunk of numbers. TaskError for lost nulls."""
    kind = column.type
    if column.null_count and (pt.is_integer(kind) or pt.is_boolean(kind)):
        raise TaskError(
            f"column {name!r} of {kind} has {column.null_count:,} nulls, and numpy's arrays of it "
            "can't hold any: fill them before, or take the table in another form"
        )
    array: np.ndarray = column.to_numpy()
    array.flags.writeable = False
    return array


def columns_needed(library: str) -> TaskError:
    """Why a library can't have a table that has rows but no columns."""
    return TaskError(f"{library} can't hold rows without columns: ask for a column at least")


def _without_views(table: pa.Table) -> pa.Table:
    """Views as plain strings: Arrow can't sort views, so that pandas can't group or sort them."""
    for i, field in enumerate(table.schema):
        if field.type in PLAIN_TYPES:
            column = table.column(i).cast(PLAIN_TYPES[field.type])
            table = table.set_column(i, field.with_type(column.type), column)
    return table


def to_table(result: object, function: str, contract: Iterable[Column] = ()) -> pa.Table:
    """What a function returned as a table, sharing its memory where the library allows it.

    Rows and arrays become columns of the types that the contract names.
    """
    if isinstance(result, pa.Table):
        return result
    if isinstance(result, pa.RecordBatch):
        return pa.Table.from_batches([result])
    if _is(result, "polars", "LazyFrame"):
        result = result.collect()  # type: ignore[attr-defined]
    if _is(result, "polars", "DataFrame"):
        return _from_polars(result)
    if _is(result, "pandas", "DataFrame"):
        return _from_pandas(result, function)
    if isinstance(result, Mapping | list):
        make: Callable[..., pa.Table] = _from_rows if isinstance(result, list) else _from_arrays
        return make(result, function, {column.name: column.type for column in contract})
    if hasattr(result, "__arrow_c_stream__"):
        # A series has a stream too, but not one of rows with columns.
        reader = None
        with contextlib.suppress(pa.ArrowInvalid):
            reader = pa.RecordBatchReader.from_stream(result)
        if reader is not None:
            return reader.read_all()
    raise TaskError(
        f"{function}() returned {_name_of(result)}; a model returns a pyarrow Table, RecordBatch "
        "or RecordBatchReader, a polars or pandas frame, a DuckDB relation, a dict of arrays or a "
        "list of dicts"
    )


def is_arrow(result: object) -> bool:
    """True if the function made the chunks of its result, so that later ones may rely on them."""
    return isinstance(result, (pa.Table, pa.RecordBatch, pa.RecordBatchReader))


def _from_polars(frame: Any) -> pa.Table:  # noqa: ANN401
    """Column by column: a frame's own stream has whole rows and puts the chunks together first."""
    if not frame.width:
        return without_columns(frame.height)
    schema = pa.table(frame.clear()).schema  # with polars' notes on its categories
    columns = [pa.chunked_array(series) for series in frame.get_columns()]
    return pa.table(columns, schema=schema)


def _from_pandas(frame: Any, function: str) -> pa.Table:  # noqa: ANN401
    """Without the index where it only counts the rows; an index with names becomes columns."""
    named = any(name is not None for name in frame.index.names)
    if not named and not len(frame.columns):
        return without_columns(len(frame))
    try:
        table = pa.Table.from_pandas(frame, preserve_index=named)
    except (ValueError, TypeError, OverflowError) as problem:  # Arrow's own are among them
        raise TaskError(
            f"{function}() returned a pandas frame that Arrow can't hold: "
            f"{_what_arrow_says(problem)}"
        ) from problem
    # pandas' notes about its index and dtypes would make later models see what isn't theirs.
    return table.replace_schema_metadata(
        {k: v for k, v in (table.schema.metadata or {}).items() if k != b"pandas"} or None
    )


def _from_rows(rows: list[Any], function: str, types: Mapping[str, pa.DataType | None]) -> pa.Table:
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TaskError(
                f"{function}() returned a list whose item {i} is {_name_of(row)}, not a dict"
            )
    names = list(dict.fromkeys(name for row in rows for name in row)) if rows else list(types)
    columns = {
        name: _made_column(name, [row.get(name) for row in rows], function, types) for name in names
    }
    return pa.table(columns) if columns else without_columns(len(rows))


def _from_arrays(
    arrays: Mapping[Any, Any], function: str, types: Mapping[str, pa.DataType | None]
) -> pa.Table:
    """From an array, or whatever Arrow makes one of, for each column."""
    columns = {
        name: values
        if isinstance(values, (pa.Array, pa.ChunkedArray))
        else _made_column(name, values, function, types)
        for name, values in arrays.items()
    }
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise TaskError(
            f"{function}() returned arrays of different lengths: "
            + ", ".join(f"{_shown(name)} {length:,}" for name, length in lengths.items())
        )
    return pa.table(columns)


def _made_column(
    name: object,
    values: Any,  # noqa: ANN401
    function: str,
    types: Mapping[str, pa.DataType | None],
) -> pa.Array:
    if not isinstance(name, str):
        raise TaskError(f"{function}() returned dicts whose keys aren't texts: {_shown(name)}")
    try:
        pa.field(name, pa.null())  # its name must be UTF-8 as well
        return pa.array(values, types.get(name))
    except (ValueError, TypeError, OverflowError) as problem:  # Arrow's own are among them
        raise TaskError(
            f"{function}() returned dicts that don't make a table: column {_shown(name)}: "
            f"{_what_arrow_says(problem)}"
        ) from problem


def _what_arrow_says(problem: Exception) -> str:
    if isinstance(problem, UnicodeEncodeError):
        return (
            f"{_shown(problem.object)} isn't text: surrogates, as os.fsdecode() makes them of "
            "bytes that aren't UTF-8, have no place in a table"
        )
    return str(problem)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "..."


def _is(value: object, package: str, name: str) -> bool:
    """isinstance() without importing the library: a value of it means that it is loaded."""
    library = sys.modules.get(package)
    return library is not None and isinstance(value, getattr(library, name))


def _name_of(value: object) -> str:
    kind = type(value)
    if kind.__module__ == "builtins":
        return kind.__qualname__ if value is not None else "None"
    return f"{kind.__module__.split('.')[0]}.{kind.__qualname__}"
