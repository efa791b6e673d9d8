"""A resident engine of the benchmark's own, and what its processes cost.

The engine listens in a temporary XDG_RUNTIME_DIR, so that nobody's engine is met, and ends with the
`with` that started it. CPU and memory are those of cgroups around it. Where none can be made, CPU
is that of the tree's living processes and of the children that they have waited for, which misses
what the kernel reaped (some 5 %); and memory is the tree's PSS, which misses shared memory that no
process maps at the moment.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lib

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PSS_EVERY_S = 0.05
PATIENCE_S = 60


class Group:
    """Cgroups around what is measured, each only if it may be made: of memory, of CPU."""

    def __init__(self, memory: lib.MemoryGroup) -> None:
        self.memory = memory
        unified = memory.path is not None and lib.is_unified(memory.path)
        # In v2 below the other, so that a process may be in that one without being in this one.
        self._cpu = lib.make_group(memory.path if unified else lib.own_cgroup("cpuacct"))

    def enter(self) -> None:
        """In the child, before exec."""
        self.memory.enter()
        if self._cpu:
            (self._cpu / "cgroup.procs").write_text(str(os.getpid()))

    def limit(self, limit_bytes: int) -> None:
        """From now on the kernel allows its processes no more memory, file cache included."""
        if self.memory.path is None:
            raise RuntimeError("no memory cgroup may be made here")
        name = "memory.max" if lib.is_unified(self.memory.path) else "memory.limit_in_bytes"
        (self.memory.path / name).write_text(str(limit_bytes))

    def user_and_system_s(self) -> tuple[float, float] | None:
        """CPU in user and in kernel mode, by the kernel's reckoning."""
        if self._cpu is None:
            return None
        if lib.is_unified(self._cpu):
            lines = (self._cpu / "cpu.stat").read_text().splitlines()
            stat = dict(line.split() for line in lines)
            return int(stat["user_usec"]) / 1e6, int(stat["system_usec"]) / 1e6
        user, system = (
            int((self._cpu / f"cpuacct.usage_{mode}").read_text()) / 1e9 for mode in ("user", "sys")
        )
        return user, system

    def cpu_s(self) -> float | None:
        """Of all that were ever in it."""
        if self._cpu is None:
            return None
        if lib.is_unified(self._cpu):
            return int((self._cpu / "cpu.stat").read_text().split()[1]) / 1e6
        return int((self._cpu / "cpuacct.usage").read_text()) / 1e9

    def remove(self) -> None:
        if self._cpu:
            lib.remove_group(self._cpu)


@contextlib.contextmanager
def cost_group() -> Iterator[Group]:
    with lib.memory_group() as memory:
        group = Group(memory)
        try:
            yield group
        finally:
            group.remove()


class ResidentEngine:
    """A running engine in a `group`; `env` is for its clients."""

    def __init__(
        self, folder: Path, group: Group, settings: dict[str, int], options: Sequence[str]
    ) -> None:
        self.group = group
        homes = ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME")
        self.env = {**os.environ, **dict.fromkeys(homes, str(folder))}
        config = folder / "zerrow" / "config.toml"
        config.parent.mkdir(mode=0o700)
        config.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
        self._process = subprocess.Popen(
            [*lib.zerrow_command(), "engine", "start", "--foreground", *options],
            stdout=subprocess.PIPE,
            text=True,
            env=self.env,
            preexec_fn=group.enter,  # noqa: PLW1509
        )
        self.pid = self._process.pid

    def wait_until_started(self) -> None:
        assert self._process.stdout
        if "started" not in self._process.stdout.readline():
            raise RuntimeError(f"the engine ended with {self._process.wait()}")

    def stop(self) -> None:
        """Ends it and all its processes."""
        stop = [*lib.zerrow_command(), "engine", "stop"]
        try:
            subprocess.run(stop, env=self.env, check=False, capture_output=True, timeout=PATIENCE_S)
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def status(self) -> dict[str, Any]:
        done = subprocess.run(
            [*lib.zerrow_command(), "engine", "status", "-O", "json"],
            stdout=subprocess.PIPE,
            env=self.env,
            check=True,
        )
        status: dict[str, Any] = json.loads(done.stdout)
        return status

    def wait_until_idle(self, without_zygotes: bool = False) -> None:
        """Until no run and no worker is left, nor a zygote if that is wanted."""
        end = time.monotonic() + PATIENCE_S
        while (
            (status := self.status())["runs"]
            or status["workers"]
            or (without_zygotes and status["zygotes"])
        ):
            if time.monotonic() > end:
                raise RuntimeError(f"the engine isn't idle after {PATIENCE_S} s: {status}")
            time.sleep(0.1)

    def cpu_s(self) -> float:
        used = self.group.cpu_s()
        return sum(map(_waited_cpu_s, process_tree(self.pid))) if used is None else used


@contextlib.contextmanager
def resident_engine(
    options: Sequence[str] = (), limit_bytes: int | None = None, **settings: int
) -> Iterator[ResidentEngine]:
    """Starts an engine with these settings (`rest_after_s`, ...); stops it in the end.

    `options` are of `zerrow engine start`; `limit_bytes` is the kernel's for the engine's cgroup.
    """
    with (
        tempfile.TemporaryDirectory(prefix="zerrow-bench-") as folder,
        cost_group() as group,
    ):
        if limit_bytes is not None:
            group.limit(limit_bytes)
        engine = ResidentEngine(Path(folder), group, settings, options)
        try:
            engine.wait_until_started()
            group.memory.watching = False  # but while a Peak is asked for
            yield engine
        finally:
            engine.stop()


# --- processes ------------------------------------------------------------------------------


def process_tree(pid: int) -> list[int]:
    """The process and its descendants; without those that end meanwhile."""
    found = [pid]
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in tasks.read_text().split():
                found += process_tree(int(child))
    return found


def _waited_cpu_s(pid: int) -> float:
    """Its own and its waited-for children's."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / TICKS_PER_S
    return 0.0


def running_s(pids: Sequence[int]) -> float:
    """Time on a CPU of all threads of these processes, to the microsecond; ended ones' is lost."""
    total = 0
    for pid in pids:
        for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                total += int(file.read_text().split()[0])
    return total / 1e9


def pss_bytes(pids: Sequence[int]) -> int:
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


class Peak:
    """Peak memory while it is entered: the group's, or without one PSS of the trees of `roots`."""

    def __init__(self, group: lib.MemoryGroup, roots: Sequence[int] = ()) -> None:
        self.roots = list(roots)
        self._group = group
        self._pss = 0
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self._group.peak_bytes, self._group.watching = None, True
        if self._group.path is None:
            self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._group.watching = False
        self._stop.set()
        if self._watcher.is_alive():
            self._watcher.join()

    def _watch(self) -> None:
        while not self._stop.wait(PSS_EVERY_S):
            pids = {pid for root in list(self.roots) for pid in process_tree(root)}
            self._pss = max(self._pss, pss_bytes(sorted(pids)))

    @property
    def bytes(self) -> int | None:
        return self._group.peak_bytes if self._group.path else self._pss


def run_at_once(
    commands: Sequence[Sequence[str]],
    env: dict[str, str] | None = None,
    enter: Callable[[], None] | None = None,
    peak: Peak | None = None,
    printed: Callable[[str], None] | None = None,
) -> lib.Figures:
    """Starts all commands, waits for all; wall time of the whole, CPU with waited-for children.

    `enter` is for their cgroup, which they enter within that time: some 5 ms. `printed` gets what
    each has written to stdout.
    """
    cpu_s, failed = 0.0, 0
    with tempfile.TemporaryFile("w+") as output, contextlib.ExitStack() as files:
        stdouts = [
            files.enter_context(tempfile.TemporaryFile("w+")) if printed else output
            for _ in commands
        ]
        begin = time.perf_counter()
        processes = [
            subprocess.Popen(
                command,
                stdout=stdout,
                stderr=output,
                env=env,
                preexec_fn=enter,  # noqa: PLW1509
            )
            for command, stdout in zip(commands, stdouts, strict=True)
        ]
        if peak:
            peak.roots += [process.pid for process in processes]
        for process in processes:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            failed += process.returncode != 0
            cpu_s += usage.ru_utime + usage.ru_stime
        wall_s = time.perf_counter() - begin
        if failed:
            output.seek(0)
            raise RuntimeError(f"{failed} of {len(commands)} commands failed: {output.read()}")
        for stdout in stdouts if printed else ():
            stdout.seek(0)
            printed(stdout.read())
    return {"wall_s": wall_s, "cpu_s": cpu_s}
