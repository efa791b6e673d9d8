"""What all benchmarks share: arms run in turns, what a run costs, and the report's header.

An arm is a function that runs its work once and returns figures. Arms are interleaved (A B C A B
C ...), so that a machine whose speed drifts slows all of them alike. Figures of child processes
come from wait4 (CPU, page faults) and, where a cgroup can be made, from a cgroup of their own
(peak of anonymous plus shared memory, sampled); file cache is never counted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SAMPLE_EVERY_S = 0.005

Figures = dict[str, float | None]


@dataclass
class Arm:
    """One thing to compare: `run` does it once and returns its figures."""

    name: str
    run: Callable[[], Figures]
    samples: list[Figures] = field(default_factory=list)

    def median(self, figure: str) -> float | None:
        values = self.values(figure)
        return statistics.median(values) if values else None

    def values(self, figure: str) -> list[float]:
        return [s[figure] for s in self.samples if s.get(figure) is not None]  # type: ignore[misc]


def interleave(arms: Sequence[Arm], repeats: int, warmup: int = 1) -> None:
    """Runs every arm `warmup` times unrecorded, then `repeats` times in turns."""
    for turn in range(warmup + repeats):
        for arm in arms:
            figures = arm.run()
            if turn >= warmup:
                arm.samples.append(figures)


def arguments(description: str, repeats: int = 5, warmup: int = 1) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--repeats", type=int, default=repeats, help="recorded runs of each arm")
    parser.add_argument("--warmup", type=int, default=warmup, help="unrecorded runs of each arm")
    parser.add_argument("--json", metavar="FILE", help="write everything measured ('-': stdout)")
    return parser


# --- the machine and the code ---------------------------------------------------------------


def machine() -> dict[str, str]:
    """Where and with what this was measured."""
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    total = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    libraries = ("pyarrow", "numpy", "pandas", "polars", "duckdb", "datafusion")
    return {
        "cpu": f"{os.cpu_count()} x {cpu.group(1) if cpu else platform.machine()}",
        "memory": f"{int(total.group(1)) / 2**20:.0f} GiB" if total else "?",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "libraries": ", ".join(f"{name} {_version(name)}" for name in libraries),
        "commit": commit(),
        "load": f"{os.getloadavg()[0]:.1f}",
        "date": time.strftime("%Y-%m-%d"),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "-"


def commit() -> str:
    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain") else "")


# --- what processes cost --------------------------------------------------------------------


def run_command(command: Sequence[str], **popen: Any) -> tuple[Figures, str]:
    """Runs a command to its end; its figures (with its waited-for children's) and its stdout."""
    with memory_group() as group:
        begin = time.perf_counter()
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=group.enter,  # noqa: PLW1509
            **popen,
        ) as process:
            output = process.stdout.read() if process.stdout else ""
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - begin
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} exited with {process.returncode}: {output}")
    return {
        "wall_s": wall,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "faults": usage.ru_minflt + usage.ru_majflt,
        "peak_bytes": group.peak_bytes,
    }, output


class MemoryGroup:
    """A cgroup of its own for what is measured, if one may be made; else no figure (None)."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.peak_bytes: int | None = None
        self.watching = True  # sampling costs some 5 % of a core
        # With the groups below it, as the engine makes some: always so in v2, total_* in v1.
        unified = path is not None and is_unified(path)
        self._keys = ("anon", "shmem") if unified else ("total_rss", "total_shmem")
        self._stop = threading.Event()

    def enter(self) -> None:
        """In the child, before exec."""
        if self.path:
            (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def watch(self) -> None:
        while not self._stop.is_set():
            if self.watching:
                self.sample()
            self._stop.wait(SAMPLE_EVERY_S)

    def sample(self) -> None:
        if self.path is None:
            return
        lines = (line.split() for line in (self.path / "memory.stat").read_text().splitlines())
        stat = {words[0]: int(words[1]) for words in lines}
        now = sum(stat.get(key, 0) for key in self._keys)
        self.peak_bytes = max(self.peak_bytes or 0, now)

    def stop(self) -> None:
        self._stop.set()


def is_unified(path: Path) -> bool:
    return (path / "cgroup.controllers").exists()


def own_cgroup(controller: str) -> Path | None:
    """The cgroup that this process is in, of one controller (v1) or of all (v2)."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            # In a container the mount may show only the subtree that is ours.
            mount = Path("/sys/fs/cgroup") / controller
            inside = Path(f"{mount}{path}")
            return inside if inside.exists() else mount
        if controllers == "" and Path("/sys/fs/cgroup/cgroup.controllers").exists():
            return Path("/sys/fs/cgroup" + path)
    return None


@contextlib.contextmanager
def memory_group() -> Iterator[MemoryGroup]:
    path = make_group(own_cgroup("memory"))
    group = MemoryGroup(path)
    watcher = threading.Thread(target=group.watch, daemon=True)
    watcher.start()
    try:
        yield group
    finally:
        group.stop()
        watcher.join()
        if path:
            remove_group(path)


def make_group(parent: Path | None) -> Path | None:
    """A cgroup below, if one may be made."""
    if parent is None:
        return None
    path = parent / f"zerrow-bench-{os.getpid()}-{time.monotonic_ns()}"
    try:
        path.mkdir()
    except OSError:
        return None
    return path


def remove_group(path: Path) -> None:
    """A group is busy until its last process is reaped by whoever inherits it."""
    for _ in range(200):
        with contextlib.suppress(OSError):
            path.rmdir()
            return
        time.sleep(0.01)


# --- zerrow ---------------------------------------------------------------------------------


def zerrow_command() -> list[str]:
    """The installed command beside this Python, else the entry point of a package on the path."""
    beside = Path(sys.executable).parent / "zerrow"
    return [str(beside)] if beside.exists() else [sys.executable, "-m", "zerrow._entry"]


def run_zerrow(project: Path, *options: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    """One `zerrow run -O json` as its report, with the figures of the whole process tree."""
    command = [*zerrow_command(), "run", "-p", str(project), "-O", "json", *options]
    with tempfile.TemporaryFile("w+") as progress:
        try:
            figures, output = run_command(
                command, env={**os.environ, **(env or {})}, stderr=progress
            )
        except RuntimeError:
            progress.seek(0)
            print(progress.read(), file=sys.stderr)
            raise
    report: dict[str, Any] = json.loads(output)
    report["figures"] = figures
    return report


@contextlib.contextmanager
def project(files: dict[str, str]) -> Iterator[Path]:
    """A project folder with these files, for as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="zerrow-bench-") as folder:
        for name, text in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        yield Path(folder)


# --- the report -----------------------------------------------------------------------------


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def human(figure: str, value: float | None) -> str:
    """A figure by its name's last word: seconds, bytes, or a plain number."""
    if value is None:
        return "-"
    if figure.endswith("_s"):
        return f"{value:.3f} s" if value >= 0.1 else f"{value * 1000:.2f} ms"
    if figure.endswith("_bytes"):
        return f"{value / 2**20:,.1f} MiB"
    return f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def report(title: str, note: str, arms: Sequence[Arm], options: argparse.Namespace) -> None:
    """Prints header and table (median, and least..most), and the JSON where it is wanted."""
    figures = list(dict.fromkeys(name for arm in arms for s in arm.samples for name in s))
    where = machine()
    out = sys.stderr if options.json == "-" else sys.stdout
    print(f"# {title}\n# {note}", file=out)
    print("# " + " | ".join(f"{key} {value}" for key, value in where.items()), file=out)
    print(f"# median of {options.repeats} interleaved runs (least .. most)", file=out)
    rows = [[arm.name, *(_cell(arm, name) for name in figures)] for arm in arms]
    print(text_table(["arm", *figures], rows), file=out)
    if options.json:
        document = json.dumps(
            {
                "title": title,
                "note": note,
                "machine": where,
                "command": " ".join(sys.argv),
                "arms": {arm.name: arm.samples for arm in arms},
            },
            indent=1,
        )
        if options.json == "-":
            print(document)
        else:
            Path(options.json).write_text(document + "\n")


def _cell(arm: Arm, figure: str) -> str:
    values = arm.values(figure)
    if not values:
        return "-"
    middle = human(figure, statistics.median(values))
    if len(values) == 1 or min(values) == max(values):
        return middle
    return f"{middle} ({human(figure, min(values))} .. {human(figure, max(values))})"
