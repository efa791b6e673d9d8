"""The libraries' own tests inside workers: nothing may fail there that doesn't fail outside.

Usage: python tests/peers/run.py [--backend memfd]. Run by `make test-peers`; ends with 1 if a test
fails inside and not outside, isn't run in one of the two, or if the shim served nothing.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

PROJECT = Path(__file__).resolve().parent / "project"
LIBRARIES = ("numpy", "pandas", "pyarrow")
OUTSIDE = """
import sys
sys.path.insert(0, ".")
import pyarrow.parquet as pq
from models import suites
pq.write_table(suites.run_suite(sys.argv[1]), f"outside/{sys.argv[1]}.parquet")
"""


def run_outside(folder: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    started = []
    for library in LIBRARIES:
        with (folder / f"outside/{library}.log").open("w") as log:
            command = [sys.executable, "-c", OUTSIDE, library]
            started.append(
                subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
            )
    statuses = [process.wait() for process in started]
    if any(statuses):
        sys.exit(f"the tests can't be run outside: see the logs in {folder}/outside")


def run_inside(folder: Path, backend: str) -> None:
    command = [sys.executable, "-m", "zerrow._entry", "run", "-p", ".", "--backend", backend]
    command += ["--output", "inside"]
    with (folder / "inside/run.log").open("w") as log:
        subprocess.run(command, cwd=folder, stdout=log, stderr=log, check=True)


def outcomes(path: Path) -> dict[str, str]:
    table = pq.read_table(path)
    return dict(zip(table["test"].to_pylist(), table["outcome"].to_pylist(), strict=True))


def compare(folder: Path, library: str, backend: str) -> list[str]:
    """What is wrong with the library inside."""
    written = folder / f"inside/{library}_suite.parquet"
    inside = outcomes(written)
    outside = outcomes(folder / f"outside/{library}.parquet")
    served = pq.read_table(written)["served"][0].as_py()
    counts = {o: list(inside.values()).count(o) for o in ("passed", "failed", "skipped")}
    print(f"{library}: {counts} inside, {served} allocations served by the shim", flush=True)
    problems = [
        f"{test}: {inside.get(test, 'not run')} inside, {outside.get(test, 'not run')} outside"
        for test in sorted(inside.keys() | outside.keys())
        if inside.get(test) != outside.get(test)
        and not (outside.get(test) == "failed" and test in inside)
    ]
    if counts["passed"] < 100:
        problems.append(f"{library}: only {counts['passed']} tests passed inside")
    if backend == "memfd" and served <= 0:
        problems.append(f"{library}: the shim served nothing")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="memfd")
    backend = parser.parse_args().backend
    folder = Path(tempfile.mkdtemp(prefix="zerrow-peers-"))
    shutil.copytree(PROJECT, folder, dirs_exist_ok=True)
    for name in ("inside", "outside"):
        (folder / name).mkdir()
    run_outside(folder)
    run_inside(folder, backend)
    problems = [p for library in LIBRARIES for p in compare(folder, library, backend)]
    print("\n".join(problems))
    if problems:
        print(f"{len(problems)} differ; the logs are in {folder}")
        return 1
    shutil.rmtree(folder)
    print("nothing fails inside workers that doesn't fail outside")
    return 0


if __name__ == "__main__":
    sys.exit(main())
