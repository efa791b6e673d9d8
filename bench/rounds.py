"""A pipeline that hands the same kind of table over again and again, and its peers without zerrow.

Round i is `produce_i` (makes a table) and `consume_i` (sums one column). A producer depends on the
round before, so that rounds follow each other and memory that one frees is there for the next:
round 0 is cold, the later ones are warm. The functions note the time (CLOCK_MONOTONIC, the same
for all processes) in a log: `produced` at the producer's return, `have` when the consumer's
function is entered with its table, `summed` when it has read the column.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import lib
import pyarrow as pa
import workloads

BENCH = Path(__file__).resolve().parent

PROJECT = """\
name: rounds
parameters:
  log: {type: str, required: true}
  size: {type: int, required: true}
"""

COMMON = f"""\
import sys
sys.path.insert(0, {str(BENCH)!r})
import pyarrow as pa, zerrow
from rounds import note
import workloads
"""

ROUND = """\

@zerrow.model()
def produce_{i}({after}size: int = zerrow.Parameter("size"), log: str = zerrow.Parameter("log")):
    note(log, "begin", {i})
    table = workloads.{table}
    note(log, "produced", {i})
    return table


@zerrow.model()
def consume_{i}(table: pa.Table = zerrow.Model("produce_{i}"), log: str = zerrow.Parameter("log")):
    note(log, "have", {i})
    total = workloads.{total}
    note(log, "summed", {i})
    return pa.table({{"total": [total]}})
"""

Log = dict[tuple[str, int], float]


def note(log: str, event: str, index: int) -> None:
    at = time.monotonic()  # before what the first use of a file costs in a new process
    with open(log, "a", encoding="ascii") as file:
        file.write(f"{event} {index} {at}\n")


def read_log(path: Path) -> Log:
    lines = (line.split() for line in path.read_text().splitlines())
    return {(event, int(index)): float(at) for event, index, at in lines}


def zerrow_rounds(
    backend: str,
    size: int,
    rounds: int,
    *,
    table: str = "mixed(size)",
    total: str = 'sum_of(table, "value")',
    account: bool = False,
) -> list[lib.Figures]:
    """One run of `rounds` rounds with calls of workloads.py; the figures of each.

    `account` adds the engine's and the workers' own timings of the handover's parts.
    """
    after = [f'before: pa.Table = zerrow.Model("consume_{i - 1}"), ' for i in range(rounds)]
    after[0] = ""
    text = "".join(
        ROUND.format(i=i, after=after[i], table=table, total=total) for i in range(rounds)
    )
    with lib.project({"zerrow_project.yml": PROJECT, "models.py": COMMON + text}) as project:
        log = project / "log"
        options = [
            "--backend",
            backend,
            "--param",
            f"size={size}",
            "--param",
            f"log={log}",
        ]
        report = lib.run_zerrow(project, *options, *(["--account"] if account else []))
        models = {model["name"]: model for model in report["models"]}
        figures = [_figures(read_log(log), i) for i in range(rounds)]
        for i, figure in enumerate(figures):
            produced, consumed = models[f"produce_{i}"], models[f"consume_{i}"]
            figure["cpu_s"] = produced["cpu_s"] + consumed["cpu_s"]
            figure["consumer_cpu_s"] = consumed["cpu_s"]
            figure["copied_bytes"] = produced["copied_bytes"]
            figure["peak_bytes"] = report["figures"]["peak_bytes"]
            if account:
                figure["open_s"] = consumed["timings"]["open_s"]
                for part in ("encode_s", "exit_s", "exit_cpu_s", "trim_cpu_s", "freeze_cpu_s"):
                    figure[part] = produced["timings"][part]
        return figures


def plain_rounds(
    write: Callable[[pa.Table, str], None],
    read: Callable[[str], pa.Table],
    size: int,
    rounds: int,
) -> list[lib.Figures]:
    """The same with two forked processes a round that pass a file in /dev/shm by its name."""
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as folder,
        lib.memory_group() as group,
    ):
        path, log = os.path.join(folder, "table"), os.path.join(folder, "log")

        def produce(i: int) -> None:
            note(log, "begin", i)
            table = workloads.mixed(size)
            note(log, "produced", i)
            write(table, path)

        def consume(i: int) -> None:
            note(log, "opened", i)
            table = read(path)
            note(log, "have", i)
            workloads.sum_of(table, "value")
            note(log, "summed", i)

        costs = []
        for i in range(rounds):
            made = in_fork(lambda i=i: produce(i), group)
            used = in_fork(lambda i=i: consume(i), group)
            costs.append((made, used))
            os.unlink(path)
        figures = [_figures(read_log(Path(log)), i) for i in range(rounds)]
    for figure, (made, used) in zip(figures, costs, strict=True):
        figure["cpu_s"] = made + used
        figure["consumer_cpu_s"] = used
        figure["copied_bytes"] = None
        figure["peak_bytes"] = group.peak_bytes
    return figures


def _figures(log: Log, i: int) -> lib.Figures:
    return {
        "whole_s": log["summed", i] - log["begin", i],
        "make_s": log["produced", i] - log["begin", i],
        "handover_s": log["have", i] - log["produced", i],
        "sum_s": log["summed", i] - log["have", i],
        "open_and_sum_s": log["summed", i] - log["opened", i] if ("opened", i) in log else None,
    }


def in_fork(work: Callable[[], None], group: lib.MemoryGroup) -> float:
    """Runs `work` in a forked process; its CPU seconds."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            group.enter()
            work()
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    _, status, usage = os.wait4(child, 0)
    if status != 0:
        raise RuntimeError(f"a forked process ended with wait status {status}")
    return usage.ru_utime + usage.ru_stime


def write_ipc(table: pa.Table, path: str) -> None:
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def map_ipc(path: str) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(path)).read_all()


def load_ipc(path: str) -> pa.Table:
    with pa.OSFile(path) as file:
        return pa.ipc.open_file(file).read_all()
