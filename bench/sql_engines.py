"""DataFusion against DuckDB for SQL models: CPU, and how much of an output lies in its inputs.

Each run is a fresh process without Zerrow: it reads a query's columns from TPC-H Parquet files into
Arrow tables, runs the query over them once and looks up the address of each buffer of the result.
Texts are views (as these files say), plain strings or dictionaries. The engines are set up as in a
worker. Data is made with tpchgen-cli beside the other build output, once.

User and system time stand apart: the latter is page faults, which in a fresh process depend on the
machine's stock of huge pages more than on the engine, and which workers avoid with recycled pages.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import time
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lib
import pyarrow as pa
import pyarrow.parquet as pq
from zerrow._worker.tasks_sql import datafusion_session  # the configuration of a worker

EXAMPLE = lib.ROOT / "examples" / "tpch"
PARAMETERS = {"segment": "BUILDING", "region": "ASIA", "shipped_before": "1998-09-02"}
PLAIN = {
    "project": "SELECT l_orderkey, l_quantity, l_shipdate, l_comment FROM lineitem",
    "add a column": "SELECT l_orderkey, l_comment, l_tax * 2 AS twice FROM lineitem",
    "limit": "SELECT l_orderkey, l_comment FROM lineitem LIMIT 1000000",
    "filter 1/2": "SELECT l_orderkey, l_quantity, l_shipmode, l_comment FROM lineitem "
    "WHERE l_shipdate < DATE '1995-06-17'",
    "filter 1/7": "SELECT l_orderkey, l_quantity, l_shipmode, l_comment FROM lineitem "
    "WHERE l_shipmode = 'AIR'",
    "join": "SELECT l_orderkey, o_orderpriority, l_shipmode, o_totalprice FROM lineitem "
    "JOIN orders ON l_orderkey = o_orderkey",
    "sort": "SELECT o_orderkey, o_orderpriority, o_totalprice FROM orders ORDER BY o_totalprice",
    "aggregate": "SELECT l_suppkey, count(*) AS n, sum(l_quantity) AS quantity FROM lineitem "
    "GROUP BY l_suppkey",
}
TEXTS = ("view", "string", "dictionary")
ENGINES = ("datafusion", "duckdb")


def queries() -> dict[str, str]:
    """The plain ones and the TPC-H example's."""
    found = dict(PLAIN)
    for file in sorted((EXAMPLE / "models").glob("*.sql"), key=_number):
        text = file.read_text()
        for name, value in PARAMETERS.items():
            text = text.replace(f"${name}", f"'{value}'")
        found[file.stem.split("_")[0].upper()] = text
    return found


def _number(file: Path) -> int:
    return int(re.findall(r"\d+", file.stem)[0])


def prepare(data: Path, scale_factor: float) -> None:
    command = [sys.executable, str(EXAMPLE / "prepare.py"), "--data", str(data)]
    data.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([*command, "--scale-factor", str(scale_factor)], check=True, stdout=sys.stderr)


# --- one run, in a process of its own ---------------------------------------------------------


def read_inputs(data: Path, sql: str, texts: str) -> dict[str, pa.Table]:
    """The tables that a query names, with those of their columns that it names."""
    words = set(re.findall(r"\w+", sql))
    inputs = {}
    for file in sorted(data.glob("*.parquet")):
        if file.stem not in words:
            continue
        schema = pq.read_schema(file)
        columns = [name for name in schema.names if name in words]
        views = [name for name in columns if schema.field(name).type == pa.string_view()]
        table = pq.read_table(
            file, columns=columns, read_dictionary=views if texts == "dictionary" else None
        )
        for name in views if texts == "string" else ():
            index = table.schema.get_field_index(name)
            table = table.set_column(index, name, table[name].cast(pa.string()))
        inputs[file.stem] = table
    return inputs


def run_datafusion(inputs: dict[str, pa.Table], sql: str) -> pa.Table:
    context = datafusion_session(inputs)
    for name, table in inputs.items():
        context.register_record_batches(name, [table.to_batches()])
    return context.sql(sql).to_arrow_table()


def run_duckdb(inputs: dict[str, pa.Table], sql: str) -> pa.Table:
    import duckdb

    with duckdb.connect() as connection:
        for name, table in inputs.items():
            connection.register(name, table)
        return connection.sql(sql).to_arrow_table()


def buffers(array: pa.Array) -> Iterator[tuple[int, int]]:
    """Address and size of each buffer of an array, its dictionary's too."""
    yield from ((buffer.address, buffer.size) for buffer in array.buffers() if buffer is not None)
    if pa.types.is_dictionary(array.type):
        yield from buffers(array.dictionary)


def all_buffers(table: pa.Table) -> set[tuple[int, int]]:
    return {
        found for column in table.columns for chunk in column.chunks for found in buffers(chunk)
    }


def shared_bytes(output: pa.Table, inputs: dict[str, pa.Table]) -> tuple[int, int]:
    """Bytes of the output's buffers, and how many of them lie in buffers of the inputs."""
    ranges = sorted(found for table in inputs.values() for found in all_buffers(table))
    starts = [address for address, _ in ranges]
    shared, new = [], []
    for address, size in all_buffers(output):
        index = bisect_right(starts, address) - 1
        inside = index >= 0 and address + size <= ranges[index][0] + ranges[index][1]
        (shared if inside else new).append((address, size))
    return covered(shared) + covered(new), covered(shared)


def covered(ranges: list[tuple[int, int]]) -> int:
    """Bytes that lie in any of these ranges: slices of one buffer overlap."""
    total = end = 0
    for address, size in sorted(ranges):
        total += max(0, address + size - max(address, end))
        end = max(end, address + size)
    return total


def run_once(data: Path, engine: str, sql: str, texts: str) -> dict[str, Any]:
    __import__(engine)
    inputs = read_inputs(data, sql, texts)
    run = {"datafusion": run_datafusion, "duckdb": run_duckdb}[engine]
    before, begin = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    output = run(inputs, sql)
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF)
    total, shared = shared_bytes(output, inputs)
    return {
        "wall_s": wall,
        "user_s": after.ru_utime - before.ru_utime,
        "system_s": after.ru_stime - before.ru_stime,
        "faults": after.ru_minflt - before.ru_minflt,
        "rows": output.num_rows,
        "output_bytes": total,
        "shared_bytes": shared,
    }


# --- all runs -----------------------------------------------------------------------------------


def in_process(data: Path, engine: str, query: str, texts: str) -> lib.Figures:
    command = [sys.executable, __file__, "--once", engine, query, texts, "--data", str(data)]
    # As in a worker, whose allocator is the shim.
    environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    figures: lib.Figures = json.loads(done.stdout)
    return figures


def line(query: str, texts: str, arms: dict[str, lib.Arm]) -> list[str]:
    cells = [query, texts]
    for figure in ("user_s", "system_s"):
        cells += [f"{arms[engine].median(figure) or 0:.3f}" for engine in ENGINES]
    cells += [f"{(arms[engine].median('output_bytes') or 0) / 1e6:.1f}" for engine in ENGINES]
    for engine in ENGINES:
        total = arms[engine].median("output_bytes") or 1
        cells.append(f"{100 * (arms[engine].median('shared_bytes') or 0) / total:.0f} %")
    return cells


def measure(data: Path, repeats: int, warmup: int) -> tuple[list[list[str]], list[lib.Arm]]:
    lines, all_arms = [], []
    for query in queries():
        for texts in TEXTS if query in PLAIN else ("string", "dictionary"):
            arms = {
                engine: lib.Arm(
                    f"{engine} {query} {texts}",
                    lambda engine=engine, query=query, texts=texts: in_process(  # type: ignore[misc]
                        data, engine, query, texts
                    ),
                )
                for engine in ENGINES
            }
            lib.interleave(list(arms.values()), repeats, warmup)
            lines.append(line(query, texts, arms))
            all_arms += arms.values()
            print(*lines[-1], file=sys.stderr, flush=True)
    return lines, all_arms


def main() -> None:
    parser = lib.arguments(__doc__.splitlines()[0], repeats=3, warmup=0)
    parser.add_argument("--scale-factor", type=float, default=1.0)
    parser.add_argument("--data", type=Path, help="folder of the TPC-H tables")
    parser.add_argument("--once", nargs=3, metavar=("ENGINE", "QUERY", "TEXTS"), help="one run")
    options = parser.parse_args()
    if options.once:
        engine, query, texts = options.once
        print(json.dumps(run_once(options.data, engine, queries()[query], texts)))
        return
    data = options.data or lib.ROOT / "build" / "bench" / f"tpch-{options.scale_factor:g}"
    prepare(data, options.scale_factor)
    lines, arms = measure(data, options.repeats, options.warmup)
    print(f"# SQL engines over Arrow tables, TPC-H scale factor {options.scale_factor:g}, cold")
    print("# " + " | ".join(f"{key} {value}" for key, value in lib.machine().items()))
    print(f"# median of {options.repeats} runs in turns, each in a fresh process")
    header = ["query", "texts"]
    for figure in ("user s", "system s", "output MB", "in inputs"):
        header += [f"{figure} {name}" for name in ("DF", "Duck")]
    print(lib.text_table(header, lines))
    if options.json:
        Path(options.json).write_text(json.dumps({arm.name: arm.samples for arm in arms}) + "\n")


if __name__ == "__main__":
    main()
