"""`zerrow run` of three small models over tiny data, from a cold start: how long to the first line
of output, how long in all. Target: 0.2 s and 1.5 s.

`bare python` starts an interpreter that imports pyarrow and nothing else, as a measure of the
machine's speed at that moment. Cold means a new engine and zygote; the files are in the page cache.
"""

from __future__ import annotations

import subprocess
import sys
import time

import lib

PROJECT = """\
name: tiny
models:
  - name: sorted
    operator: sort
    input: doubled
    sort: {by: [twice desc]}
"""

MODELS = """\
import pyarrow as pa, pyarrow.compute as pc, zerrow

@zerrow.model()
def numbers():
    return pa.table({"n": list(range(1000))})

@zerrow.model()
def doubled(numbers: pa.Table = zerrow.Model("numbers")):
    return numbers.append_column("twice", pc.multiply(numbers["n"], 2))
"""


def timed(command: list[str]) -> lib.Figures:
    """Wall time to the first line of either stream, and to the end."""
    begin = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        first_line = process.stdout.readline()
        first = time.perf_counter() - begin
        rest = process.stdout.read()
    if process.wait() != 0:
        raise RuntimeError(first_line + rest)
    return {"first_line_s": first, "wall_s": time.perf_counter() - begin}


def main() -> None:
    parser = lib.arguments(__doc__.splitlines()[0], repeats=7, warmup=1)
    parser.add_argument("--backend", default="auto")
    options = parser.parse_args()
    with lib.project({"zerrow_project.yml": PROJECT, "models.py": MODELS}) as project:
        run = [
            *lib.zerrow_command(),
            "run",
            "-p",
            str(project),
            "--backend",
            options.backend,
        ]
        bare = [sys.executable, "-c", "import pyarrow; print('ready')"]
        arms = [
            lib.Arm("zerrow run", lambda: timed(run)),
            lib.Arm("zerrow version", lambda: timed([*lib.zerrow_command(), "version"])),
            lib.Arm("bare python", lambda: timed(bare)),
        ]
        lib.interleave(arms, options.repeats, options.warmup)
    lib.report("cold start of a three-model pipeline", "cold engine", arms, options)


if __name__ == "__main__":
    main()
