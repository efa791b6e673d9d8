"""What eviction costs by swap, by rollback, and adaptively, for functions cheap and slow.

In each workload tables that together are larger than the limit must wait for a figure of all of
them, before each is read again. A slow function sleeps, as one that waits for a service does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import lib
import limit_dags
from limit_dags import Dag, two_pass
from limited_run import MIB, environment, run_own

POLICIES = ("swap", "rollback", "adaptive")
TABLES = 24


def derived(size: int) -> Dag:
    """Cheap tables of one whose function is slow."""
    dag = Dag()
    root = dag.made("root", size, 3.0)
    leaves = [
        dag.add(f"leaf_{i}", [root], f"f.shifted({root}, {i % 3 * 0.02})") for i in range(TABLES)
    ]
    return limit_dags.gated(dag, leaves)


def of_two_sizes(size: int) -> Dag:
    """Small tables of slow functions, large ones of cheap functions."""
    dag = Dag()
    tables = [
        dag.made(f"table_{i}", size // 4 if i % 2 else size * 3 // 2, 0.5 if i % 2 else 0)
        for i in range(TABLES)
    ]
    return limit_dags.gated(dag, tables)


WORKLOADS: dict[str, Callable[[int], Dag]] = {
    "cheap": lambda size: two_pass(size, [0] * TABLES),
    "0.1 s": lambda size: two_pass(size, [0.1] * TABLES),
    "0.3 s": lambda size: two_pass(size, [0.3] * TABLES),
    "1 s": lambda size: two_pass(size, [1] * TABLES),
    "cheap, chains of 3": lambda size: two_pass(size, [0] * TABLES, 2),
    "0.3 s, chains of 3": lambda size: two_pass(size, [0.3] * (TABLES // 2), 2),
    "derived of a slow one": derived,
    "mixed: cheap and 1 s": lambda size: two_pass(size, [0, 0, 1, 1] * (TABLES // 4)),
    "mixed: sizes too": of_two_sizes,
}


def measure(name: str, options: argparse.Namespace, env: dict[str, str]) -> list[str]:
    """The workload's line of the table."""
    size = options.table_mib * MIB
    limit = int(options.share * TABLES * size)
    with lib.project(WORKLOADS[name](size).files()) as folder:

        def run(policy: str) -> lib.Figures:
            how = ("--memory-limit", str(limit), "--eviction", policy)
            outcome = run_own(folder, *how, env=env)
            if not outcome.ok:
                print(f"# {name}, {policy}: {outcome.model}: {outcome.error}", file=sys.stderr)
            return outcome.figures if outcome.ok else {}

        arms = {policy: lib.Arm(policy, lambda policy=policy: run(policy)) for policy in POLICIES}  # type: ignore[misc]
        lib.interleave(list(arms.values()), options.repeats, options.warmup)
        unlimited = run_own(folder, env=env).figures["wall_s"]
    walls = {policy: arm.median("wall_s") for policy, arm in arms.items()}
    known = [wall for policy, wall in walls.items() if wall is not None and policy != "adaptive"]
    adaptive = walls["adaptive"]
    ratio = adaptive / min(known) if adaptive is not None and known else None
    cells = [name, lib.human("_s", unlimited)]
    for policy in POLICIES:
        cells.append(lib.human("_s", walls[policy]))
        cells.append(lib.human("_bytes", arms[policy].median("evicted_bytes")))
    cells.append("-" if ratio is None else f"{ratio:.2f}")
    print("  ".join(cells), file=sys.stderr, flush=True)
    return cells


def main() -> None:
    parser = lib.arguments(__doc__.splitlines()[0], repeats=3, warmup=0)
    parser.add_argument("--workload", action="append", choices=WORKLOADS, help="this one")
    parser.add_argument("--table-mib", type=int, default=96, help="of each table")
    parser.add_argument("--share", type=float, default=0.35, help="of the tables: the limit")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="zerrow-bench-") as state:
        env = environment(Path(state))
        rows = [measure(name, options, env) for name in options.workload or WORKLOADS]
    print("# eviction's policies; medians of wall time; last: adaptive / the better of the others")
    print("# " + " | ".join(f"{key} {value}" for key, value in lib.machine().items()))
    header = ["functions", "no limit"]
    header += [word for policy in POLICIES for word in (policy, "evicted")]
    print(lib.text_table([*header, "ratio"], rows))


if __name__ == "__main__":
    main()
