"""The tables and functions that several benchmarks share, so that every arm does the same work."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

GIB = 2**30


def integers(total_bytes: int, columns: int = 8) -> pa.Table:
    """A table of `columns` int64 columns, `total_bytes` in all, made in one go."""
    rows = total_bytes // (8 * columns)
    names = [f"c{i}" for i in range(columns)]
    return pa.table([pa.array(np.arange(i, rows + i)) for i in range(columns)], names=names)


def mixed(total_bytes: int) -> pa.Table:
    """Two int64 and two string columns, about `total_bytes`: an id, a value, a city, a name."""
    rows = total_bytes // 48
    ids = np.arange(rows)
    cities = pa.array(np.array([f"city-{i:05}" for i in range(1000)]))
    return pa.table(
        {
            "id": ids,
            "value": ids * 3 % 1000,
            "city": cities.take(pa.array(ids % 1000)),
            "name": cities.take(pa.array(ids * 7 % 1000)),
        }
    )


def sum_of(table: pa.Table, column: str = "c0") -> int:
    """Reads all of one column."""
    total = 0
    for chunk in table[column].chunks:
        total += int(chunk.to_numpy(zero_copy_only=True).sum())
    return total


def sum_all(table: pa.Table) -> int:
    """Reads all columns."""
    return sum(sum_of(table, name) for name in table.column_names)
