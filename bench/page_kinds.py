"""What memory under the allocator shim costs, by the kind of its pages, against a plain process.

Functions of five libraries run in fresh forked processes: a plain one (no shim, every library's
own allocator), and workers whose large memory comes from chunks of four kinds: memfds (4 KiB
pages) and files of a tmpfs mounted huge=advise (2 MiB pages), each fresh or recycled, that is
used before by another worker. CPU and page faults are of the function alone; `whole_cpu_s` is of
the process from its fork to its end. Recycled chunks are primed by unrecorded runs.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import lib
import library_functions
import rounds
import workloads

SHIM = lib.ROOT / "python" / "zerrow" / "_bin" / "libzerrow_shim.so"
PLAIN = "plain"
KINDS = ("memfd", "memfd recycled", "huge", "huge recycled")


class Server:
    """A process that has imported every library and forks one process for each request."""

    def __init__(self, shim: Path | None):
        environment = dict(os.environ)
        if shim is not None:
            environment |= {
                "LD_PRELOAD": str(shim),
                "ARROW_DEFAULT_MEMORY_POOL": "system",
                "MIMALLOC_ARENA_RESERVE": "32MiB",
                "_RJEM_MALLOC_CONF": "retain:false",
            }
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("page_kinds_server.py"))],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, kind: str, function: str, path: str) -> lib.Figures:
        assert self.process.stdin
        assert self.process.stdout
        request = {"kind": kind, "function": function, "path": path}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        figures: lib.Figures = json.loads(self.process.stdout.readline())
        return figures

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def ratios(arms: dict[tuple[str, str], lib.Arm], kind: str, figure: str) -> list[float]:
    return [
        (arms[name, kind].median(figure) or 0) / (arms[name, PLAIN].median(figure) or 1)
        for name in library_functions.KINDS
    ]


def main() -> None:
    parser = lib.arguments(__doc__.splitlines()[0], repeats=5, warmup=2)
    parser.add_argument("--size", type=int, default=400_000_000, help="bytes of the input")
    parser.add_argument("--shim", type=Path, default=SHIM, help="libzerrow_shim.so")
    options = parser.parse_args()
    plain, shimmed = Server(None), Server(options.shim)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder, lib.memory_group() as group:
        path = os.path.join(folder, "table")
        rounds.in_fork(lambda: rounds.write_ipc(workloads.mixed(options.size), path), group)
        arms = {
            (name, kind): lib.Arm(
                f"{name}, {kind}",
                lambda name=name, kind=kind: (plain if kind == PLAIN else shimmed).run(
                    kind, name, path
                ),
            )
            for name in library_functions.KINDS
            for kind in (PLAIN, *KINDS)
        }
        lib.interleave(list(arms.values()), options.repeats, options.warmup)
    plain.close()
    shimmed.close()
    lib.report(
        f"pages under the shim, functions on {options.size:,} bytes",
        "CPU of the function alone; whole: of its process from fork to end",
        list(arms.values()),
        options,
    )
    for figure in ("cpu_s", "whole_cpu_s"):
        for kind in KINDS:
            values = ratios(arms, kind, figure)
            each = " ".join(f"{value:.2f}" for value in values)
            print(f"# {figure} against plain, {kind}: mean {statistics.mean(values):.2f} ({each})")


if __name__ == "__main__":
    main()
