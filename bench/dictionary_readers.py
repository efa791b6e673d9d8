"""What it costs to serve a text column that is cached as a dictionary to those who want plain text.

For each library the column as it may be had: `plain` (an entry of its own, decoded once for all:
nothing to make), `decoded` in each worker, as a string `view` over the dictionary's text (16 bytes
a row), and the `dictionary` itself. CPU to make the form, CPU of the library's own work (filter by
equality, then count by text), bytes that are made for each consumer. Medians of interleaved rounds.

    python bench/dictionary_readers.py [rows] [distinct] [rounds]
"""

import statistics
import sys
import time
from collections.abc import Callable

import datafusion
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

CPU_MS = 1e3


def column_of(rows: int, distinct: int) -> pa.DictionaryArray:
    """Texts of 16 to 64 bytes, drawn evenly."""
    draw = np.random.default_rng(1)
    values = [f"{i:08d}".ljust(int(draw.integers(16, 65)), "x") for i in range(distinct)]
    indices = pa.array(draw.integers(0, distinct, rows), pa.int32())
    return pa.DictionaryArray.from_arrays(indices, pa.array(values))


def decoded(column: pa.DictionaryArray) -> pa.Array:
    """Each row's text for itself."""
    return column.cast(pa.string())


def as_views(column: pa.DictionaryArray) -> pa.Array:
    """Views over the dictionary's text, which isn't copied."""
    views = column.dictionary.cast(pa.string_view())
    _, words, *data = views.buffers()
    taken = np.frombuffer(words, "V16")[column.indices.to_numpy()]
    return pa.Array.from_buffers(pa.string_view(), len(column), [None, pa.py_buffer(taken), *data])


FORMS = {"decoded": decoded, "view": as_views, "dictionary": lambda column: column}


def use_pyarrow(table: pa.Table, text: str) -> int:
    """Arrow can neither filter nor group views."""
    kept = table.filter(pc.equal(table["s"], text)).num_rows
    return kept + table.group_by("s").aggregate([("n", "count")]).num_rows


def use_polars(table: pa.Table, text: str) -> int:
    frame = pl.from_arrow(table, rechunk=False)
    return frame.filter(pl.col("s") == text).height + frame.group_by("s").len().height


def use_pandas(table: pa.Table, text: str) -> int:
    frame = table.to_pandas(types_mapper=pd.ArrowDtype)
    counts = frame.groupby("s", observed=True)["n"].count()
    return len(frame[frame["s"] == text]) + len(counts)


def use_duckdb(table: pa.Table, text: str) -> int:
    with duckdb.connect() as connection:
        connection.register("t", table)
        query = "SELECT count(*) FROM t WHERE s = $1"
        kept = connection.sql(query, params=[text]).fetchall()[0][0]
        groups = connection.sql("SELECT s, count(*) FROM t GROUP BY s").to_arrow_table()
    return kept + groups.num_rows


def use_datafusion(table: pa.Table, text: str) -> int:
    context = datafusion.SessionContext()
    context.register_record_batches("t", [table.to_batches(max_chunksize=65536)])
    kept = context.sql(f"SELECT s FROM t WHERE s = '{text}'").to_arrow_table()
    return (
        kept.num_rows
        + context.sql("SELECT s, count(*) FROM t GROUP BY s").to_arrow_table().num_rows
    )


def sort_datafusion(table: pa.Table, _: str) -> int:
    """By text, two partitions."""
    config = datafusion.SessionConfig().with_batch_size(65536).with_target_partitions(2)
    context = datafusion.SessionContext(config)
    context.register_record_batches("t", [table.to_batches()])
    return context.sql("SELECT s, n FROM t ORDER BY s").to_arrow_table().num_rows


LIBRARIES = {
    "pyarrow": use_pyarrow,
    "polars": use_polars,
    "pandas": use_pandas,
    "duckdb": use_duckdb,
    "datafusion": use_datafusion,
    "  its sort": sort_datafusion,
}


def cpu_ms(work: Callable[[], object]) -> tuple[float, object]:
    started = time.process_time()
    result = work()
    return (time.process_time() - started) * CPU_MS, result


def main() -> None:
    rows, distinct, rounds = [*map(int, sys.argv[1:]), *(2_000_000, 1000, 5)[len(sys.argv) - 1 :]]
    column = column_of(rows, distinct)
    numbers = pa.array(np.arange(rows))
    text = column.dictionary[distinct // 2].as_py()
    plain = decoded(column)
    measured: dict[tuple[str, str], list[tuple[float, float, int]]] = {}
    for _ in range(rounds):
        for library, use in LIBRARIES.items():
            answers = set()
            for form in ("plain", *FORMS):
                make = FORMS.get(form)
                made_ms, given = cpu_ms(lambda make=make: make(column) if make else plain)
                new = {"plain": 0, "dictionary": 0, "view": 16 * rows, "decoded": plain.nbytes}[
                    form
                ]
                table = pa.table({"s": given, "n": numbers})
                try:
                    used_ms, answer = cpu_ms(lambda use=use, table=table: use(table, text))
                except (pa.ArrowException, NotImplementedError):
                    continue
                answers.add(answer)
                measured.setdefault((library, form), []).append((made_ms, used_ms, new))
            assert len(answers) == 1, (library, answers)
    print(f"{rows} rows, {distinct} texts; CPU in ms, MiB that each consumer makes")
    for (library, form), times in measured.items():
        made, used, new = (statistics.median(one) for one in zip(*times, strict=True))
        print(f"{library:11} {form:11} {made:7.0f} + {used:7.0f} {new / 2**20:8.1f}")


if __name__ == "__main__":
    main()
