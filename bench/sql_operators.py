"""What SQL operators store of text columns: plain, as DataFusion makes dictionaries, and as kept.

Queries over a lineitem with texts of 3 to 10,000 different values and its orders, in one process,
with what a worker does with them:

plain       the inputs' texts are plain strings
DataFusion  they are dictionaries, and the result is what DataFusion makes of them by itself
kept        they are dictionaries, in the session that workers use for these, and the result refers
            to the inputs' dictionaries where these have its values

New bytes are those of the result's buffers that don't lie in the inputs', which a run stores; what
finding unchanged numbers by their content spares besides is the same for all and isn't counted.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import lib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tables
from sql_engines import shared_bytes

sys.path.insert(0, str(lib.ROOT / "python"))
from zerrow._worker import tasks_sql

CHUNK_ROWS = 1 << 20
COLUMNS = ("l_orderkey", "l_suppkey", "l_quantity", "l_shipdate", "l_returnflag", "l_shipmode")
TEXTS = "l_returnflag, l_shipmode, l_supplier"
ALL = f"l_orderkey, l_quantity, {TEXTS}"
QUERIES = {
    "project": f"SELECT {ALL} FROM lineitem",
    "filter 1/2": f"SELECT {ALL} FROM lineitem WHERE l_shipdate < DATE '1995-06-17'",
    "filter 1/7": f"SELECT {ALL} FROM lineitem WHERE l_shipmode = 'AIR'",
    "limit": f"SELECT {ALL} FROM lineitem LIMIT 500000",
    "join": f"SELECT {ALL}, o_clerk, o_orderpriority FROM lineitem "
    "JOIN orders ON l_orderkey = o_orderkey WHERE o_totalprice < 200000",
    "semi join": f"SELECT {ALL} FROM lineitem WHERE l_orderkey IN "
    "(SELECT o_orderkey FROM orders WHERE o_orderpriority = '1-URGENT')",
    "sort by number": f"SELECT {ALL} FROM lineitem ORDER BY l_shipdate",
    "sort by few texts": f"SELECT {ALL} FROM lineitem ORDER BY l_shipmode",
    "sort by many texts": f"SELECT {ALL} FROM lineitem ORDER BY l_supplier",
    "top rows": f"SELECT {ALL} FROM lineitem ORDER BY l_quantity, l_orderkey LIMIT 50000",
    "group": "SELECT l_shipmode, o_clerk, sum(l_quantity) AS quantity FROM lineitem "
    "JOIN orders ON l_orderkey = o_orderkey GROUP BY l_shipmode, o_clerk, o_custkey",
    "distinct": "SELECT DISTINCT o_clerk, o_custkey FROM orders",
    "first of each": f"SELECT DISTINCT ON (l_orderkey) {ALL} FROM lineitem "
    "ORDER BY l_orderkey, l_shipdate",
    "rank": f"SELECT {ALL}, rank() OVER (PARTITION BY l_orderkey ORDER BY l_shipdate) AS r "
    "FROM lineitem",
    "lag": "SELECT l_orderkey, lag(l_shipmode) OVER (ORDER BY l_orderkey, l_shipdate) AS before "
    "FROM lineitem",
    "case": "SELECT l_orderkey, CASE WHEN l_quantity < 10 THEN l_supplier ELSE 'large' END AS s "
    "FROM lineitem",
    "union": "SELECT l_shipmode AS text FROM lineitem WHERE l_quantity < 10 UNION ALL "
    "SELECT o_orderpriority FROM orders WHERE o_totalprice < 200000",
    "lowest": "SELECT l_orderkey, min(l_supplier) AS supplier FROM lineitem GROUP BY l_orderkey",
}
FIGURES = ("new_bytes", "cpu_s")


def encoded_tables(rows: int) -> dict[str, pa.Table]:
    """With a dictionary for each text column, as a source hands them over."""
    lineitem = pq.read_table(tables.lineitem(rows), columns=list(COLUMNS))
    suppliers = pa.array([f"Supplier#{i:09}" for i in range(10_001)])
    names = suppliers.take(lineitem["l_suppkey"].combine_chunks())
    lineitem = lineitem.drop_columns("l_suppkey").append_column("l_supplier", names)
    draw, count = np.random.default_rng(3), rows // 4
    priorities = pa.array(["1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW"])
    clerks = pa.array([f"Clerk#{i:09}" for i in range(1000)])
    orders = pa.table(
        {
            "o_orderkey": np.arange(count),
            "o_custkey": draw.integers(0, count // 10 + 1, count),
            "o_totalprice": draw.uniform(900, 400_000, count),
            "o_orderpriority": priorities.take(pa.array(draw.integers(0, 5, count))),
            "o_clerk": clerks.take(pa.array(draw.integers(0, 1000, count))),
        }
    )
    return {"lineitem": encoded(lineitem), "orders": encoded(orders)}


def encoded(table: pa.Table) -> pa.Table:
    """Marked, so that what was plain comes out as plain; in chunks of a row group's rows."""
    fields, columns = [], []
    for field, column in zip(table.schema, table.combine_chunks().columns, strict=True):
        values, metadata = column.chunk(0), None
        if field.type == pa.string():
            values, metadata = values.dictionary_encode(), {"zerrow:dictionary": "auto"}
        chunks = [values[i : i + CHUNK_ROWS] for i in range(0, len(values), CHUNK_ROWS)]
        fields.append(pa.field(field.name, values.type, metadata=metadata))
        columns.append(pa.chunked_array(chunks))
    return pa.table(columns, schema=pa.schema(fields))


def by_datafusion_alone(inputs: dict[str, pa.Table], sql: str) -> pa.Table:
    return tasks_sql._query(tasks_sql.datafusion_session(inputs, merge=True), inputs, sql)


def used(encoded: dict[str, pa.Table], sql: str) -> dict[str, pa.Table]:
    """The tables and columns that the query names: a worker gets no others."""
    words = set(re.findall(r"\w+", sql))
    return {
        name: table.select([column for column in table.column_names if column in words])
        for name, table in encoded.items()
        if name in words
    }


def arms(given: dict[str, pa.Table], sql: str) -> list[lib.Arm]:
    plain = {name: tasks_sql.decoded(table) for name, table in given.items()}
    ways = {
        "plain": (tasks_sql.datafusion_query, plain),
        "DataFusion": (by_datafusion_alone, given),
        "kept": (tasks_sql.datafusion_query, given),
    }

    def arm(name: str) -> lib.Arm:
        query, inputs = ways[name]

        def run() -> lib.Figures:
            begin = time.process_time()
            output = query(inputs, sql)
            cpu = time.process_time() - begin
            total, shared = shared_bytes(output, inputs)
            return {
                "cpu_s": cpu,
                "new_bytes": total - shared,
                "reshared_bytes": shared,
                "rows": output.num_rows,
            }

        return lib.Arm(name, run)

    return [arm(name) for name in ways]


def line(name: str, measured: list[lib.Arm]) -> list[str]:
    cells = [lib.human(key, arm.median(key)) for key in FIGURES for arm in measured]
    return [name, *cells, lib.human("reshared_bytes", measured[-1].median("reshared_bytes"))]


def main() -> None:
    parser = lib.arguments(__doc__.splitlines()[0], repeats=5)
    parser.add_argument("--rows", type=int, default=2_000_000, help="of lineitem")
    parser.add_argument("--query", choices=QUERIES, action="append")
    options = parser.parse_args()
    given = encoded_tables(options.rows)
    lines, parts = [], {}
    for name in options.query or QUERIES:
        measured = arms(used(given, QUERIES[name]), QUERIES[name])
        lib.interleave(measured, options.repeats, options.warmup)
        lines.append(line(name, measured))
        parts[name] = {arm.name: arm.samples for arm in measured}
    machine = lib.machine()
    print(f"# SQL operators over texts, {options.rows:,} rows of lineitem, in one process, warm")
    print("# " + " | ".join(f"{key} {value}" for key, value in machine.items()))
    print(f"# median of {options.repeats} interleaved runs")
    header = [f"{what} {arm.name}" for what in ("new", "CPU") for arm in measured]
    print(lib.text_table(["operator", *header, "reshared kept"], lines))
    if options.json:
        Path(options.json).write_text(json.dumps({"machine": machine, "parts": parts}, indent=1))


if __name__ == "__main__":
    main()
