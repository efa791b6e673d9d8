"""The resident engine: what a warm one spares against engines of one run each, and what it costs.

Parts (`--only`, may be repeated; all if not given):
tiny     command to exit of three small models: warm resident against cold own engine
flights  the flights example several times: at once and in a row in one engine, and in engines apart
idle     CPU with idle clients; memory when warm, after rest_after_s, after zygotes_end_after_s
tpch     chains that compute over lineitem, in warm engines: memfd against copy, with its cache and
         without; plain processes with Arrow IPC; Ray, if `--ray` names a Python that has it
wide     chains that hand over 100 columns: the same but for Ray
many     a binary tree of small models

Resident arms are warm: their engine has done the same run `--warmup` times before. Own ones are
cold: a new engine and zygote, new memory; files are in the page cache. CPU is that of client,
engine and workers. The engines are the benchmark's own, in temporary runtime folders.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import chains
import lib
import on_ray
import sql_engines
import startup
import workloads
import zerrow
from engine_process import (
    Peak,
    ResidentEngine,
    cost_group,
    process_tree,
    pss_bytes,
    resident_engine,
    run_at_once,
    running_s,
)

BUILT = lib.ROOT / "build" / "bench"
FLIGHTS = lib.ROOT / "examples" / "flights"
MEMORY = "memory: anonymous and shared of a cgroup, else (where none can be made) PSS"


def run_command(project: Path, engine: str, *options: str) -> list[str]:
    return [*lib.zerrow_command(), "run", "-p", str(project), "--engine", engine, *options]


def own(project: Path, count: int = 1) -> lib.Figures:
    """`count` runs at once, each with an engine of its own."""
    commands = [run_command(project, "own")] * count
    with cost_group() as group, Peak(group.memory) as peak:
        figures = run_at_once(commands, None, group.enter, peak)
        if (used := group.cpu_s()) is not None:
            figures["cpu_s"] = used
    return {**figures, "peak_bytes": peak.bytes}


def resident(engine: ResidentEngine, project: Path) -> lib.Figures:
    """One run; the memory is the engine's."""
    command = run_command(project, "resident")
    return in_engine(engine, lambda _: run_at_once([command], engine.env))


def in_engine(engine: ResidentEngine, runs: Callable[[Peak], lib.Figures]) -> lib.Figures:
    """The figures of all runs, with the engine's CPU and the peak of memory meanwhile."""
    with Peak(engine.group.memory, [engine.pid]) as peak:
        figures = with_engine_cpu(engine, lambda: runs(peak))
    return {**figures, "peak_bytes": peak.bytes}


def with_engine_cpu(engine: ResidentEngine, run: Callable[[], lib.Figures]) -> lib.Figures:
    """The figures of what clients did, with the engine's CPU meanwhile added to theirs."""
    before = engine.cpu_s()
    figures = run()
    return {**figures, "cpu_s": (figures["cpu_s"] or 0) + engine.cpu_s() - before}


# --- the parts ------------------------------------------------------------------------------


def tiny(options: argparse.Namespace) -> None:
    files = {"zerrow_project.yml": startup.PROJECT, "models.py": startup.MODELS}
    with lib.project(files) as project, resident_engine() as engine:
        arms = [
            lib.Arm("resident, warm", lambda: resident(engine, project)),
            lib.Arm("own, cold", lambda: own(project)),
        ]
        lib.interleave(arms, options.repeats, options.warmup)
    lib.report("three small models, command to exit", "warm and cold", arms, options)


def flights(options: argparse.Namespace) -> None:
    subprocess.run([sys.executable, FLIGHTS / "prepare.py"], check=True, stdout=sys.stderr)
    count = options.runs
    command = run_command(FLIGHTS, "resident")

    with resident_engine() as engine:
        enter = engine.group.memory.enter

        def at_once(peak: Peak) -> lib.Figures:
            return run_at_once([command] * count, engine.env, enter, peak)

        def in_a_row(peak: Peak) -> lib.Figures:
            each = [run_at_once([command], engine.env, enter, peak) for _ in range(count)]
            return {name: sum(figures[name] or 0 for figures in each) for name in each[0]}

        arms = [
            lib.Arm(f"resident, {count} at once", lambda: in_engine(engine, at_once)),
            lib.Arm(f"resident, {count} in a row", lambda: in_engine(engine, in_a_row)),
            lib.Arm(f"{count} own at once", lambda: own(FLIGHTS, count)),
        ]
        lib.interleave(arms, options.repeats, options.warmup)
    note = f"resident: warm, its peak includes memory kept from runs before; own: cold; {MEMORY}"
    lib.report(f"flights, {count} runs", note, arms, options)


def idle(options: argparse.Namespace) -> None:
    files = {"zerrow_project.yml": startup.PROJECT, "models.py": startup.MODELS}
    arms = [lib.Arm("no client", dict), lib.Arm(f"{options.clients} idle clients", dict)]
    stages = [lib.Arm(name, dict) for name in ("warm", "rested", "zygotes ended")]
    with lib.project(files) as project:
        for _ in range(options.repeats):
            for arm, figures in zip(arms, idle_cpu(project, options), strict=True):
                arm.samples.append(figures)
            for stage, figures in zip(stages, idle_memory(project, options), strict=True):
                stage.samples.append(figures)
    note = "each client holds a table of a run that has ended"
    lib.report(f"an idle engine for {options.seconds:g} s", note, arms, options)
    note = "after one run of three small models; all the engine's processes, no client"
    lib.report("memory of an idle engine", f"{note}; {MEMORY}", stages, options)


def idle_cpu(project: Path, options: argparse.Namespace) -> Iterator[lib.Figures]:
    """Without clients, then with them. A client is connected for as long as it holds a table."""
    with resident_engine() as engine, environment(engine):
        zerrow.connect().run(project, on_line=lambda *_: None)
        yield idle_figures(engine, options.seconds)
        held = []
        for _ in range(options.clients):
            result = zerrow.connect().run(project, keep=["sorted"], on_line=lambda *_: None)
            held.append(result.table("sorted"))
        yield idle_figures(engine, options.seconds)
        held.clear()


def idle_figures(engine: ResidentEngine, seconds: float) -> lib.Figures:
    engine.wait_until_idle()
    time.sleep(1)  # what runs leave to do is done
    pids = process_tree(engine.pid)
    sockets, before = open_sockets(engine.pid), running_s(pids)
    time.sleep(seconds)
    busy_s = running_s(pids) - before
    return {"sockets": sockets, "busy_s": busy_s, "percent_of_a_core": 100 * busy_s / seconds}


def open_sockets(pid: int) -> int:
    links = (os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir())
    return sum(link.startswith("socket:") for link in links)


def idle_memory(project: Path, options: argparse.Namespace) -> Iterator[lib.Figures]:
    settings = {"rest_after_s": options.rest, "zygotes_end_after_s": options.zygotes_end}
    with resident_engine(**settings) as engine:
        run_at_once([run_command(project, "resident")], engine.env)
        yield memory_now(engine)
        time.sleep((options.rest + options.zygotes_end) / 2)
        yield memory_now(engine)
        engine.wait_until_idle(without_zygotes=True)
        yield memory_now(engine)


def memory_now(engine: ResidentEngine) -> lib.Figures:
    pids = process_tree(engine.pid)
    with Peak(engine.group.memory, [engine.pid]) as now:
        time.sleep(0.2)
    pss = pss_bytes(pids)
    return {"processes": len(pids), "pss_bytes": pss, "memory_bytes": now.bytes}


@contextlib.contextmanager
def environment(engine: ResidentEngine) -> Iterator[None]:
    """This process as a client of the engine."""
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = engine.env["XDG_RUNTIME_DIR"]
    try:
        yield
    finally:
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before


def tpch(options: argparse.Namespace) -> None:
    data = BUILT / f"tpch-{options.scale_factor:g}"
    sql_engines.prepare(data, options.scale_factor)
    lineitem = data / "lineitem.parquet"
    count = options.chains or 4
    title = f"TPC-H chains, scale factor {options.scale_factor:g}"
    with contextlib.ExitStack() as stack:
        others = []
        if options.ray:
            ray = stack.enter_context(on_ray.ray_cluster(options.ray, lineitem, count))
            others.append(lib.Arm("Ray, warm", ray.run))
        run_chains(title, chains.tpch(lineitem), count, options, others)


def wide(options: argparse.Namespace) -> None:
    work = chains.wide(BUILT, options.size)
    run_chains(f"wide chains, {options.size:,} bytes", work, options.chains or 8, options, [])


# Of a run: its backend and other options.
CHAIN_ARMS = {
    "resident, memfd": ("memfd",),
    "resident, copy": ("copy",),
    "resident, copy, no cache": ("copy", "--no-cache"),
}


def run_chains(
    title: str,
    work: chains.Chains,
    count: int,
    options: argparse.Namespace,
    others: Sequence[lib.Arm],
) -> None:
    with lib.project(work.files(count)) as project, contextlib.ExitStack() as stack:

        def arm(name: str, how: Sequence[str]) -> lib.Arm:
            engine = stack.enter_context(resident_engine())
            return lib.Arm(name, lambda: chain_figures(engine, project, *how))

        arms = [arm(name, how) for name, how in CHAIN_ARMS.items()]
        arms.append(lib.Arm("plain, IPC", lambda: work.in_plain_processes(count)))
        arms += others
        lib.interleave(arms, options.repeats, options.warmup)
    note = "each backend in a warm engine; models_cpu_s: of the models, sources included"
    lib.report(f"{title}, K={count}", note, arms, options)


def chain_figures(
    engine: ResidentEngine, project: Path, backend: str, *options: str
) -> lib.Figures:
    """CPU of all, of the models, and of all models of each step; the engine's peak memory."""
    models: list[dict[str, Any]] = []

    def run() -> lib.Figures:
        report = lib.run_zerrow(
            project, "--engine", "resident", "--backend", backend, *options, env=engine.env
        )
        models.extend(report["models"])
        return {name: report["figures"][name] for name in ("wall_s", "cpu_s")}

    with Peak(engine.group.memory, [engine.pid]) as peak:
        figures = with_engine_cpu(engine, run)
    figures["peak_bytes"] = peak.bytes
    figures["models_cpu_s"] = sum(model["cpu_s"] for model in models)
    for model in models:
        step = re.sub(r"_\d+$", "", model["name"]) + "_cpu_s"
        figures[step] = (figures.get(step) or 0) + model["cpu_s"]
    return figures


def many(options: argparse.Namespace) -> None:
    count = options.models

    def per_model(figures: lib.Figures) -> lib.Figures:
        return {**figures, "cpu_per_model_s": (figures["cpu_s"] or 0) / count}

    files = {"zerrow_project.yml": "name: many\n", "models.py": binary_tree(count)}
    with lib.project(files) as project, resident_engine() as engine:
        arms = [
            lib.Arm("resident, warm", lambda: per_model(resident(engine, project))),
            lib.Arm("own, cold", lambda: per_model(own(project))),
        ]
        lib.interleave(arms, options.repeats, options.warmup)
    lib.report(f"{count:,} small models, a binary tree in one file", "warm and cold", arms, options)


def binary_tree(count: int) -> str:
    """Model i reads models 2i and 2i + 1 where there are such, and says how many are below it."""
    lines = ["import pyarrow as pa, zerrow"]
    for i in range(1, count + 1):
        below = [child for child in (2 * i, 2 * i + 1) if child <= count]
        inputs = ", ".join(f'a{child}: pa.Table = zerrow.Model("model_{child}")' for child in below)
        total = " + ".join(["1", *(f'a{child}["n"][0].as_py()' for child in below)])
        lines += [
            "@zerrow.model()",
            f"def model_{i}({inputs}):",
            f'    return pa.table({{"n": [{total}]}})',
        ]
    return "\n".join(lines) + "\n"


# --- which and how often --------------------------------------------------------------------

PARTS = {"tiny": tiny, "flights": flights, "idle": idle, "tpch": tpch, "wide": wide, "many": many}
REPEATS = {"tiny": 15, "flights": 5, "idle": 3, "tpch": 5, "wide": 3, "many": 3}


def parse() -> argparse.Namespace:
    parser = lib.arguments(__doc__.splitlines()[0])
    repeats = ", ".join(f"{part} {count}" for part, count in REPEATS.items())
    parser.set_defaults(repeats=None)
    parser.add_argument(
        "--only", action="append", choices=PARTS, help=f"this part; default repeats: {repeats}"
    )
    parser.add_argument("--runs", type=int, default=8, help="flights: how many runs")
    parser.add_argument("--clients", type=int, default=100, help="idle: how many clients")
    parser.add_argument("--seconds", type=float, default=5, help="idle: how long to watch")
    parser.add_argument("--rest", type=int, default=2, help="idle: rest_after_s")
    parser.add_argument("--zygotes-end", type=int, default=8, help="idle: zygotes_end_after_s")
    parser.add_argument("--scale-factor", type=float, default=1.0, help="tpch: of the tables")
    parser.add_argument("--ray", metavar="PYTHON", help="tpch: an interpreter that has Ray")
    parser.add_argument("--size", type=int, default=workloads.GIB, help="wide: bytes of the table")
    parser.add_argument("--chains", type=int, help="tpch, wide: how many (4, 8)")
    parser.add_argument("--models", type=int, default=1000, help="many: how many models")
    return parser.parse_args()


def main() -> None:
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # engines end, too
    for part in options.only or PARTS:
        chosen = argparse.Namespace(**vars(options))
        chosen.repeats = options.repeats or REPEATS[part]
        if options.json and options.json != "-":
            file = Path(options.json)
            chosen.json = str(file.with_stem(f"{file.stem}-{part}"))
        PARTS[part](chosen)


if __name__ == "__main__":
    main()
