"""The functions of `limits` and `parallel`: the same for Zerrow's models and for tasks of Ray."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa


def made(seed: int, size: int, seconds: float = 0) -> pa.Table:
    """A table of `size` bytes; `seconds` stand for a slow service or a slow function."""
    time.sleep(seconds)
    return pa.table({"x": np.arange(seed, seed + size // 8)})


def shifted(table: pa.Table, seconds: float = 0) -> pa.Table:
    """As large as its input, all of it new."""
    time.sleep(seconds)
    return pa.table({"x": as_numpy(table) + 1})


def joined(left: pa.Table, right: pa.Table) -> pa.Table:
    return pa.table({"x": as_numpy(left) + as_numpy(right)})


def total(*tables: pa.Table) -> pa.Table:
    return pa.table({"x": [sum(int(as_numpy(table).sum()) for table in tables)]})


def beyond(table: pa.Table, mean: pa.Table) -> pa.Table:
    """What needs a figure of all tables first: how much of this one is beyond it."""
    return pa.table({"x": [int(np.count_nonzero(as_numpy(table) > int(as_numpy(mean)[0])))]})


def as_numpy(table: pa.Table) -> np.ndarray:
    return table["x"].chunk(0).to_numpy()


# --- of the DAGs at once: a wide table that gains columns ------------------------------------

WIDE_COLUMNS = 4


def wide(seed: int, size: int) -> pa.Table:
    rows = size // (8 * WIDE_COLUMNS)
    return pa.table({f"c{i}": np.arange(seed + i, seed + i + rows) for i in range(WIDE_COLUMNS)})


def with_column(table: pa.Table) -> pa.Table:
    """All columns of its input and one more."""
    last = table.column(table.num_columns - 1).chunk(0).to_numpy()
    return table.append_column(f"c{table.num_columns}", pa.array(last * 3 + 1))


def sums(table: pa.Table) -> pa.Table:
    columns = (column.chunk(0).to_numpy() for column in table.columns)
    return pa.table({"x": [int(column.sum()) for column in columns]})


def scaled(table: pa.Table, by: pa.Table) -> pa.Table:
    """Its last column by what was found in all columns; a second pass over the table."""
    last = table.column(table.num_columns - 1).chunk(0).to_numpy()
    return pa.table({"x": [int((last % (abs(int(by["x"][0].as_py())) % 1000 + 2)).sum())]})
