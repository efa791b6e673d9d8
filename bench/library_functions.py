"""The functions of libraries.py: each turns the table of workloads.mixed into 100 MB and more.

Libraries are imported by the functions that use them; a function gets what its parameter's
annotation in the pipeline says (KINDS), in a plain process by `converter`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

KINDS = {
    "pyarrow_filter_and_compute": "pa.Table",
    "numpy_columns": "pa.Table",
    "pandas_new_columns": "pd.DataFrame",
    "polars_numeric_columns": "pl.DataFrame",
    "duckdb_projection": "duckdb.DuckDBPyRelation",
    "datafusion_projection": "pa.Table",
}


def import_everything() -> None:
    for name in (
        "pyarrow.compute",
        "pyarrow.acero",
        "numpy",
        "pandas",
        "polars",
        "duckdb",
    ):
        importlib.import_module(name)
    importlib.import_module("datafusion")


def pyarrow_filter_and_compute(table: Any) -> Any:
    import pyarrow.compute as pc

    kept = table.filter(pc.less(table["value"], 800))
    return kept.append_column("scaled", pc.multiply(pc.cast(kept["value"], "float64"), 0.5))


def numpy_columns(table: Any) -> Any:
    import numpy as np
    import pyarrow as pa

    value = table["value"].combine_chunks().to_numpy(zero_copy_only=True)
    ident = table["id"].combine_chunks().to_numpy(zero_copy_only=True)
    return pa.table({"root": np.sqrt(value), "both": value + ident, "share": value / 1000.0})


def pandas_new_columns(frame: Any) -> Any:
    frame["double"] = frame["value"] * 2.0
    frame["key"] = frame["id"] - frame["value"]
    return frame[["double", "key", "value", "id"]]


def polars_numeric_columns(frame: Any) -> Any:
    import polars as pl

    return frame.select(
        "id",
        (pl.col("value") * 2).alias("double"),
        (pl.col("id") % 97).alias("key"),
        (pl.col("value") / 3.0).alias("third"),
    )


def duckdb_projection(relation: Any) -> Any:
    # Relations are lazy: made here, so that the work is in the figures of the function.
    return relation.project("id, value * 2 AS double, value / 3.0 AS third, city").to_arrow_table()


def datafusion_projection(table: Any) -> Any:
    import datafusion

    context = datafusion.SessionContext()
    context.from_arrow(table, "t")
    return context.sql('SELECT id, value * 2 AS "double", city, name FROM t').to_arrow_table()


def converter(name: str) -> Callable[[Any], Any]:
    """What makes a plain process's table into the frame that a worker gets, in the same form."""
    kind = KINDS[name]
    if kind == "pd.DataFrame":
        pandas = importlib.import_module("pandas")
        return lambda table: table.to_pandas(types_mapper=pandas.ArrowDtype)
    if kind == "pl.DataFrame":
        return lambda table: importlib.import_module("polars").from_arrow(table)
    if kind == "duckdb.DuckDBPyRelation":
        return lambda table: importlib.import_module("duckdb").from_arrow(table)
    return lambda table: table
