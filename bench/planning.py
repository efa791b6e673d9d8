"""`zerrow explain`: how long to plan a project, cold and at a resident engine.

`small` has 20 models, 5 of them SQL over the Parquet file that it reads; `large` has 1,000 Python
models. Cold is an engine of the command's own; a resident engine has planned the project once
before. Targets: small in 0.3 s at a resident engine and in 1.5 s cold, large in 1 s.

`bare python` starts an interpreter that imports pyarrow and nothing else, as a measure of the
machine's speed at that moment.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import lib
import pyarrow as pa
import pyarrow.parquet as pq
from engine_process import resident_engine

PROJECT = """\
name: planned
sources:
  trips: trips.parquet
"""

HEADER = """\
from typing import Annotated

import pyarrow as pa
import zerrow
"""

MODEL = """

@zerrow.model()
def {name}(table: Annotated[pa.Table, zerrow.Model("{of}")]) -> pa.Table:
    return table
"""


def python_models(count: int) -> str:
    """Chains of ten over the source."""
    text = HEADER
    for number in range(count):
        of = f"made_{number - 1}" if number % 10 else "trips"
        text += MODEL.format(name=f"made_{number}", of=of)
    return text


def small() -> dict[str, str]:
    query = "SELECT zone, sum(miles) AS miles, count(*) AS n FROM {} WHERE miles > {} GROUP BY zone"
    queries = {f"by_zone_{number}.sql": query.format("trips", number) for number in range(5)}
    return {"zerrow_project.yml": PROJECT, "models.py": python_models(15), **queries}


def large() -> dict[str, str]:
    return {"zerrow_project.yml": PROJECT, "models.py": python_models(1000)}


def timed(command: list[str], env: Mapping[str, str] | None = None) -> lib.Figures:
    begin = time.perf_counter()
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    return {"wall_s": time.perf_counter() - begin}


def explain(project: Path, engine: str, env: Mapping[str, str] | None = None) -> lib.Figures:
    return timed(
        [*lib.zerrow_command(), "explain", "-p", str(project), "--engine", engine], env=env
    )


def main() -> None:
    options = lib.arguments(__doc__.splitlines()[0], repeats=7, warmup=1).parse_args()
    rows = 100_000
    trips = pa.table({"zone": ["north", "south"] * (rows // 2), "miles": [1.5, 7.0] * (rows // 2)})
    with (
        lib.project(small()) as small_one,
        lib.project(large()) as large_one,
        resident_engine() as engine,
    ):
        for project in (small_one, large_one):
            pq.write_table(trips, project / "trips.parquet")
        bare = [sys.executable, "-c", "import pyarrow"]
        arms = [
            lib.Arm("small, resident", lambda: explain(small_one, "resident", engine.env)),
            lib.Arm("small, cold", lambda: explain(small_one, "own")),
            lib.Arm("large, resident", lambda: explain(large_one, "resident", engine.env)),
            lib.Arm("large, cold", lambda: explain(large_one, "own")),
            lib.Arm("bare python", lambda: timed(bare)),
        ]
        lib.interleave(arms, options.repeats, options.warmup)
    lib.report("zerrow explain", "files are in the page cache", arms, options)


if __name__ == "__main__":
    main()
