"""Functions of five libraries, each making 100 MB and more: what of it is shared, what it costs.

Every function runs as a model of a pipeline and in a fresh plain process (which gets its inputs by
mapping an Arrow IPC file, and leaves its output in its heap). Shared: the bytes that are published
by reference, of all of the output's. Duplicate: new bytes that equal an input's buffer. CPU and
page faults are of the function's process alone, without imports: the plain process is forked from
one that has imported everything, as the worker is. Every run goes through the functions in turns
and reports the last one. --turns 1 is cold: all memory is new. In the second, memory that earlier
functions freed is used again, as far as it fits; after some turns the pool has all sizes.
Targets: >= 98 % shared; <= 2 % duplicate for pyarrow, DataFusion and polars; CPU at most 1.1 times
the plain process's.
"""

from __future__ import annotations

import os
import resource
import tempfile
from pathlib import Path

import lib
import library_functions
import rounds
import workloads

PROJECT = """\
name: libraries
parameters:
  size: {type: int, required: true}
  log: {type: str, required: true}
"""

MODELS = f"""\
import sys
sys.path.insert(0, {str(lib.ROOT / "bench")!r})
import duckdb, pandas as pd, polars as pl, pyarrow as pa, zerrow
import library_functions, workloads
from libraries import measured


@zerrow.model()
def table(size: int = zerrow.Parameter("size")):
    return workloads.mixed(size)
"""

# The functions of one library follow each other, so that they don't compete for the two cores.
MODEL = """

@zerrow.model()
def {name}_{turn}(
    {before}table: {kind} = zerrow.Model("table"), log: str = zerrow.Parameter("log")
):
    return measured(log, "{name}_{turn}", library_functions.{name}, table)
"""


def measured(log: str, name: str, function, table):
    """Calls the function; CPU and page faults of doing so go into the log."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    result = function(table)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    faults = after.ru_minflt - before.ru_minflt
    with open(log, "a", encoding="ascii") as file:
        file.write(f"{name} {cpu} {faults}\n")
    return result


def read_log(path: Path) -> dict[str, tuple[float, float]]:
    lines = (line.split() for line in path.read_text().splitlines())
    return {name: (float(cpu), float(faults)) for name, cpu, faults in lines}


def zerrow_run(size: int, backend: str, turns: int) -> dict[str, lib.Figures]:
    """The figures of each function's last turn."""
    text, before = MODELS, ""
    for turn in range(turns):
        for name, kind in library_functions.KINDS.items():
            text += MODEL.format(name=name, kind=kind, before=before, turn=turn)
            before = f'before: pa.Table = zerrow.Model("{name}_{turn}"), '
    with lib.project({"zerrow_project.yml": PROJECT, "models.py": text}) as project:
        log = project / "log"
        report = lib.run_zerrow(
            project,
            "--account",
            "--jobs",
            "1",
            "--backend",
            backend,
            "--param",
            f"size={size}",
            "--param",
            f"log={log}",
        )
        costs = read_log(log)
    figures: dict[str, lib.Figures] = {}
    for model in report["models"]:
        name, _, turn = model["name"].rpartition("_")
        if name not in library_functions.KINDS or turn != str(turns - 1):
            continue
        cpu, faults = costs[model["name"]]
        total = model["bytes"] or 1
        figures[name] = {
            "output_bytes": model["bytes"],
            "shared_percent": 100 * (1 - model["copied_bytes"] / total),
            "duplicate_percent": 100 * (model["duplicate_bytes"] or 0) / total,
            "reshared_percent": 100 * model["reshared_bytes"] / total,
            "cpu_s": cpu,
            "faults": faults,
            "whole_cpu_s": model["cpu_s"],
            "encode_s": model["timings"]["encode_s"],
        }
    return figures


def plain_run(size: int) -> dict[str, lib.Figures]:
    figures: dict[str, lib.Figures] = {}
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as folder,
        lib.memory_group() as group,
    ):
        path, log = os.path.join(folder, "table"), Path(folder) / "log"
        rounds.in_fork(lambda: rounds.write_ipc(workloads.mixed(size), path), group)
        for name in library_functions.KINDS:

            def work(name: str = name) -> None:
                convert = library_functions.converter(name)
                table = convert(rounds.map_ipc(path))
                measured(str(log), name, getattr(library_functions, name), table)

            whole = rounds.in_fork(work, group)
            figures[name] = {"whole_cpu_s": whole}
        for name, (cpu, faults) in read_log(log).items():
            figures[name] |= {"cpu_s": cpu, "faults": faults}
    return figures


def main() -> None:
    parser = lib.arguments(__doc__.splitlines()[0], repeats=3, warmup=0)
    parser.add_argument("--size", type=int, default=400_000_000, help="bytes of the input")
    parser.add_argument("--backend", default="memfd", help="'' for the plain processes only")
    parser.add_argument("--turns", type=int, default=4, help="the last one is reported; 1: cold")
    options = parser.parse_args()
    library_functions.import_everything()
    names = list(library_functions.KINDS)
    ours = {name: lib.Arm(f"{name}, zerrow", dict) for name in names}
    plain = {name: lib.Arm(f"{name}, plain", dict) for name in names}
    for _ in range(options.repeats):
        for name, figures in plain_run(options.size).items():
            plain[name].samples.append(figures)
        if options.backend:
            for name, figures in zerrow_run(options.size, options.backend, options.turns).items():
                ours[name].samples.append(figures)
    arms = [arm for name in names for arm in (ours[name], plain[name])]
    lib.report(
        f"five libraries on {options.size:,} bytes",
        f"backend {options.backend}, "
        + (f"warm: turn {options.turns} of a run" if options.turns > 1 else "cold: new memory"),
        arms,
        options,
    )
    if options.backend:
        ratios = [(ours[n].median("cpu_s") or 0) / (plain[n].median("cpu_s") or 1) for n in names]
        print(
            f"# CPU of the functions against plain: mean of ratios {sum(ratios) / len(ratios):.2f}"
        )


if __name__ == "__main__":
    main()
