"""A producer makes a table and hands it over; the consumer sums one of its four columns.

Arms: zerrow with each backend; the same with two plain forked processes and an Arrow IPC file in
/dev/shm (mapped, or read into the heap); and, as the bound of what a consumer can reach, a process
that maps a file which is there already. `whole_s` is from the producer's first line to the
consumer's sum, `handover_s` from the producer's return to the consumer's having the table,
`sum_s` the consumer's own work. Round 0 of each run is cold and reported by --cold, else the later
rounds (warm: memory that an earlier round freed can be used again).
"""

from __future__ import annotations

import os
import tempfile

import lib
import pyarrow as pa
import rounds
import workloads


class ByName:
    """The consumer alone: the file has been there before."""

    def __init__(self, size: int) -> None:
        self._folder = tempfile.TemporaryDirectory(dir="/dev/shm")
        self._path = os.path.join(self._folder.name, "table")
        rounds.write_ipc(workloads.mixed(size), self._path)

    def run(self) -> lib.Figures:
        with lib.memory_group() as group:
            log = self._path + ".log"

            def consume() -> None:
                rounds.note(log, "opened", 0)
                table = rounds.map_ipc(self._path)
                rounds.note(log, "have", 0)
                workloads.sum_of(table, "value")
                rounds.note(log, "summed", 0)

            cpu = rounds.in_fork(consume, group)
            times = rounds.read_log(rounds.Path(log))
            os.unlink(log)
        return {
            "whole_s": None,
            "handover_s": None,
            "sum_s": times["summed", 0] - times["have", 0],
            "open_and_sum_s": times["summed", 0] - times["opened", 0],
            "cpu_s": None,
            "consumer_cpu_s": cpu,
        }


def turn(run: list[lib.Figures], cold: bool) -> lib.Figures:
    """One run's figures: round 0, or the last round's."""
    return run[0] if cold else run[-1]


def main() -> None:
    parser = lib.arguments(__doc__.splitlines()[0], repeats=3, warmup=0)
    parser.add_argument("--size", type=int, default=workloads.GIB, help="bytes of the table")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of a run")
    parser.add_argument("--cold", action="store_true", help="report each run's first round")
    parser.add_argument("--backends", default="memfd,copy,full-copy", help="'' for the peers only")
    options = parser.parse_args()
    count = 1 if options.cold else options.rounds

    def plain(read) -> lib.Figures:
        run = rounds.plain_rounds(rounds.write_ipc, read, options.size, count)
        return turn(run, options.cold)

    def zerrow(backend: str) -> lib.Figures:
        return turn(rounds.zerrow_rounds(backend, options.size, count), options.cold)

    pa.array([0]).to_numpy()  # everything imported and initialized before the first fork
    arms = [
        lib.Arm("mapped by name", ByName(options.size).run),
        *(
            lib.Arm(f"zerrow {name}", lambda name=name: zerrow(name))
            for name in filter(None, options.backends.split(","))
        ),
        lib.Arm("plain ipc, mapped", lambda: plain(rounds.map_ipc)),
        lib.Arm("plain ipc, read", lambda: plain(rounds.load_ipc)),
    ]
    lib.interleave(arms, options.repeats, options.warmup)
    state = "cold (first round)" if options.cold else f"warm (round {count} of {count})"
    lib.report(f"produce and consume {options.size:,} bytes", state, arms, options)


if __name__ == "__main__":
    main()
