"""The cache of decoded columns: what a hit costs, and what the first read of a file does.

Parts (`--only`, may be repeated; all if not given):
hits    a source all of whose columns are cached, by its size and by its number of entries
again   lineitem twice: the second run finds what the first has decoded
first   lineitem decoded by a source's worker, and by pyarrow.parquet.read_table in a plain process

All runs select only the source and keep nothing, in a resident engine of the benchmark's own.
`asked_to_ready_s` is the time from the source's beginning to its message, `source_cpu_s` that of
its worker, 0 where it has none. `engine_cpu_s` is the engine process's own for the whole run, all
its threads; `all_cpu_s` that of all its processes, among which those that read the project.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lib
import tables
import zerrow
from engine_process import Peak, ResidentEngine, cost_group, resident_engine, run_at_once
from resident import environment

MIB = 2**20
SIZES = (MIB, 64 * MIB, 1024 * MIB, 4096 * MIB)
# Columns and blocks of rows: each column of a block is an entry.
ENTRIES = ((1, 1), (10, 1), (100, 1), (1000, 1), (4000, 1), (100, 10), (100, 40))
BLOCK_ROWS = 1 << 17  # the fewest of a block
MODELS = """\
import os, zerrow

def held():
    with open("/proc/self/maps") as maps:
        return [{"descriptors": len(os.listdir("/proc/self/fd")), "maps": len(maps.readlines())}]

@zerrow.model()
def reader(table=zerrow.Model("source")):
    return held()

@zerrow.model()
def nobody():
    return held()
"""


class Runs:
    """Runs of one engine over one file."""

    def __init__(self, engine: ResidentEngine, project: Path, jobs: int | None = None) -> None:
        self._engine = engine
        self._project = project
        self._connection = zerrow.connect()
        self._jobs = jobs

    def source(self) -> lib.Figures:
        """One run of the source alone."""
        engine_s, all_s = process_cpu_s(self._engine.pid), self._engine.cpu_s()
        result = self.run(["source"], [])
        time.sleep(0.02)  # what the engine does after it has answered
        model = result.models["source"]
        return {
            "asked_to_ready_s": model.wall_s,
            "source_cpu_s": model.cpu_s,
            "engine_cpu_s": process_cpu_s(self._engine.pid) - engine_s,
            "all_cpu_s": self._engine.cpu_s() - all_s,
            "hits": model.cache.hits,
            "misses": model.cache.misses,
            "table_bytes": model.bytes,
        }

    def run(self, select: list[str], keep: list[str]) -> zerrow.RunResult:
        return self._connection.run(
            self._project, select=select, keep=keep, jobs=self._jobs, on_line=lambda *_: None
        )

    def held(self, model: str) -> dict[str, int]:
        """Descriptors and mappings of a worker, as it runs the model."""
        result: dict[str, int] = self.run([model], [model]).table(model).to_pylist()[0]
        return result


def process_cpu_s(pid: int) -> float:
    """Of all its threads, ended ones' too: clock_getcpuclockid(3), which Python doesn't have."""
    return time.clock_gettime((~pid << 3) | 2)


def difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


@contextmanager
def runs_over(source: Path, jobs: int | None = None) -> Iterator[tuple[ResidentEngine, Runs]]:
    """A new engine, whose processes are warm."""
    files = {"zerrow_project.yml": f"name: hits\nsources: {{source: {source}}}\n"}
    small = {**files, "zerrow_project.yml": f"name: hits\nsources: {{source: {small_file()}}}\n"}
    more = {"models.py": MODELS}
    with (
        lib.project(files | more) as project,
        lib.project(small | more) as warm_up,
        resident_engine(cache_size=6 * 1024 * MIB) as engine,
        environment(engine),
    ):
        Runs(engine, warm_up).run(["source", "nobody"], [])
        engine.wait_until_idle()
        yield engine, Runs(engine, project, jobs)


def small_file() -> Path:
    return tables.equal_numbers(1, 1000, "float64")


def descriptors(engine: ResidentEngine) -> int:
    return len(list(Path(f"/proc/{engine.pid}/fd").iterdir()))


# --- the parts ------------------------------------------------------------------------------


def hits(options: argparse.Namespace) -> None:
    by_size = [
        (f"{size // MIB:,} MiB, 100 entries", hit_file(100, 1, size // 800, "float64"))
        for size in SIZES
        if size <= options.largest
    ]
    by_entries = [
        (f"{columns:,} columns x {blocks} blocks", hit_file(columns, blocks, rows, "int8"))
        for columns, blocks in ENTRIES
        if columns * blocks <= options.entries
        for rows in [BLOCK_ROWS if blocks > 1 else 1000]
    ]
    arms = [hit_arm(name, file, options) for name, file in by_size + by_entries]
    note = "warm; only the source is selected; the engine's CPU is of the whole run"
    lib.report("a source whose entries are all cached", note, arms, options)
    one, *others = arms[len(by_size) :]
    for arm in others:
        entries, more = (
            arm.values("hits")[0],
            arm.median("engine_cpu_s") - one.median("engine_cpu_s"),
        )
        print(f"{arm.name}: {more / (entries - 1) * 1e6:.1f} us of the engine's CPU an entry")


def hit_file(columns: int, blocks: int, rows: int, type_: str) -> Path:
    return tables.equal_numbers(columns, rows * blocks, type_, rows)


def hit_arm(name: str, file: Path, options: argparse.Namespace) -> lib.Arm:
    """Each arm has an engine of its own, so that descriptors are those of its entries."""
    arm = lib.Arm(name, dict)
    with runs_over(file) as (engine, runs):
        before = descriptors(engine)
        runs.source()
        engine.wait_until_idle()
        kept = descriptors(engine) - before
        reader, nobody = runs.held("reader"), runs.held("nobody")
        held = {
            "engine_descriptors": kept,
            "reader_descriptors": reader["descriptors"] - nobody["descriptors"],
            "reader_maps": reader["maps"] - nobody["maps"],
        }
        for _ in range(options.hits):
            arm.samples.append({**runs.source(), **held})
    return arm


def again(options: argparse.Namespace) -> None:
    arms = [lib.Arm("first", dict), lib.Arm("second", dict)]
    for _ in range(options.warmup + options.repeats):
        with runs_over(tables.lineitem(options.rows)) as (_, runs):
            for arm in arms:
                arm.samples.append(runs.source())
    for arm in arms:
        del arm.samples[: options.warmup]
    lib.report(f"lineitem, {options.rows:,} rows, twice", "a new engine each turn", arms, options)
    decoded, found = (
        (arm.median("source_cpu_s") or 0) + (arm.median("engine_cpu_s") or 0) for arm in arms
    )
    print(f"CPU of source and engine: the second is {found / decoded:.2%} of the first", flush=True)


def first(options: argparse.Namespace) -> None:
    """CPU of the source is that of a first run less that of a second, which does all but decode."""
    source, threads = tables.lineitem(options.rows), options.threads
    arms = [
        lib.Arm("source", lambda: source_alone(source, threads)),
        lib.Arm("read_table", lambda: read_table_alone(source, threads)),
    ]
    lib.interleave(arms, options.repeats, options.warmup)
    note = "memory: above that of the idle engine, or of a process that has imported pyarrow"
    lib.report(f"lineitem, {options.rows:,} rows, {threads} threads", note, arms, options)
    for figure in ("user_s", "system_s", "peak_bytes"):
        source_s, plain = (arm.median(figure) for arm in arms)
        if source_s is not None and plain:
            print(f"{figure}: {source_s / plain:.2f} x of read_table's", flush=True)


def source_alone(source: Path, threads: int) -> lib.Figures:
    with runs_over(source, threads) as (engine, runs):
        idle = memory_now(engine)
        engine.wait_until_idle()
        times = [engine.group.user_and_system_s()]
        with Peak(engine.group.memory, [engine.pid]) as peak:
            decoded = runs.source()
        times.append(engine.group.user_and_system_s())
        found = runs.source()
        times.append(engine.group.user_and_system_s())
    user, system = map(saved, zip(*times, strict=True)) if all(times) else (None, None)
    return {
        "user_s": user,
        "system_s": system,
        "all_cpu_s": decoded["all_cpu_s"] - found["all_cpu_s"],
        "source_cpu_s": decoded["source_cpu_s"],
        "wall_s": decoded["asked_to_ready_s"],
        "peak_bytes": difference(peak.bytes, idle),
    }


def saved(before_between_after: Sequence[float]) -> float:
    """By how much the first of two runs took longer than the second."""
    before, between, after = before_between_after
    return (between - before) - (after - between)


def memory_now(engine: ResidentEngine) -> int | None:
    with Peak(engine.group.memory, [engine.pid]) as now:
        time.sleep(0.2)
    return now.bytes


PLAIN = """\
import resource, sys, time
import pyarrow as pa, pyarrow.parquet as pq
pa.set_cpu_count(int(sys.argv[1])), pa.set_io_thread_count(int(sys.argv[1]))
pq.read_table(sys.argv[2])
before, begin = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
table = pq.read_table(sys.argv[3]) if len(sys.argv) > 3 else None
wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF)
print(wall, after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime)
"""


def read_table_alone(source: Path, threads: int) -> lib.Figures:
    def run(*arguments: str) -> tuple[list[float], int | None]:
        printed: list[str] = []
        command = [sys.executable, "-c", PLAIN, str(threads), str(small_file()), *arguments]
        with cost_group() as group, Peak(group.memory) as peak:
            run_at_once([command], None, group.enter, peak, printed.append)
        return [float(word) for word in printed[0].split()], peak.bytes

    _, imported = run()
    (wall, user, system), peak = run(str(source))
    return {
        "user_s": user,
        "system_s": system,
        "all_cpu_s": user + system,
        "source_cpu_s": None,
        "wall_s": wall,
        "peak_bytes": difference(peak, imported),
    }


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "hits": hits,
    "again": again,
    "first": first,
}


def main() -> None:
    parser = lib.arguments(__doc__.splitlines()[0], repeats=3)
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--rows", type=int, default=8_000_000, help="of lineitem")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--hits", type=int, default=20, help="runs of each source of `hits`")
    parser.add_argument("--largest", type=int, default=4096 * MIB, help="bytes of a source")
    parser.add_argument("--entries", type=int, default=4000, help="the most of a source")
    options = parser.parse_args()
    for name in options.only or PARTS:
        PARTS[name](options)


if __name__ == "__main__":
    main()
