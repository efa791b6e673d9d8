"""A healthy run beside hostile functions, and beside as many harmless ones, in one resident engine.

The hostile ones are those of tests/engine/test_hostile.py: lying and half messages, floods,
descriptors by the hundred. A client runs them over and over while the flights example is run.
`ratio` compares with harmless neighbours in the same turn (wanted: at most 1.1).
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lib
from engine_process import ResidentEngine, resident_engine, run_at_once

FLIGHTS = lib.ROOT / "examples" / "flights"
HARMLESS = """
@zerrow.model()
def {name}(t=zerrow.Model("t")):
    time.sleep(0.05)
    return t
"""


def projects() -> dict[str, dict[str, str]]:
    """The files of both neighbours."""
    sys.path.insert(0, str(lib.ROOT / "tests" / "engine"))
    import test_hostile as hostile

    header = "import os, time, pyarrow as pa, zerrow\n"
    source = "@zerrow.model()\ndef t(): return pa.table({'x': list(range(100_000))})\n"
    deeds = "".join(
        hostile.MODEL.format(name=name, statement=deed) for name, (deed, _) in hostile.DEEDS.items()
    )
    harmless = "".join(HARMLESS.format(name=name) for name in hostile.DEEDS)
    return {
        "hostile": {
            "zerrow_project.yml": "name: hostile\n",
            "peer.py": "\n".join(line[4:] for line in hostile.PEER.splitlines()),
            "models.py": header + source + deeds,
        },
        "harmless": {
            "zerrow_project.yml": "name: harmless\n",
            "models.py": header + source + harmless,
        },
    }


@contextmanager
def neighbour(engine: ResidentEngine, project: Path) -> Iterator[None]:
    """Runs the project again and again beside the block."""
    command = [*lib.zerrow_command(), "run", "-p", str(project), "--engine", "resident"]
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            subprocess.run(command, env=engine.env, capture_output=True, check=False)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def main() -> None:
    parser = lib.arguments(__doc__.splitlines()[0], repeats=7)
    parser.add_argument("--runs", type=int, default=3, help="healthy runs, one after the other")
    options = parser.parse_args()
    subprocess.run([sys.executable, FLIGHTS / "prepare.py"], check=True, stdout=sys.stderr)
    healthy = [*lib.zerrow_command(), "run", "-p", str(FLIGHTS), "--engine", "resident"]
    files = projects()
    with (
        lib.project(files["hostile"]) as hostile,
        lib.project(files["harmless"]) as harmless,
        resident_engine() as engine,
    ):

        def beside(project: Path) -> lib.Figures:
            with neighbour(engine, project):
                each = [run_at_once([healthy], engine.env) for _ in range(options.runs)]
            return {"wall_s": sum(figures["wall_s"] or 0 for figures in each)}

        arms = [
            lib.Arm("beside hostile", lambda: beside(hostile)),
            lib.Arm("beside harmless", lambda: beside(harmless)),
        ]
        lib.interleave(arms, options.repeats, options.warmup)
    for mine, theirs in zip(arms[0].samples, arms[1].samples, strict=True):
        mine["ratio"] = (mine["wall_s"] or 0) / (theirs["wall_s"] or 1)
    lib.report(f"{options.runs} healthy runs in a row", "warm resident engine", arms, options)


if __name__ == "__main__":
    main()
