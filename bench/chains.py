"""Chains of functions over one table: K times the same steps, as a pipeline or plain processes.

`tpch` computes: lineitem is filtered, gets a column, is sorted and aggregated. `wide` hands over:
half of 100 columns, one of them changed, renamed, passed on, half of the rows, a sum. Both read
their Parquet file once for all chains.
"""

from __future__ import annotations

import datetime
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lib
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import rounds

LINEITEM = [
    "l_orderkey",
    "l_partkey",
    "l_suppkey",
    "l_linenumber",
    "l_quantity",
    "l_extendedprice",
    "l_discount",
    "l_tax",
    "l_shipdate",
    "l_commitdate",
    "l_receiptdate",
]
WIDE_COLUMNS = 100

Step = Callable[[pa.Table], pa.Table]


def shipped_late(table: pa.Table) -> pa.Table:
    return table.filter(pc.greater(table["l_shipdate"], datetime.date(1995, 6, 17)))


def charged(table: pa.Table) -> pa.Table:
    price = table["l_extendedprice"].cast(pa.float64())
    discount = table["l_discount"].cast(pa.float64())
    return table.append_column("charge", pc.multiply(price, pc.subtract(1.0, discount)))


def by_charge(table: pa.Table) -> pa.Table:
    return table.sort_by([("l_shipdate", "ascending"), ("charge", "descending")])


def per_supplier(table: pa.Table) -> pa.Table:
    return table.group_by("l_suppkey").aggregate([("charge", "sum"), ("charge", "count")])


def half_of_the_columns(table: pa.Table) -> pa.Table:
    return table.select(range(0, table.num_columns, 2))


def one_more(table: pa.Table) -> pa.Table:
    return table.set_column(0, table.column_names[0], pc.add(table[0], 1.0))


def renamed(table: pa.Table) -> pa.Table:
    return table.rename_columns([f"{name}_" for name in table.column_names])


def identity(table: pa.Table) -> pa.Table:
    return table


def half_of_the_rows(table: pa.Table) -> pa.Table:
    return table.slice(0, table.num_rows // 2)


def total(table: pa.Table) -> pa.Table:
    return pa.table({"total": [sum(pc.sum(column).as_py() for column in table.columns)]})


@dataclass(frozen=True)
class Chains:
    """What to read and the steps of a chain; a step's name is that of a function above."""

    source: Path
    columns: list[str] | None
    steps: tuple[Step, ...]

    def files(self, count: int) -> dict[str, str]:
        """The project: one source, `count` chains."""
        models = [
            "import sys",
            f"sys.path.insert(0, {str(lib.ROOT / 'bench')!r})",
            "import pyarrow as pa, zerrow, chains",
        ]
        for chain in range(count):
            wanted = f'"source", columns={self.columns}' if self.columns else '"source"'
            for step in self.steps:
                name = f"{step.__name__}_{chain}"
                models += [
                    "@zerrow.model()",
                    f"def {name}(table: pa.Table = zerrow.Model({wanted})):",
                    f"    return chains.{step.__name__}(table)",
                ]
                wanted = f'"{name}"'
        project = f"name: chains\nsources:\n  source: {self.source}\n"
        return {"zerrow_project.yml": project, "models.py": "\n".join(models) + "\n"}

    def in_plain_processes(self, count: int) -> lib.Figures:
        """One forked process a step, one after the other, over Arrow IPC files in memory."""
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder, lib.memory_group() as group:
            source = os.path.join(folder, "source")

            def read() -> None:
                rounds.write_ipc(pq.read_table(self.source, columns=self.columns), source)

            cpu_s = rounds.in_fork(read, group)
            for _ in range(count):
                given = source
                for i, step in enumerate(self.steps):
                    made = os.path.join(folder, f"step_{i}")

                    def work(step: Step = step, given: str = given, made: str = made) -> None:
                        rounds.write_ipc(step(rounds.map_ipc(given)), made)

                    cpu_s += rounds.in_fork(work, group)
                    if given != source:
                        os.unlink(given)
                    given = made
                os.unlink(given)
        return {"cpu_s": cpu_s, "peak_bytes": group.peak_bytes}


def tpch(lineitem: Path) -> Chains:
    return Chains(lineitem, LINEITEM, (shipped_late, charged, by_charge, per_supplier))


def wide(folder: Path, size: int) -> Chains:
    """Over `size` bytes of floats, written into `folder` unless they are there."""
    file = folder / f"wide-{size}.parquet"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(1).random((WIDE_COLUMNS, size // (8 * WIDE_COLUMNS)))
        unfinished = file.with_name(f".{file.name}.{os.getpid()}")
        pq.write_table(pa.table(dict(enumerate_columns(values))), unfinished)
        os.replace(unfinished, file)
    steps = (half_of_the_columns, one_more, renamed, identity, half_of_the_rows, total)
    return Chains(file, None, steps)


def enumerate_columns(values: np.ndarray) -> list[tuple[str, pa.Array]]:
    return [(f"c{i}", pa.array(column)) for i, column in enumerate(values)]
