"""The zygote: imports libraries once and forks a worker for each task.

    PYTHON -m zerrow._worker.zygote      with ZERROW_ZYGOTE_FD, ZERROW_PRELOAD, ZERROW_ISOLATION

It runs no user code and computes nothing (a zygote that has run polars or duckdb has children that
hang). Where a run's project can be imported once, a process that has done so forks the run's
workers in its stead (`importers`). A worker counts as exited only when nothing of it is left: its
last descendant is killed and reaped before the engine is told. When the engine's end of the channel
closes, the zygote kills all workers and exits.
"""

import contextlib
import gc
import json
import os
import platform
import resource
import signal
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from zerrow import _process
from zerrow._worker import birth, orphans
from zerrow._worker.importer import outcome_of
from zerrow._worker.importers import Importer, Importers
from zerrow._worker.isolation import Nursery, fork_into, kill, own_pid_namespace, run_isolated
from zerrow._worker.messages import (
    EndRun,
    Exited,
    Fork,
    Forked,
    Missing,
    Namespaces,
    Outcome,
    Ready,
)
from zerrow._worker.preload import preload
from zerrow._worker.watcher import Watcher

if TYPE_CHECKING:
    from zerrow._native import Channel

_UNLIMITED = 2**64 - 1  # RLIM_INFINITY, as C has it


@dataclass
class _Worker:
    number: int
    pid: int
    pidfd: int
    init_pidfd: int | None  # of its PID namespace's first process
    importer: Importer | None = None  # that it may leave behind
    outcome: Outcome | None = None  # once it is reaped


def main() -> NoReturn:
    """Entry point of the process that the engine starts."""
    gc.disable()  # there is nothing to collect while modules are imported
    _process.die_with_parent(signal.SIGKILL)
    channel_fd = int(os.environ.pop("ZERROW_ZYGOTE_FD"))
    os.set_inheritable(channel_fd, False)
    _take_attributes(json.loads(os.environ.pop("ZERROW_ATTRIBUTES", "{}")))
    # Ctrl-C in a terminal is the engine's business.
    with contextlib.suppress(PermissionError):  # it leads a session already
        os.setsid()
    run_isolated(lambda isolation: _run(channel_fd, isolation))


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


def _run(channel_fd: int, isolation: Namespaces) -> NoReturn:
    nursery = Nursery() if isolation["pid_namespace"] else None
    if nursery is None:
        _process.adopt_orphans()
    preload(os.environ.pop("ZERROW_PRELOAD", ""))
    from zerrow import _native

    channel = _native.Channel(channel_fd)
    zygote = Zygote(channel, nursery)
    # At each worker's end nanobind would clear what typing has cached, for a check of its own.
    getattr(typing, "_cleanups", []).clear()
    # A collection in a worker would otherwise copy every page of these objects. What little of them
    # is garbage stays: to look for it takes 50 ms and more.
    gc.freeze()
    gc.enable()
    try:
        channel.send(
            Ready(
                op="ready",
                isolation=isolation,
                shim=_native.shim_loaded(),
                python=platform.python_version(),
            )
        )
        zygote.serve()
    except OSError:
        pass  # the engine is gone: nobody is left to be told
    zygote.kill_all()
    os._exit(0)


class Zygote:
    """Forks workers for the engine and watches over them until nothing of them is left."""

    def __init__(self, channel: "Channel", nursery: Nursery | None) -> None:
        self._channel = channel
        self._nursery = nursery
        self._own_namespace = None if nursery is None else own_pid_namespace()
        self._watcher = Watcher()
        self._workers: list[_Worker] = []
        self._importers = Importers(self._watcher, channel.send, self._end_orphans)
        self._serving = True
        self._watcher.add(channel.fileno(), self._handle_message)
        if nursery is not None:
            self._watcher.add(nursery.pidfd, _end_without_nursery)

    def serve(self) -> None:
        """Until the engine closes the channel. Raises OSError if the channel breaks."""
        while self._serving:
            self._watcher.wait(patience_s=1 if self._importers.waits() else None)
            self._importers.end_overdue()

    def kill_all(self) -> None:
        """Kills every worker with all its descendants."""
        for worker in self._workers:
            kill(worker.pidfd)
            if worker.init_pidfd is not None:
                kill(worker.init_pidfd)
        self._importers.end_all()
        for worker in self._workers:
            if not worker.outcome:
                os.wait4(worker.pid, 0)
        if self._nursery is None:
            orphans.kill_all(spare=set())

    def _handle_message(self) -> None:
        message = self._channel.receive()
        if message is None:
            self._serving = False
            return
        body: Fork | EndRun = message[0]
        if body["op"] == "fork":
            self._fork(body, message[1])
        else:
            self._importers.end(body["run"])

    def _fork(self, body: Fork, fds: list[int]) -> None:
        """From its run's importer, if it says `run`; with `imports` it may leave one behind."""
        run, imports = body.get("run"), body.get("imports", False)
        try:
            if run is None or imports or not self._importers.fork(run, body["worker"], fds):
                self._fork_here(body["worker"], fds, run if imports else None)
        except OSError as problem:
            self._channel.send(Missing(op="exited", worker=body["worker"], error=str(problem)))
        finally:
            for fd in fds:
                os.close(fd)

    def _fork_here(self, number: int, fds: list[int], run: int | None) -> None:
        importer = None
        if run is not None:
            importer, theirs = self._importers.begin(run, self._nursery)
            fds.append(theirs)
            init_pidfd = importer.init_pidfd
        else:
            init_pidfd = None if self._nursery is None else self._nursery.take()
        try:
            pid = self._fork_process(init_pidfd)
        except OSError:
            if importer is not None:
                self._importers.stays(importer)
            if init_pidfd is not None:
                kill(init_pidfd)
                os.close(init_pidfd)
            raise
        if pid == 0:
            self._become_worker(fds, reads=importer is not None)
        worker = _Worker(number, pid, os.pidfd_open(pid), init_pidfd, importer)
        self._workers.append(worker)
        self._watcher.add(worker.pidfd, lambda: self._reap(worker))
        self._channel.send(Forked(op="forked", worker=number), [worker.pidfd])

    def _fork_process(self, init_pidfd: int | None) -> int:
        """Like os.fork(), into the PID namespace of that process."""
        if init_pidfd is None or self._own_namespace is None:
            return os.fork()
        return fork_into(init_pidfd, self._own_namespace)

    def _become_worker(self, fds: list[int], *, reads: bool) -> NoReturn:
        """`reads`: it reads a project, and the last of `fds` is for the importer that it leaves."""
        from zerrow._worker import worker

        own_namespace = self._nursery is not None
        if reads:
            birth.become_worker(
                fds, own_namespace, lambda task: worker.main(task, task + 1, own_namespace)
            )
        birth.become_worker(fds, own_namespace, worker.main)

    def _reap(self, worker: _Worker) -> None:
        self._watcher.remove(worker.pidfd)
        # First the worker: the end of a PID namespace waits for processes that nobody has reaped.
        _, status, usage = os.wait4(worker.pid, 0)
        os.close(worker.pidfd)
        worker.outcome = outcome_of(status, usage)
        if worker.importer is not None and self._importers.stays(worker.importer):
            worker.init_pidfd = None  # its namespace is the importer's
        if self._nursery is None:
            self._end_orphans()
        if worker.init_pidfd is None:
            self._report_exit(worker)
            return
        kill(worker.init_pidfd)
        self._watcher.add(worker.init_pidfd, lambda: self._report_exit(worker))

    def _end_orphans(self) -> None:
        """Where there are no PID namespaces: what workers that are dead have left behind."""
        alive = {worker.pid for worker in self._workers if not worker.outcome}
        orphans.kill_all(spare=alive | self._importers.pids())

    def _report_exit(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        if worker.init_pidfd is not None:
            self._watcher.remove(worker.init_pidfd)
            os.close(worker.init_pidfd)
        assert worker.outcome is not None
        self._channel.send(Exited(op="exited", worker=worker.number, **worker.outcome))


def _end_without_nursery() -> NoReturn:
    """All workers have died with it, and none can be forked: the engine starts another zygote."""
    os.write(2, b"the process that makes PID namespaces was killed\n")
    os._exit(1)  # what is left dies with this process, the first of its PID namespace


if __name__ == "__main__":
    main()
