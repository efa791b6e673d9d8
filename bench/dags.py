"""The functions of `shared_inputs`: the same for Zerrow's models and for plain processes.

As a script it is a plain process: `dags.py LIBRARY WORK FILE DAG COLUMN...`.
"""

from __future__ import annotations

import datetime
import sys

import pyarrow as pa
import pyarrow.compute as pc

# What every DAG reads: the filter's column, the group's, and the measure's.
COMMON = ["l_shipdate", "l_suppkey", "l_quantity"]
OTHERS = [
    "l_extendedprice",
    "l_discount",
    "l_tax",
    "l_partkey",
    "l_orderkey",
    "l_linenumber",
    "l_commitdate",
    "l_receiptdate",
    "l_returnflag",
    "l_linestatus",
    "l_shipinstruct",
    "l_shipmode",
    "l_comment",
]
OWN = 5  # others that a DAG reads


def columns_of(dag: int, overlapping: bool) -> list[str]:
    """Half of the table's columns: all DAGs' the same, or each DAG's others."""
    first = dag * 3 if overlapping else 0
    return COMMON + [OTHERS[(first + i) % len(OTHERS)] for i in range(OWN)]


def after(dag: int) -> datetime.date:
    """Each DAG has a filter of its own, so that nothing but the input is shared."""
    return datetime.date(1998, 1, 1) + datetime.timedelta(days=dag)


def light(table: pa.Table, dag: int) -> pa.Table:
    """A projection, a filter of some 10 % of the rows, an aggregation: reading costs most."""
    late = table.filter(pc.greater(table["l_shipdate"], after(dag)))
    measures = [(name, "count") for name in table.column_names if name not in COMMON]
    return late.group_by("l_suppkey").aggregate([("l_quantity", "sum"), *measures])


def heavy(table: pa.Table, dag: int) -> pa.Table:
    """Half of the rows, sorted, then aggregated by two keys."""
    late = table.filter(pc.greater(table["l_shipdate"], after(dag) - datetime.timedelta(1100)))
    late = late.sort_by([("l_shipdate", "ascending"), ("l_quantity", "descending")])
    return late.group_by(["l_suppkey", "l_shipdate"]).aggregate([("l_quantity", "sum")])


def with_polars(file: str, work: str, dag: int, columns: list[str]) -> int:
    """As a user of polars would write it: lazily, so that it reads what the result needs."""
    import polars as pl

    late = pl.scan_parquet(file).select(columns)
    if work == "light":
        measures = [pl.col(name).count() for name in columns if name not in COMMON]
        late = late.filter(pl.col("l_shipdate") > after(dag))
        done = late.group_by("l_suppkey").agg(pl.col("l_quantity").sum(), *measures)
    else:
        late = late.filter(pl.col("l_shipdate") > after(dag) - datetime.timedelta(1100))
        late = late.sort(["l_shipdate", "l_quantity"], descending=[False, True])
        done = late.group_by("l_suppkey", "l_shipdate").agg(pl.col("l_quantity").sum())
    return len(done.collect())


def with_pyarrow(file: str, work: str, dag: int, columns: list[str]) -> int:
    import pyarrow.parquet as pq

    return len(globals()[work](pq.read_table(file, columns=columns), dag))


def files(source: str, work: str, dag: int, columns: list[str]) -> dict[str, str]:
    """The same as a project."""
    return {
        "zerrow_project.yml": f"name: dag_{dag}\nsources: {{lineitem: {source}}}\n",
        "models.py": f"""\
import sys
sys.path.insert(0, {sys.path[0]!r})
import pyarrow as pa, zerrow, dags

@zerrow.model()
def result(table: pa.Table = zerrow.Model("lineitem", columns={columns})):
    return dags.{work}(table, {dag})
""",
    }


if __name__ == "__main__":
    _, library, work, file, dag, *columns = sys.argv
    function = {"pyarrow": with_pyarrow, "polars": with_polars}[library]
    print(function(file, work, int(dag), columns))
