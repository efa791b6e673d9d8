"""Tables as the user's functions want them, and what functions return as tables.

Each library gets its table in the form that copies least (docs/types.md has the measurements and
what becomes of each type). What a function returns comes back through the Arrow C stream where a
library offers it: its own `to_arrow()` may cast.
"""

import contextlib
import inspect
import re
import sys
import typing
from collections.abc import Callable, Mapping
from typing import Any, cast

import pyarrow as pa
from zerrow._tasks import TaskError

# How an annotation is spelled where it can't be evaluated: `if TYPE_CHECKING: import polars as pl`.
_SPELLINGS = {
    r"(pd|pandas)\.DataFrame": "pandas",
    r"(pl|polars)\.DataFrame": "polars",
    r"(pl|polars)\.LazyFrame": "polars_lazy",
    r"(duckdb\.)?DuckDBPyRelation": "duckdb",
}


def wanted_forms(function: Callable[..., Any]) -> dict[str, str]:
    """The form of each annotated parameter: pyarrow, pandas, polars, polars_lazy or duckdb."""
    function = inspect.unwrap(function)
    forms = {}
    for name, annotation in getattr(function, "__annotations__", {}).items():
        if name != "return":
            forms[name] = _form_of(annotation, getattr(function, "__globals__", {}))
    return forms


def _form_of(annotation: object, names: dict[str, Any]) -> str:
    if isinstance(annotation, str):
        try:
            # The user's own module is loaded: its annotations are code that it asked to have.
            annotation = eval(annotation, names)
        except Exception:
            return _form_of_text(str(annotation))
    for option in (annotation, *typing.get_args(annotation)):
        if isinstance(option, str | typing.ForwardRef):
            text = option if isinstance(option, str) else option.__forward_arg__
            return _form_of(text, names)
        form = _FORMS.get((_package(option), getattr(option, "__name__", "")))
        if form is not None:
            return form
    return "pyarrow"


def _form_of_text(text: str) -> str:
    for pattern, form in _SPELLINGS.items():
        if re.search(rf"(?<![\w.]){pattern}(?!\w)", text):
            return form
    return "pyarrow"


_FORMS = {
    ("pandas", "DataFrame"): "pandas",
    ("polars", "DataFrame"): "polars",
    ("polars", "LazyFrame"): "polars_lazy",
    ("duckdb", "DuckDBPyRelation"): "duckdb",
    ("_duckdb", "DuckDBPyRelation"): "duckdb",
}


def _package(kind: object) -> str:
    return getattr(kind, "__module__", "").split(".")[0]


def from_table(table: pa.Table, form: str) -> Any:  # noqa: ANN401 - the library's own type
    """The table in a library's form."""
    if form == "pandas":
        import pandas as pd

        return _without_views(table).to_pandas(types_mapper=pd.ArrowDtype)
    if form in ("polars", "polars_lazy"):
        import polars as pl

        # Polars would like one chunk a column, but putting them together copies all.
        frame = cast("pl.DataFrame", pl.from_arrow(table, rechunk=False))
        return frame.lazy() if form == "polars_lazy" else frame
    if form == "duckdb":
        import duckdb
        from zerrow._duckdb import use_utc

        use_utc(duckdb.default_connection())
        return duckdb.from_arrow(table)
    return table


def _without_views(table: pa.Table) -> pa.Table:
    """Views as plain strings: Arrow can't sort views, so that pandas can't group or sort them."""
    plain = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    for i, field in enumerate(table.schema):
        if field.type in plain:
            column = table.column(i).cast(plain[field.type])
            table = table.set_column(i, field.with_type(column.type), column)
    return table


def to_table(result: object, function: str) -> pa.Table:
    """What a function returned as a table, sharing its memory where the library allows it."""
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
    if isinstance(result, list):
        return _from_rows(result, function)
    if hasattr(result, "__arrow_c_stream__"):
        # A series has a stream too, but not one of rows with columns.
        reader = None
        with contextlib.suppress(pa.ArrowInvalid):
            reader = pa.RecordBatchReader.from_stream(result)
        if reader is not None:
            return reader.read_all()
    raise TaskError(
        f"{function}() returned {_name_of(result)}; a model returns a pyarrow Table, RecordBatch "
        "or RecordBatchReader, a polars or pandas frame, a DuckDB relation or a list of dicts"
    )


def _from_polars(frame: Any) -> pa.Table:  # noqa: ANN401
    """Column by column: a frame's own stream has whole rows and puts the chunks together first."""
    schema = pa.table(frame.clear()).schema  # with polars' notes on its categories
    columns = [pa.chunked_array(series) for series in frame.get_columns()]
    return pa.table(columns, schema=schema)


def _from_pandas(frame: Any, function: str) -> pa.Table:  # noqa: ANN401
    """Without the index where it only counts the rows; an index with names becomes columns."""
    named = any(name is not None for name in frame.index.names)
    try:
        table = pa.Table.from_pandas(frame, preserve_index=named)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as problem:
        raise TaskError(
            f"{function}() returned a pandas frame that Arrow can't hold: {problem}"
        ) from problem
    # pandas' notes about its index and dtypes would make later models see what isn't theirs.
    return table.replace_schema_metadata(
        {k: v for k, v in (table.schema.metadata or {}).items() if k != b"pandas"} or None
    )


def _from_rows(rows: list[Any], function: str) -> pa.Table:
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TaskError(
                f"{function}() returned a list whose item {i} is {_name_of(row)}, not a dict"
            )
    names = list(dict.fromkeys(name for row in rows for name in row))
    try:
        return pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})
    except (pa.ArrowInvalid, pa.ArrowTypeError) as problem:
        raise TaskError(
            f"{function}() returned dicts that don't make a table: {problem}"
        ) from problem


def _is(value: object, package: str, name: str) -> bool:
    """isinstance() without importing the library: a value of it means that it is loaded."""
    library = sys.modules.get(package)
    return library is not None and isinstance(value, getattr(library, name))


def _name_of(value: object) -> str:
    kind = type(value)
    if kind.__module__ == "builtins":
        return kind.__qualname__ if value is not None else "None"
    return f"{_package(kind)}.{kind.__qualname__}"
