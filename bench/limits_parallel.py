"""K DAGs at once under one memory limit: Zerrow's own eviction against the kernel's swapping.

Each DAG makes a table, adds a column twice, sums all columns, and goes over the last column again
with what it found. The K runs are commands at one engine. Arms:

adaptive      the engine keeps to its default share of the cgroup's limit by itself; no swap
memfd, kernel Zerrow's limit is off, and the kernel's of the cgroup is the same: the kernel swaps
copy, kernel  the same with `--backend copy`: the paper's baseline
Ray           `--ray PYTHON`, see on_ray.py: its object store has the limit, its processes are not
              counted, and it spills by itself

All arms but Ray's are in a cgroup with the limit, file cache included; engines are cold but for
their zygotes (one small run before). The swap file is the benchmark's own and on only while an arm
needs it; where it can't be had the benchmark says so and leaves these arms out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import lib
from engine_process import Peak, resident_engine
from kernel_swap import NoSwapError, swap_file
from limited_run import MIB, oom_kills, run_at_once

GB = 10**9
BUILT = lib.ROOT / "build" / "bench"
KERNEL = ("--memory-limit", "none")


def files(size: int) -> dict[str, str]:
    """A DAG over a table of `size` bytes."""
    models = f"""\
import sys
sys.path.insert(0, {str(lib.ROOT / "bench")!r})
import zerrow
import limit_functions as f

@zerrow.model()
def wide():
    return f.wide(1, {size})

@zerrow.model()
def one_more(wide=zerrow.Model("wide")):
    return f.with_column(wide)

@zerrow.model()
def two_more(one_more=zerrow.Model("one_more")):
    return f.with_column(one_more)

@zerrow.model()
def sums(two_more=zerrow.Model("two_more")):
    return f.sums(two_more)

@zerrow.model()
def scaled(two_more=zerrow.Model("two_more"), sums=zerrow.Model("sums")):
    return f.scaled(two_more, sums)
"""
    return {"zerrow_project.yml": "name: parallel\n", "models.py": models}


class Bench:
    """The projects of one size, and its arms."""

    def __init__(self, limit: int, count: int, size: int, folder: Path, small: Path) -> None:
        self.limit = limit
        self.count = count
        self._size = size
        self._project = folder
        self._small = small

    def zerrow(self) -> lib.Figures:
        return self._in_engine(())

    def memfd_and_kernel(self) -> lib.Figures:
        return self._with_swap("memfd")

    def copy_and_kernel(self) -> lib.Figures:
        return self._with_swap("copy")

    def _with_swap(self, backend: str) -> lib.Figures:
        # In each DAG that waits a table and two columns, and in two that don't also its copies.
        with swap_file(self.count * self._size * 7 // 4 + 4 * self._size, BUILT):
            return self._in_engine(("--backend", backend), *KERNEL)

    def _in_engine(self, how: tuple[str, ...], *start: str) -> lib.Figures:
        with resident_engine(start, limit_bytes=self.limit) as engine:
            run_at_once(engine, [self._small], how)
            before, begin = engine.cpu_s(), time.perf_counter()
            with Peak(engine.group.memory, [engine.pid]) as peak:
                outcomes = run_at_once(engine, [self._project] * self.count, *[how] * self.count)
            wall = time.perf_counter() - begin
            cpu_s = engine.cpu_s() - before
        for outcome in outcomes:
            if not outcome.ok:
                print(f"# failed: {outcome.model}: {outcome.error}", file=sys.stderr)
        return {
            "wall_s": wall,
            "cpu_s": cpu_s + sum(one.figures["cpu_s"] or 0 for one in outcomes),
            "peak_bytes": peak.bytes,
            "evicted_bytes": sum(one.figures["evicted_bytes"] or 0 for one in outcomes),
            "failed": sum(not one.ok for one in outcomes),
        }


class Ray:
    """A cluster whose object store has the limit, of a driver that runs the DAGs when asked."""

    def __init__(self, python: str, limit: int, count: int, size: int) -> None:
        self._driver = subprocess.Popen(
            [python, __file__, "--ray-driver", str(limit), str(count), str(size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": str(lib.ROOT / "bench")},
        )

    def run(self) -> lib.Figures:
        assert self._driver.stdin
        assert self._driver.stdout
        self._driver.stdin.write("\n")
        self._driver.stdin.flush()
        line = self._driver.stdout.readline()
        if not line:
            raise RuntimeError(f"Ray's driver ended with {self._driver.wait()}")
        return dict(json.loads(line))

    def stop(self) -> None:
        assert self._driver.stdin
        self._driver.stdin.close()
        self._driver.wait()


def ray_driver(limit: int, count: int, size: int) -> None:
    import limit_functions as f
    import ray

    BUILT.mkdir(parents=True, exist_ok=True)
    ray.init(
        num_cpus=os.cpu_count(),
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=limit,
        object_spilling_directory=str(BUILT / "ray-spill"),
    )
    wide, with_column, sums, scaled = map(ray.remote, (f.wide, f.with_column, f.sums, f.scaled))
    ray.get(sums.remote(wide.remote(1, 1000)))
    for _ in sys.stdin:
        begin = time.perf_counter()
        made = []
        for _ in range(count):
            table = with_column.remote(with_column.remote(wide.remote(1, size)))
            made.append(scaled.remote(table, sums.remote(table)))
            del table
        failed = 0
        for one in made:
            try:
                ray.get(one)
            except Exception:  # a task's or the store's, of many kinds
                failed += 1
        print(json.dumps({"wall_s": time.perf_counter() - begin, "failed": failed}), flush=True)
        del made


def measure(limit: int, count: int, options: argparse.Namespace) -> None:
    size = int(limit * options.share) // (64 * MIB) * 64 * MIB or limit // 8
    with (
        contextlib.ExitStack() as stack,
        lib.project(files(size)) as folder,
        lib.project(files(MIB)) as small,
    ):
        bench = Bench(limit, count, size, folder, small)
        arms = [lib.Arm("adaptive", bench.zerrow)]
        arms += kernel_arms(bench)
        if options.ray:
            ray = Ray(options.ray, limit, count, size)
            stack.callback(ray.stop)
            arms.append(lib.Arm("Ray", ray.run))
        kills = oom_kills()
        lib.interleave(arms, options.repeats, options.warmup)
    for arm in arms[1:]:
        for sample, ours in zip(arm.samples, arms[0].samples, strict=True):
            sample["times_ours"] = (sample["wall_s"] or 0) / (ours["wall_s"] or 1)
    title = f"{count} DAGs at once, limit {limit / GB:g} GB, tables of {size / MIB:.0f} MiB"
    note = f"engines with one small run before; OOM kills meanwhile: {oom_kills() - kills}"
    chosen = argparse.Namespace(**vars(options))
    if options.json and options.json != "-":
        file = Path(options.json)
        chosen.json = str(file.with_stem(f"{file.stem}-{limit // GB}-{count}"))
    lib.report(title, note, arms, chosen)
    print(flush=True)


def kernel_arms(bench: Bench) -> Iterator[lib.Arm]:
    try:
        with swap_file(16 * MIB, BUILT):
            pass
    except NoSwapError as why:
        print(f"# the kernel can't swap here, these arms are left out: {why}", file=sys.stderr)
        return
    runs: dict[str, Callable[[], lib.Figures]] = {
        "memfd, kernel": bench.memfd_and_kernel,
        "copy, kernel": bench.copy_and_kernel,
    }
    for name, run in runs.items():
        yield lib.Arm(name, run)


def parse() -> argparse.Namespace:
    parser = lib.arguments(__doc__.splitlines()[0], repeats=3, warmup=0)
    parser.add_argument("--dags", type=int, action="append", help="how many (1, 2, 4, 8, 16)")
    parser.add_argument("--limit-gb", type=float, action="append", help="memory limits (1, 10)")
    parser.add_argument("--share", type=float, default=0.14, help="of the limit: a DAG's table")
    parser.add_argument("--ray", metavar="PYTHON", help="an interpreter that has Ray")
    return parser.parse_args()


def main() -> None:
    if sys.argv[1:2] == ["--ray-driver"]:
        ray_driver(*map(int, sys.argv[2:5]))
        return
    options = parse()
    for gigabytes in options.limit_gb or (1, 10):
        for count in options.dags or (1, 2, 4, 8, 16):
            measure(int(gigabytes * GB), count, options)


if __name__ == "__main__":
    main()
