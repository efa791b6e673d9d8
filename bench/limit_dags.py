"""Generated pipelines for `limits`: their models, as projects, and what of them is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import chains
import lib
import pyarrow.parquet as pq


@dataclass
class Dag:
    """Calls of `limit_functions`: each model's inputs and the expression that it returns."""

    models: dict[str, tuple[list[str], str]] = field(default_factory=dict)
    sources: dict[str, tuple[Path, list[str]]] = field(default_factory=dict)  # and columns
    heap_bytes: int = 32 << 20  # that a function has besides its tables, at most

    def add(self, name: str, inputs: Sequence[str], call: str) -> str:
        """`call` has the inputs' tables under their models' names."""
        self.models[name] = (list(inputs), call)
        return name

    def made(self, name: str, size: int, seconds: float = 0) -> str:
        return self.add(name, (), f"f.made({len(self.models)}, {size}, {seconds})")

    def total(self, name: str, inputs: Sequence[str]) -> str:
        return self.add(name, inputs, f"f.total({', '.join(inputs)})")

    def files(self) -> dict[str, str]:
        lines = [
            "import sys",
            f"sys.path.insert(0, {str(lib.ROOT / 'bench')!r})",
            "import zerrow",
            "import limit_functions as f",
            *(["import chains"] if self.sources else []),
        ]
        for name, (inputs, call) in self.models.items():
            arguments = ", ".join(f"{given}={self._reading(given)}" for given in inputs)
            lines += ["", "@zerrow.model()", f"def {name}({arguments}):", f"    return {call}"]
        project = ["name: limits"]
        if self.sources:
            project.append("sources:")
            project += [f"  {name}: {file}" for name, (file, _) in self.sources.items()]
        return {"zerrow_project.yml": _lines(project), "models.py": _lines(lines)}

    def _reading(self, name: str) -> str:
        columns = f", columns={self.sources[name][1]}" if name in self.sources else ""
        return f'zerrow.Model("{name}"{columns})'

    def largest_need(self, models: Sequence[dict[str, Any]]) -> tuple[int, str]:
        """The most that a model has of tables at once, inputs and output, by a run's report."""
        sizes = {model["name"]: model["bytes"] for model in models}
        return max(
            (sizes[name] + sum(sizes[given] for given in inputs), name)
            for name, (inputs, _) in self.models.items()
        )


def _lines(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"


def chain(size: int, count: int = 4, steps: int = 7) -> Dag:
    """Chains side by side, each step a new table."""
    dag = Dag()
    ends = []
    for i in range(count):
        last = dag.made(f"chain_{i}_0", size)
        for step in range(1, steps):
            last = dag.add(f"chain_{i}_{step}", [last], f"f.shifted({last})")
        ends.append(dag.total(f"end_{i}", [last]))
    dag.total("result", ends)
    return dag


def fan_out(size: int, leaves: int = 26) -> Dag:
    """One table that many read, each making one of its own."""
    dag = Dag()
    root = dag.made("root", size)
    ends = []
    for i in range(leaves):
        leaf = dag.add(f"leaf_{i}", [root], f"f.shifted({root})")
        ends.append(dag.total(f"end_{i}", [leaf]))
    dag.total("result", ends)
    return dag


def diamond(size: int, count: int = 3, stacked: int = 3) -> Dag:
    """Diamonds on top of each other, several such stacks side by side."""
    dag = Dag()
    ends = []
    for i in range(count):
        tip = dag.made(f"tip_{i}_0", size)
        for level in range(1, stacked + 1):
            sides = [
                dag.add(f"{side}_{i}_{level}", [tip], f"f.shifted({tip})")
                for side in ("left", "right")
            ]
            tip = dag.add(f"tip_{i}_{level}", sides, f"f.joined({', '.join(sides)})")
        ends.append(dag.total(f"end_{i}", [tip]))
    dag.total("result", ends)
    return dag


def two_pass(size: int, seconds: Sequence[float] = (0,) * 24, steps: int = 0) -> Dag:
    """A figure of all tables is needed before any of them is read again.

    Each entry of `seconds` is a table and what its function costs; `steps` are further functions,
    of the same cost, between it and the table.
    """
    dag = Dag()
    tables = []
    for i, cost in enumerate(seconds):
        table = dag.made(f"table_{i}", size, cost)
        for step in range(steps):
            table = dag.add(f"step_{i}_{step}", [table], f"f.shifted({table}, {cost})")
        tables.append(table)
    return gated(dag, tables)


def gated(dag: Dag, tables: Sequence[str]) -> Dag:
    """Adds the figure of all these tables, and what reads each of them with it."""
    gate = dag.total("gate", [dag.total(f"first_{table}", [table]) for table in tables])
    seconds = [
        dag.add(f"second_{table}", [table, gate], f"f.beyond({table}, {gate})") for table in tables
    ]
    dag.total("result", seconds)
    return dag


def tpch(lineitem: Path, count: int) -> Dag:
    """Chains over lineitem: filter, column added, sort, aggregate."""
    work = chains.tpch(lineitem)
    # Masks, casts and indices of a filter and a sort are as long as the table.
    rows = pq.read_metadata(lineitem).num_rows
    dag = Dag({}, {"source": (work.source, work.columns or [])}, (32 << 20) + 5 * 8 * rows)
    for i in range(count):
        last = "source"
        for step in work.steps:
            call = f"chains.{step.__name__}({last})"
            last = dag.add(f"{step.__name__}_{i}", [last], call)
    return dag


def kept(shape: Callable[[int], Dag]) -> Callable[[int], Dag]:
    """The shape, but that all its large tables are read again when all of them are there."""

    def make(size: int) -> Dag:
        dag = shape(size)
        large = [name for name in dag.models if not name.startswith(("end_", "result"))]
        del dag.models["result"]
        return gated(dag, large)

    return make


SHAPES: dict[str, Callable[[int], Dag]] = {
    "chain": chain,
    "fan-out": fan_out,
    "diamond": diamond,
    "two-pass": two_pass,
    "chain, kept": kept(chain),
    "fan-out, kept": kept(fan_out),
    "diamond, kept": kept(diamond),
}
