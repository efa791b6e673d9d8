"""The zygote: imports libraries once and forks a worker for each task.

    PYTHON -m zerrow._zygote      with ZERROW_ZYGOTE_FD, ZERROW_PRELOAD, ZERROW_ISOLATION

It runs no user code and computes nothing (a zygote that has run polars or duckdb has children that
hang). A worker counts as exited only when nothing of it is left: its last descendant is killed and
reaped before the engine is told. When the engine's end of the channel closes, the zygote kills all
workers and exits.
"""

import contextlib
import fcntl
import gc
import importlib
import json
import os
import platform
import resource
import select
import signal
import sys
import threading
from dataclasses import dataclass, field
from os import _exit as exit_process
from typing import TYPE_CHECKING, Any, NoReturn

from zerrow import _isolation, _orphans, _process
from zerrow._isolation import Isolation, Nursery

if TYPE_CHECKING:
    from zerrow._native import Channel

# What is worth importing for a library that a project uses; importing it must not run anything.
_PRELOADED = {
    "pyarrow": ["pyarrow", "pyarrow.compute", "pyarrow.dataset", "pyarrow.parquet"],
    "numpy": ["numpy"],
    "pandas": ["pandas", "pyarrow.pandas_compat"],
    "polars": ["polars"],
    "duckdb": ["duckdb"],
    "datafusion": ["datafusion"],
}
# DataFusion's allocator gives the importing thread 32 MiB that can't be shared. If that were the
# main thread, with which workers go on, outputs that fit in there would have to be copied.
_PRELOADED_APART = {"datafusion"}
# What nearly every worker needs; a broken one is an error at once.
_OWN = ["zerrow._worker", "zerrow._discovery", "zerrow._tasks_native", "zerrow._tasks_python"]


_UNLIMITED = 2**64 - 1  # RLIM_INFINITY, as C has it


@dataclass
class _Worker:
    number: int
    pid: int
    pidfd: int
    init_pidfd: int | None  # of its PID namespace's first process
    outcome: dict[str, Any] = field(default_factory=dict)  # once it is reaped


def main() -> NoReturn:
    """Entry point of the process that the engine starts."""
    _process.die_with_parent(signal.SIGKILL)
    channel_fd = int(os.environ.pop("ZERROW_ZYGOTE_FD"))
    os.set_inheritable(channel_fd, False)
    _take_attributes(json.loads(os.environ.pop("ZERROW_ATTRIBUTES", "{}")))
    # Ctrl-C in a terminal is the engine's business.
    with contextlib.suppress(PermissionError):  # it leads a session already
        os.setsid()
    _isolation.run_isolated(lambda isolation: _run(channel_fd, isolation))


def _take_attributes(attributes: dict[str, Any]) -> None:
    """Makes this process what one would be that the run's user had started."""
    if "umask" in attributes:
        os.umask(attributes["umask"])
    if "niceness" in attributes:
        os.setpriority(os.PRIO_PROCESS, 0, attributes["niceness"])
    if "cpus" in attributes:
        os.sched_setaffinity(0, attributes["cpus"])
    for number, *limits in attributes.get("limits", []):
        soft, hard = (limit if limit < _UNLIMITED else resource.RLIM_INFINITY for limit in limits)
        resource.setrlimit(number, (soft, hard))


def _run(channel_fd: int, isolation: Isolation) -> NoReturn:
    nursery = Nursery() if isolation.pid_namespace else None
    if nursery is None:
        _process.adopt_orphans()
    _preload(os.environ.pop("ZERROW_PRELOAD", ""))
    from zerrow import _native

    channel = _native.Channel(channel_fd)
    zygote = Zygote(channel, nursery, isolation)
    gc.collect()
    gc.freeze()  # a collection in a worker would otherwise copy every page of these objects
    try:
        channel.send(
            {
                "op": "ready",
                "isolation": isolation.to_json(),
                "shim": _native.shim_loaded(),
                "python": platform.python_version(),
            }
        )
        zygote.serve()
    except OSError:
        pass  # the engine is gone: nobody is left to be told
    zygote.kill_all()
    os._exit(0)


def _preload(names: str) -> None:
    for name in ["pyarrow", "numpy", *filter(None, names.split(","))]:
        if name in _PRELOADED_APART:
            importing = threading.Thread(target=_import_library, args=[name])
            importing.start()
            importing.join()
        else:
            _import_library(name)
    for own in _OWN:
        importlib.import_module(own)


def _import_library(name: str) -> None:
    for module in _PRELOADED.get(name, []):
        # Not installed, or broken: the function that imports it will say so.
        with contextlib.suppress(Exception):
            importlib.import_module(module)


class Zygote:
    """Forks workers for the engine and watches over them until nothing of them is left."""

    def __init__(self, channel: "Channel", nursery: Nursery | None, isolation: Isolation) -> None:
        self._channel = channel
        self._nursery = nursery
        self._isolation = isolation
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)
        self._running: dict[int, _Worker] = {}  # by pidfd
        self._ending: dict[int, _Worker] = {}  # by their namespace's init_pidfd

    def serve(self) -> None:
        """Until the engine closes the channel. Raises OSError if the channel breaks."""
        while True:
            for fd, _ in self._poll.poll():
                if fd == self._channel.fileno():
                    if not self._handle_message():
                        return
                elif fd in self._running:
                    self._reap(self._running.pop(fd))
                elif fd in self._ending:
                    self._report_exit(self._ending.pop(fd))

    def kill_all(self) -> None:
        """Kills every worker with all its descendants."""
        for worker in [*self._running.values(), *self._ending.values()]:
            _kill(worker.pidfd)
            if worker.init_pidfd is not None:
                _kill(worker.init_pidfd)
        for worker in self._running.values():
            os.wait4(worker.pid, 0)
        if self._nursery is None:
            _orphans.kill_all(spare=set())

    def _handle_message(self) -> bool:
        message = self._channel.receive()
        if message is None:
            return False
        body, fds = message
        if body["op"] == "fork":
            self._fork(body["worker"], fds)
        return True

    def _fork(self, number: int, fds: list[int]) -> None:
        try:
            pid, init_pidfd = self._fork_process()
        except OSError as problem:
            for fd in fds:
                os.close(fd)
            self._channel.send({"op": "exited", "worker": number, "error": str(problem)})
            return
        if pid == 0:
            self._become_worker(fds)
        for fd in fds:
            os.close(fd)
        worker = _Worker(number, pid, os.pidfd_open(pid), init_pidfd)
        self._running[worker.pidfd] = worker
        self._poll.register(worker.pidfd, select.POLLIN)
        self._channel.send({"op": "forked", "worker": number}, [worker.pidfd])

    def _fork_process(self) -> tuple[int, int | None]:
        """Like os.fork(), with the first process of the new process's PID namespace."""
        if self._nursery is None:
            return os.fork(), None
        init_pidfd = self._nursery.take()
        try:
            return self._nursery.fork(init_pidfd), init_pidfd
        except OSError:
            _kill(init_pidfd)
            os.close(init_pidfd)
            raise

    def _become_worker(self, fds: list[int]) -> NoReturn:
        status = 1
        try:
            _process.die_with_parent(signal.SIGKILL)
            os.setsid()
            if self._nursery is None:
                _process.adopt_orphans()
            else:
                _isolation.enter_worker_mounts()
            from zerrow import _worker

            task_fd = _take_descriptors(fds)
            status = _worker.main(task_fd, broker_fd=task_fd + 1 if len(fds) > 3 else None)
        except BaseException as problem:
            with contextlib.suppress(OSError):
                os.write(2, f"zerrow: the worker didn't start: {problem!r}\n".encode())
        exit_process(status)

    def _reap(self, worker: _Worker) -> None:
        self._poll.unregister(worker.pidfd)
        # First the worker: the end of a PID namespace waits for processes that nobody has reaped.
        _, status, usage = os.wait4(worker.pid, 0)
        os.close(worker.pidfd)
        worker.outcome = {
            "wait_status": status,
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "max_rss_bytes": usage.ru_maxrss * 1024,
        }
        if worker.init_pidfd is None:
            _orphans.kill_all(spare={other.pid for other in self._running.values()})
            self._report_exit(worker)
            return
        _kill(worker.init_pidfd)
        self._ending[worker.init_pidfd] = worker
        self._poll.register(worker.init_pidfd, select.POLLIN)

    def _report_exit(self, worker: _Worker) -> None:
        if worker.init_pidfd is not None:
            self._poll.unregister(worker.init_pidfd)
            os.close(worker.init_pidfd)
        self._channel.send({"op": "exited", "worker": worker.number, **worker.outcome})


def _kill(pidfd: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def _take_descriptors(fds: list[int]) -> int:
    """Makes 0, 1 and 2 the worker's own, its channel 3 and its broker 4; closes all others.

    Returns the channel's number.
    """
    task, stdout, stderr, *broker = fds
    null = os.open("/dev/null", os.O_RDONLY)
    # First out of the way of the numbers that they are going to have.
    high = [
        fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64) for fd in (null, stdout, stderr, task, *broker)
    ]
    for number, fd in enumerate(high):
        os.dup2(fd, number, inheritable=number < 3)
    os.closerange(len(high), _highest_descriptor() + 1)
    return 3


def _highest_descriptor() -> int:
    return max(map(int, os.listdir("/proc/self/fd")))


if __name__ == "__main__":
    sys.exit(main())
