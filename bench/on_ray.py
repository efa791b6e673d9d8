"""Chains of `chains.py` as tasks of Ray, for the interpreter of an environment that has it.

Ray isn't among what Zerrow installs: `python -m venv ray; ray/bin/pip install ray pyarrow numpy`,
then `--ray ray/bin/python`. The cluster is local, warm and the benchmark's own.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import chains
import lib
from engine_process import Group, Peak, cost_group

BENCH = Path(__file__).resolve().parent
READY = "ready"


class RayCluster:
    """A running driver that does `count` chains over lineitem whenever it is asked."""

    def __init__(self, python: str, lineitem: Path, count: int, group: Group) -> None:
        self._group = group
        self._driver = subprocess.Popen(
            [python, __file__, str(lineitem), str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(BENCH)},  # of Ray's workers, too
            preexec_fn=group.enter,  # noqa: PLW1509
        )

    def answer(self) -> str:
        """The driver's next line."""
        assert self._driver.stdout
        line = self._driver.stdout.readline()
        if not line:
            raise RuntimeError(f"Ray's driver ended with {self._driver.wait()}")
        return line.strip()

    def run(self) -> lib.Figures:
        """All chains once."""
        assert self._driver.stdin
        before = self._group.cpu_s() or 0
        with Peak(self._group.memory, [self._driver.pid]) as peak:
            self._driver.stdin.write("\n")
            self._driver.stdin.flush()
            wall_s = float(self.answer())
        return {
            "wall_s": wall_s,
            "cpu_s": (self._group.cpu_s() or 0) - before,
            "peak_bytes": peak.bytes,
        }

    def stop(self) -> None:
        """Ends the driver, which ends its cluster."""
        assert self._driver.stdin
        self._driver.stdin.close()
        self._driver.wait()


@contextlib.contextmanager
def ray_cluster(python: str, lineitem: Path, count: int) -> Iterator[RayCluster]:
    with cost_group() as group:
        cluster = RayCluster(python, lineitem, count, group)
        try:
            if cluster.answer() != READY:
                raise RuntimeError("Ray's driver doesn't answer as it should")
            yield cluster
        finally:
            cluster.stop()


def main() -> None:
    import pyarrow.parquet as pq
    import ray

    work, count = chains.tpch(Path(sys.argv[1])), int(sys.argv[2])

    def read() -> object:
        return pq.read_table(work.source, columns=work.columns)

    ray.init(num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False)
    read_source = ray.remote(read)
    steps = [ray.remote(step) for step in work.steps]
    print(READY, flush=True)
    for _ in sys.stdin:
        begin = time.perf_counter()
        source = read_source.remote()
        made = [source] * count
        for step in steps:
            made = [step.remote(table) for table in made]
        ray.get(made)
        print(time.perf_counter() - begin, flush=True)
        del source, made


if __name__ == "__main__":
    main()
