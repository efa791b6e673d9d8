"""What eviction costs on small random DAGs, against the cheapest schedule that there is.

Each workload is a DAG of a few tasks under a limit below what it takes without one, run one task at
a time. Ours is what the engine's Core decides, by `zerrow simulate`; the optimum is found by
Dijkstra's algorithm over all orders of tasks and all choices to write a table out, to read it back,
to drop it and to make it again. A schedule costs the seconds of its tasks, those that are run again
among them, and of its reading and writing. The Core, other than the optimum, doesn't know what
comes, only what tasks are expected to need.
"""

from __future__ import annotations

import heapq
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import lib

# MB a second: as `zerrow simulate` has them unless it is told otherwise.
WRITE, READ = 500, 1000
HEADING = (
    "pipeline_id,arrival_seconds,priority,operator_id,parents,"
    "baseline_cpu_seconds,cpu_scaling,memory_gb,storage_read_gb,output_gb\n"
)
POLICIES = ("adaptive", "swap", "rollback")

# Where a table is.
NOWHERE, MEMORY, BOTH, DISK = range(4)


@dataclass(frozen=True)
class Task:
    """Memory is its table and what it has besides while it runs, in MB."""

    inputs: tuple[int, ...]
    run_s: float
    table: int
    memory: int


State = tuple[int, tuple[int, ...]]  # which tasks have been run, and where their tables are


class Search:
    def __init__(self, tasks: list[Task], limit: int) -> None:
        self._tasks = tasks
        self._limit = limit
        self._descendants = [0] * len(tasks)
        for index in reversed(range(len(tasks))):
            for later, task in enumerate(tasks):
                if index in task.inputs:
                    self._descendants[index] |= 1 << later | self._descendants[later]

    def cheapest(self) -> float:
        """The least seconds that running all tasks takes."""
        start: State = (0, (NOWHERE,) * len(self._tasks))
        best = {start: 0.0}
        queue = [(0.0, start)]
        while queue:
            cost, state = heapq.heappop(queue)
            if cost > best[state]:
                continue
            if state[0] == (1 << len(self._tasks)) - 1:
                return cost
            for more, after in self._steps(state):
                if cost + more < best.get(after, float("inf")):
                    best[after] = cost + more
                    heapq.heappush(queue, (cost + more, after))
        raise AssertionError("each task alone fits, so there is a schedule")

    def _steps(self, state: State) -> Iterator[tuple[float, State]]:
        done, places = state
        used = sum(
            task.table
            for task, place in zip(self._tasks, places, strict=True)
            if place in (MEMORY, BOTH)
        )
        for index, task in enumerate(self._tasks):
            place = places[index]
            if place == NOWHERE:
                there = all(places[i] in (MEMORY, BOTH) for i in task.inputs)
                if there and used + task.memory <= self._limit:
                    yield task.run_s, self._after(done | 1 << index, places, index, MEMORY)
            elif place == MEMORY:
                yield task.table / WRITE, self._after(done, places, index, DISK)
                yield 0, self._after(done, places, index, NOWHERE)
            elif place == BOTH:
                yield 0, self._after(done, places, index, DISK)
            elif used + task.table <= self._limit:
                yield task.table / READ, self._after(done, places, index, BOTH)

    def _after(self, done: int, places: tuple[int, ...], index: int, place: int) -> State:
        moved = (*places[:index], place, *places[index + 1 :])
        # What nothing can need any more is freed.
        return done, tuple(
            NOWHERE if not self._descendants[i] & ~done else where for i, where in enumerate(moved)
        )


def draw(chance: random.Random, count: int) -> list[Task]:
    tasks = []
    for index in range(count):
        inputs = sorted(chance.sample(range(index), min(index, chance.choice((0, 1, 1, 2, 2)))))
        table = chance.randrange(500, 4000)
        memory = table + chance.choice((0, 0, chance.randrange(2000)))
        tasks.append(Task(tuple(inputs), round(2 ** chance.uniform(-2, 4), 2), table, memory))
    return tasks


def trace(tasks: list[Task]) -> str:
    lines = []
    for index, task in enumerate(tasks):
        begin = "p,0,BATCH_PIPELINE" if index == 0 else "p,,"
        parents = ";".join(f"t{i}" for i in task.inputs)
        memory, table = task.memory / 1000, task.table / 1000
        lines.append(f"{begin},t{index},{parents},{task.run_s},const,{memory},0,{table}\n")
    return HEADING + "".join(lines)


def simulate(file: Path, *options: str) -> dict[str, float]:
    words = [*lib.zerrow_command(), "simulate", str(file), "--slots", "1", "-O", "json", *options]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if not done.stdout:
        raise RuntimeError(done.stderr)
    return dict(json.loads(done.stdout))


def least_limit(tasks: list[Task]) -> int:
    """Below it a task with its inputs doesn't fit."""
    return max(task.memory + sum(tasks[i].table for i in task.inputs) for task in tasks)


def measure(seed: int, count: int, folder: Path) -> dict[str, float] | None:
    """What each policy costs, as a multiple of the optimum; None: no limit makes a difference."""
    chance = random.Random(seed)
    tasks = draw(chance, count)
    file = folder / "trace.csv"
    file.write_text(trace(tasks))
    least, most = least_limit(tasks), int(simulate(file)["peak_bytes"] / 1e6)
    limit = least + int(chance.uniform(0, 0.8) * (most - least))
    alone_s = sum(task.run_s for task in tasks)
    optimum = Search(tasks, limit).cheapest()
    if limit >= most:
        return None
    costs = {"optimum": optimum, "without a limit": alone_s / optimum}
    for policy in POLICIES:
        told = simulate(file, "--memory-limit", f"{limit}MB", "--policy", policy)
        moved_s = told["written_bytes"] / 1e6 / WRITE + told["read_bytes"] / 1e6 / READ
        cost = alone_s + told["remade_s"] + moved_s
        costs[policy] = float("inf") if told["failed"] else cost / optimum
    return costs


def main() -> None:
    parser = lib.arguments(__doc__.splitlines()[0], repeats=1, warmup=0)
    parser.add_argument("--dags", type=int, default=200, help="how many")
    parser.add_argument("--tasks", type=int, default=6, help="of each")
    parser.add_argument("--seed", type=int, default=1, help="of the first")
    options = parser.parse_args()
    found: list[dict[str, float]] = []
    seed = options.seed
    with tempfile.TemporaryDirectory(prefix="zerrow-bench-") as folder:
        while len(found) < options.dags:
            costs = measure(seed, options.tasks, Path(folder))
            seed += 1
            if costs:
                found.append(costs)
            if sys.stderr.isatty():
                print(f"\r{len(found)} of {options.dags}", end="", file=sys.stderr)
    rows = []
    for name in ("without a limit", *POLICIES):
        ratios = sorted(costs[name] for costs in found)
        row = [statistics.median(ratios), ratios[int(0.95 * len(ratios))], ratios[-1]]
        failed = sum(ratio == float("inf") for ratio in ratios)
        rows.append([name, *(f"{ratio:.2f}" for ratio in row), str(failed)])
    print(f"# {len(found)} DAGs of {options.tasks} tasks, seeds {options.seed} to {seed - 1}")
    print("# cost as a multiple of the optimum's")
    print(lib.text_table(["", "median", "95 %", "most", "failed"], rows))


if __name__ == "__main__":
    main()
