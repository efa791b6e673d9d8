"""Parquet files that benchmarks make with a seed, once, beside the other build output."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import lib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

BUILT = lib.ROOT / "build" / "bench"
PART_ROWS = 1 << 20  # rows that are made at once, and of a row group

Part = Callable[[int, int, np.random.Generator], pa.Table]  # first row, rows


def made(name: str, rows: int, part: Part, **options: int) -> Path:
    """The file, written unless it is there; `options` are pyarrow's."""
    file = BUILT / f"{name}-{rows}.parquet"
    if file.exists():
        return file
    BUILT.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    generator = np.random.default_rng(1)
    writer = None
    for first in range(0, rows, PART_ROWS):
        table = part(first, min(PART_ROWS, rows - first), generator)
        writer = writer or pq.ParquetWriter(unfinished, table.schema, **options)
        writer.write_table(table, row_group_size=PART_ROWS)
    if writer:
        writer.close()
    os.replace(unfinished, file)
    return file


def lineitem(rows: int) -> Path:
    """16 columns like those of TPC-H's lineitem, some 140 bytes a row when they are decoded."""
    return made("lineitem", rows, _lineitem)


def _lineitem(first: int, rows: int, generator: np.random.Generator) -> pa.Table:
    quantity = generator.integers(1, 51, rows).astype(float)
    price = np.round(quantity * generator.uniform(900, 2000, rows), 2)
    shipped = generator.integers(8036, 10562, rows)  # days of 1992 to 1998
    numbers = {
        "l_orderkey": np.arange(first, first + rows) // 4,
        "l_partkey": generator.integers(1, 200_001, rows),
        "l_suppkey": generator.integers(1, 10_001, rows),
        "l_linenumber": np.arange(first, first + rows) % 4 + 1,
        "l_quantity": quantity,
        "l_extendedprice": price,
        "l_discount": generator.integers(0, 11, rows) / 100,
        "l_tax": generator.integers(0, 9, rows) / 100,
    }
    texts = {
        "l_returnflag": ("A", "N", "R"),
        "l_linestatus": ("F", "O"),
        "l_shipinstruct": ("COLLECT COD", "DELIVER IN PERSON", "NONE", "TAKE BACK RETURN"),
        "l_shipmode": ("AIR", "FOB", "MAIL", "RAIL", "REG AIR", "SHIP", "TRUCK"),
    }
    dates = {
        "l_shipdate": shipped,
        "l_commitdate": shipped + generator.integers(-60, 61, rows),
        "l_receiptdate": shipped + generator.integers(1, 31, rows),
    }
    return pa.table(
        {
            **numbers,
            **{name: pa.array(days.astype("int32"), pa.date32()) for name, days in dates.items()},
            **{
                name: pa.array(values).take(pa.array(generator.integers(0, len(values), rows)))
                for name, values in texts.items()
            },
            "l_comment": random_texts(generator, rows, 10, 43),
        }
    )


def random_texts(
    generator: np.random.Generator, count: int, shortest: int, longest: int
) -> pa.Array:
    """So many texts of random letters, their lengths drawn evenly."""
    offsets = np.zeros(count + 1, "int32")
    np.cumsum(generator.integers(shortest, longest + 1, count), out=offsets[1:])
    letters = generator.integers(ord("a"), ord("z") + 1, offsets[-1], "uint8")
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(letters))


def equal_numbers(columns: int, rows: int, type_: str, group_rows: int | None = None) -> Path:
    """Columns of one number each: small as a file, of full size when they are decoded."""
    group_rows = group_rows or rows
    name = f"equal-{type_}-{columns}-{group_rows}-{rows}"
    file = BUILT / f"{name}.parquet"
    if file.exists():
        return file
    BUILT.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    column = pa.array(np.zeros(group_rows, type_))
    group = pa.table({f"c{i}": column for i in range(columns)})
    with pq.ParquetWriter(unfinished, group.schema) as writer:
        for _ in range(rows // group_rows):
            writer.write_table(group, row_group_size=group_rows)
    os.replace(unfinished, file)
    return file


def texts(rows: int, form: str) -> Path:
    """8 columns of texts of 16 to 64 bytes and the integers a and b.

    The texts' columns have 1,000, 10,000 or 100,000 distinct values, drawn evenly. By `form` their
    type is `dictionary`; they are strings with dictionaries inside the file (`automatic`); or
    strings without (`plain`).
    """
    generator = np.random.default_rng(2)
    values = [random_texts(generator, 10 ** (3 + i % 3), 16, 64) for i in range(8)]

    def part(_first: int, rows: int, generator: np.random.Generator) -> pa.Table:
        columns: dict[str, pa.Array | np.ndarray] = {}
        for i, distinct in enumerate(values):
            drawn = pa.array(generator.integers(0, len(distinct), rows).astype("int32"))
            column = pa.DictionaryArray.from_arrays(drawn, distinct)
            columns[f"s{i}"] = column if form == "dictionary" else column.cast(pa.string())
        columns["a"] = generator.integers(0, 1_000_000, rows)
        columns["b"] = generator.integers(0, 1_000, rows)
        return pa.table(columns)

    # Room for the largest dictionary, so that it isn't given up for plain values.
    has = form != "plain"
    return made(f"texts-{form}", rows, part, use_dictionary=has, dictionary_pagesize_limit=1 << 25)
