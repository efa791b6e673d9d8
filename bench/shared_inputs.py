"""DAGs that share their inputs: K runs at once of one resident engine, and plain processes.

Each of K DAGs reads 8 of 16 columns of one Parquet file, all the same or (overlapping) each others,
filters by a date of its own and aggregates. `light` keeps a tenth of the rows, so that reading
costs most; `heavy` sorts half of them. An arm of Zerrow is K commands `zerrow run` at once:

first     the engine has no column yet: each is decoded once, for all K
again     the same K DAGs once more: every column is there
no cache  with --no-cache, as without this cache: each run decodes what it reads

Engines are new for each turn, so that a peak is the arm's own, but their processes are warm: they
have run the same DAGs over a small file. Plain processes are K scripts of pyarrow or polars, which
read the file each. CPU and memory are those of commands, engine and workers.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dags
import lib
import tables
from engine_process import Peak, ResidentEngine, cost_group, resident_engine, run_at_once
from resident import in_engine, run_command

WARM_UP_ROWS = 10_000
SETTINGS = {"first": ["memfd"], "copy, first": ["copy"], "copy, no cache": ["copy", "--no-cache"]}
LIBRARIES = ("pyarrow", "polars")
COMPARED = ("first", "again")
KEYS = ("wall_s", "cpu_s", "peak_bytes")


class Work:
    """K DAGs over one file."""

    def __init__(self, name: str, count: int, overlapping: bool, source: Path) -> None:
        self.name = name
        self.source = source
        self.columns = [dags.columns_of(dag, overlapping) for dag in range(count)]

    @contextmanager
    def projects(self, source: Path) -> Iterator[list[Path]]:
        files = {
            f"{dag}/{name}": text
            for dag, columns in enumerate(self.columns)
            for name, text in dags.files(str(source), self.name, dag, columns).items()
        }
        with lib.project(files) as folder:
            yield [folder / str(dag) for dag in range(len(self.columns))]

    def plain(self, library: str) -> lib.Figures:
        commands = [
            [sys.executable, dags.__file__, library, self.name, str(self.source), str(dag), *names]
            for dag, names in enumerate(self.columns)
        ]
        rows: list[int] = []
        with cost_group() as group, Peak(group.memory) as peak:
            figures = run_at_once(
                commands, None, group.enter, peak, lambda text: rows.append(int(text))
            )
        return {**figures, "peak_bytes": peak.bytes, "rows": sum(rows)}

    def in_zerrow(self, backend: str, *options: str) -> Iterator[lib.Figures]:
        """In a new engine: the first runs, then the same again."""
        small = tables.lineitem(WARM_UP_ROWS)
        with (
            resident_engine() as engine,
            self.projects(self.source) as projects,
            self.projects(small) as warm_up,
        ):
            more = ("--backend", backend, *options, "-O", "json")
            runs_at_once(engine, warm_up, *more)
            for _ in range(2):
                engine.wait_until_idle()
                yield runs_at_once(engine, projects, *more)


def runs_at_once(engine: ResidentEngine, projects: list[Path], *options: str) -> lib.Figures:
    reports: list[dict[str, Any]] = []
    commands = [run_command(project, "resident", *options) for project in projects]
    enter = engine.group.memory.enter

    def run(peak: Peak) -> lib.Figures:
        return run_at_once(
            commands, engine.env, enter, peak, lambda text: reports.append(json.loads(text))
        )

    figures = in_engine(engine, run)
    models = [model for report in reports for model in report["models"]]
    sources = [model for model in models if model["kind"] == "source"]
    results = [model for model in models if model["kind"] != "source"]
    return {
        **figures,
        "sources_cpu_s": sum(model["cpu_s"] for model in sources),
        "results_cpu_s": sum(model["cpu_s"] for model in results),
        "decoded_bytes": sum(model["cache"]["miss_bytes"] for model in sources),
        "cached_bytes": sum(model["cache"]["hit_bytes"] for model in sources),
        "copied_bytes": sum(model["copied_bytes"] for model in models),
        "rows": sum(model["rows"] for model in results),
    }


def measure(work: Work, options: argparse.Namespace) -> dict[str, lib.Arm]:
    warmup = options.warmup
    arms: dict[str, lib.Arm] = {}

    def add(turn: int, name: str, figures: lib.Figures) -> None:
        arm = arms.setdefault(name, lib.Arm(name, dict))
        if turn >= warmup:
            arm.samples.append(figures)

    for turn in range(warmup + options.repeats):
        for name, (backend, *more) in SETTINGS.items():
            first, again = work.in_zerrow(backend, *more)
            add(turn, name, first)
            if name.endswith("first"):
                add(turn, name.replace("first", "again"), again)
        for library in options.library or LIBRARIES:
            add(turn, f"plain {library}", work.plain(library))
    return arms


def ratios(arms: dict[str, lib.Arm]) -> list[lib.Arm]:
    """Of each turn: how many times the time and memory of `first` and `again` others take."""
    found = []
    for name, arm in arms.items():
        for ours in COMPARED if name not in COMPARED else ():
            pairs = zip(arm.samples, arms[ours].samples, strict=True)
            samples = [{key: quotient(a[key], b[key]) for key in KEYS} for a, b in pairs]
            found.append(lib.Arm(f"{name} / {ours}", dict, samples))
    return found


def quotient(a: float | None, b: float | None) -> float | None:
    return None if a is None or not b else a / b


def report(title: str, arms: dict[str, lib.Arm], options: argparse.Namespace) -> dict[str, Any]:
    note = "new engines with warm processes, files in the page cache"
    lib.report(title, note, list(arms.values()), options)
    compared = ratios(arms)
    rows = [[arm.name, *(number(arm.median(key)) for key in KEYS)] for arm in compared]
    print(lib.text_table(["times as much", "wall", "cpu", "peak"], rows), flush=True)
    return {
        "arms": {arm.name: arm.samples for arm in arms.values()},
        "ratios": {arm.name: arm.samples for arm in compared},
    }


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def main() -> None:
    parser = lib.arguments(__doc__.splitlines()[0], repeats=3, warmup=0)
    parser.add_argument("--rows", type=int, default=8_000_000)
    parser.add_argument("--dags", type=int, action="append", help="K; default 1, 4 and 16")
    parser.add_argument("--columns", choices=("same", "overlapping"), action="append")
    parser.add_argument("--work", choices=("light", "heavy"), action="append")
    parser.add_argument("--library", choices=LIBRARIES, action="append", help="of plain processes")
    options = parser.parse_args()
    file, options.json = options.json, None
    source = tables.lineitem(options.rows)
    found = {}
    parts = itertools.product(
        options.work or ("light", "heavy"),
        options.columns or ("same", "overlapping"),
        options.dags or (1, 4, 16),
    )
    for name, columns, count in parts:
        work = Work(name, count, columns == "overlapping", source)
        title = f"{count} DAGs of {name} work, {columns} columns, {options.rows:,} rows"
        found[title] = report(title, measure(work, options), options)
    if file:
        Path(file).write_text(json.dumps({"machine": lib.machine(), "parts": found}, indent=1))


if __name__ == "__main__":
    main()
