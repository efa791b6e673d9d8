"""This checkout's command against that of another one: whole runs with an engine of their own.

    make bench-builds ARGS="--other PATH"      PATH: a checkout in which `make` has run

The flights example and three small models, cold: a new engine, zygote and memory each time; files
are in the page cache. CPU and memory are those of all processes. `ratio` compares with the other
build in the same turn.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lib
import startup
from engine_process import Peak, cost_group, run_at_once

FLIGHTS = lib.ROOT / "examples" / "flights"


def run(checkout: Path, project: Path) -> lib.Figures:
    # Not every build has --engine; without a resident engine each takes its own.
    command = [str(checkout / ".venv" / "bin" / "zerrow"), "run", "-p", str(project)]
    with cost_group() as group, Peak(group.memory) as peak:
        figures = run_at_once([command], None, group.enter, peak)
        if (used := group.cpu_s()) is not None:
            figures["cpu_s"] = used
    return {**figures, "peak_bytes": peak.bytes}


def compare(title: str, project: Path, options: argparse.Namespace) -> None:
    def arm(name: str, checkout: Path) -> lib.Arm:
        work: Callable[[], lib.Figures] = lambda: run(checkout, project)  # noqa: E731
        return lib.Arm(name, work)

    arms = [arm("this", lib.ROOT), arm("other", options.other)]
    lib.interleave(arms, options.repeats, options.warmup)
    this, other = arms
    for mine, theirs in zip(this.samples, other.samples, strict=True):
        for figure in ("wall_s", "cpu_s", "peak_bytes"):
            mine[f"{figure.rsplit('_', 1)[0]}_ratio"] = (mine[figure] or 0) / (theirs[figure] or 1)
    lib.report(f"{title}, this build and another", "cold own engines", arms, options)


def main() -> None:
    parser = lib.arguments(__doc__.splitlines()[0], repeats=15)
    parser.add_argument("--other", type=Path, required=True, help="a checkout that is built")
    options = parser.parse_args()
    options.other = options.other.resolve()
    subprocess.run([sys.executable, FLIGHTS / "prepare.py"], check=True, stdout=sys.stderr)
    compare("flights", FLIGHTS, options)
    with lib.project(
        {"zerrow_project.yml": startup.PROJECT, "models.py": startup.MODELS}
    ) as project:
        compare("three small models", project, options)


if __name__ == "__main__":
    main()
