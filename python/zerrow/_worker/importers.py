"""The zygote's side of importers: one for each run whose project could be imported once.

An importer has run user code. It can't be believed that a worker is gone: the zygote looks itself,
at the end of the worker's PID namespace or among the orphans that it adopts. What it says of how a
worker of its own ended concerns its own run alone. One that says something else, doesn't fork or
doesn't reap in time is ended with all its workers, and these are lost: the engine has their tasks
done by workers that import the project themselves.
"""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from zerrow._worker.isolation import Nursery, kill, numbers_of
from zerrow._worker.messages import Exited, Forked, Missing, Outcome
from zerrow._worker.watcher import Watcher

# Less than the engine's, which would end the zygote.
PATIENCE_S = 15.0
_MOST_BYTES = 4096
_MOST_COUNT = 1 << 62


@dataclass
class Importer:
    """The process that has imported the project of a run, or is about to."""

    run: int
    socket: socket.socket
    nursery: Nursery | None  # in the PID namespace that is the run's own
    init_pidfd: int | None  # of that namespace's first process
    pidfd: int | None = None  # None: the worker that reads the project hasn't forked it
    forks: bool = True
    workers: "dict[int, _Worker]" = field(default_factory=dict)  # by number


@dataclass
class _Worker:
    number: int
    init_pidfd: int | None
    waits_since: float | None  # until it is forked, and from its death until it is reaped
    pidfd: int | None = None
    gone: bool = False  # with all that it started
    outcome: Outcome | None = None


class Importers:
    """Those of one zygote. `tell` sends the engine a message with descriptors."""

    def __init__(
        self,
        watcher: Watcher,
        tell: Callable[[Forked | Exited | Missing, list[int]], None],
        end_orphans: Callable[[], None],
    ) -> None:
        self._watcher = watcher
        self._tell = tell
        self._end_orphans = end_orphans  # where there are no PID namespaces
        self._runs: dict[int, Importer] = {}
        self._beginning: list[Importer] = []

    def begin(self, run: int, nursery: Nursery | None) -> tuple[Importer, int]:
        """For a worker that is going to read the run's project; its end of the socket. OSError."""
        self.end(run)  # of an attempt before
        inner, init_pidfd = nursery.nested() if nursery is not None else (None, None)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        importer = Importer(run, ours, inner, init_pidfd)
        self._beginning.append(importer)
        return importer, theirs.detach()

    def stays(self, importer: Importer) -> bool:
        """Called when that worker is gone: whether it has left an importer behind.

        If not, the PID namespace is the caller's to end.
        """
        self._look(importer)
        self._beginning.remove(importer)
        # Without namespaces the zygote has adopted it.
        if importer.pidfd is None or not _belongs(
            importer.pidfd, importer.init_pidfd, parent=os.getpid()
        ):
            importer.init_pidfd = None
            self._discard(importer)
            return False
        # Where memory is short the engine stops a worker with all that it has started; it may end
        # before that is let go on.
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(importer.pidfd, signal.SIGCONT)
        self._runs[importer.run] = importer
        self._watcher.add(importer.socket.fileno(), lambda: self._handle_message(importer))
        return True

    def fork(self, run: int, number: int, fds: list[int]) -> bool:
        """Has the run's importer fork a worker; False if there is none to ask. Raises OSError."""
        importer = self._runs.get(run)
        if importer is None or not importer.forks:
            return False
        init_pidfd = importer.nursery.take() if importer.nursery is not None else None
        worker = _Worker(number, init_pidfd, time.monotonic())
        if init_pidfd is not None and not _is_first(init_pidfd):
            _close_init(worker)
            self._lose(importer, "it has changed how namespaces are made")
            return False
        sent = [*fds, *([] if init_pidfd is None else [init_pidfd])]
        try:
            request = json.dumps({"worker": number, "fds": len(sent)}).encode()
            socket.send_fds(importer.socket, [request], sent, socket.MSG_DONTWAIT)
        except OSError:  # it has too much to do, or is about to be missed
            _close_init(worker)
            return False
        importer.workers[number] = worker
        return True

    def end(self, run: int) -> None:
        """Ends the run's importer, if there is one."""
        if run in self._runs:
            self._lose(self._runs[run], "its run has ended")

    def end_all(self) -> None:
        """Kills all of them, with all their workers."""
        for importer in self._beginning:
            self._look(importer)
        for importer in [*self._beginning, *self._runs.values()]:
            for pidfd in (importer.init_pidfd, importer.pidfd):
                if pidfd is not None:
                    kill(pidfd)
            for worker in importer.workers.values():
                if worker.pidfd is not None:
                    kill(worker.pidfd)

    def pids(self) -> set[int]:
        """Those that live, as the zygote sees them."""
        for importer in self._beginning:
            self._look(importer)
        known = [*self._beginning, *self._runs.values()]
        return {pid_of(importer.pidfd) for importer in known if importer.pidfd is not None}

    def end_overdue(self) -> None:
        """Ends importers that owe something for too long."""
        overdue = time.monotonic() - PATIENCE_S
        for importer in list(self._runs.values()):
            waits = [worker.waits_since for worker in importer.workers.values()]
            if any(since is not None and since < overdue for since in waits):
                self._lose(importer, "it neither forks nor reaps")

    def waits(self) -> bool:
        """Whether an importer owes something."""
        return any(
            worker.waits_since is not None
            for importer in self._runs.values()
            for worker in importer.workers.values()
        )

    @staticmethod
    def _look(importer: Importer) -> None:
        """Whether the worker that reads the project has forked it by now."""
        if importer.pidfd is not None:
            return
        with contextlib.suppress(OSError, ValueError, EOFError, RecursionError):
            body, fds = _receive(importer.socket)
            if body.get("op") == "ready" and fds:
                (importer.pidfd,) = fds

    def _handle_message(self, importer: Importer) -> None:
        try:
            body, fds = _receive(importer.socket)
            worker = importer.workers[body["worker"]]
            if body["op"] == "forked" and worker.pidfd is None:
                (worker.pidfd,) = fds
                return self._on_forked(importer, worker)
            for fd in fds:
                os.close(fd)
            if body["op"] == "unforked" and worker.pidfd is None:
                return self._on_unforked(importer, worker, str(body["error"]))
            if body["op"] == "reaped" and worker.pidfd is not None and worker.outcome is None:
                worker.outcome = {
                    "wait_status": _checked(body["wait_status"], int),
                    "cpu_s": _checked(body["cpu_s"], float),
                    "max_rss_bytes": _checked(body["max_rss_bytes"], int),
                }
                return self._finish(importer, worker)
        except EOFError:
            return self._lose(importer, "it died")
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass
        return self._lose(importer, "it sent something that isn't in the protocol")

    def _on_forked(self, importer: Importer, worker: _Worker) -> None:
        pidfd = worker.pidfd
        assert pidfd is not None
        assert importer.pidfd is not None
        if not _belongs(pidfd, worker.init_pidfd, parent=pid_of(importer.pidfd)):
            self._lose(importer, "it forked a worker elsewhere")
            return
        worker.waits_since = None
        self._watcher.add(pidfd, lambda: self._on_dead(importer, worker))
        self._tell(Forked(op="forked", worker=worker.number), [pidfd])

    def _on_unforked(self, importer: Importer, worker: _Worker, error: str) -> None:
        """What the import did to its rights, for instance, lasts: the zygote forks from now on."""
        importer.forks = False
        del importer.workers[worker.number]
        _close_init(worker)
        lost = f"the process that had imported the project can't fork: {error}"
        self._tell(Missing(op="exited", worker=worker.number, lost=lost), [])

    def _on_dead(self, importer: Importer, worker: _Worker) -> None:
        assert worker.pidfd is not None
        self._watcher.remove(worker.pidfd)
        worker.waits_since = time.monotonic()
        if worker.init_pidfd is None:
            self._end_orphans()
            self._on_gone(importer, worker)
            return
        # The end of the namespace waits until the importer has reaped the worker.
        kill(worker.init_pidfd)
        self._watcher.add(worker.init_pidfd, lambda: self._on_gone(importer, worker))

    def _on_gone(self, importer: Importer, worker: _Worker) -> None:
        if worker.init_pidfd is not None:
            self._watcher.remove(worker.init_pidfd)
        worker.gone = True
        self._finish(importer, worker)

    def _finish(self, importer: Importer, worker: _Worker) -> None:
        if not worker.gone or worker.outcome is None:
            return
        del importer.workers[worker.number]
        self._close(worker)
        self._tell(Exited(op="exited", worker=worker.number, **worker.outcome), [])

    def _lose(self, importer: Importer, why: str) -> None:
        """Kills it and its workers; the engine hears of these once nothing of them is left."""
        del self._runs[importer.run]
        self._watcher.remove(importer.socket.fileno())
        importer.socket.close()
        last = importer.pidfd if importer.init_pidfd is None else importer.init_pidfd
        assert last is not None
        kill(last)
        self._watcher.add(last, lambda: self._on_lost(importer, last, why))

    def _on_lost(self, importer: Importer, last: int, why: str) -> None:
        self._watcher.remove(last)
        if importer.init_pidfd is None:
            for worker in importer.workers.values():
                if worker.pidfd is not None:
                    kill(worker.pidfd)
            self._end_orphans()
        for worker in importer.workers.values():
            self._close(worker)
            lost = f"the process that had imported the project is lost: {why}"
            self._tell(Missing(op="exited", worker=worker.number, lost=lost), [])
        importer.workers.clear()
        self._discard(importer)

    def _discard(self, importer: Importer) -> None:
        importer.socket.close()
        if importer.nursery is not None:
            importer.nursery.close()
        for fd in (importer.pidfd, importer.init_pidfd):
            if fd is not None:
                os.close(fd)

    def _close(self, worker: _Worker) -> None:
        for fd in (worker.pidfd, worker.init_pidfd):
            if fd is not None:
                self._watcher.remove(fd)
                os.close(fd)


def _belongs(pidfd: int, init_pidfd: int | None, parent: int) -> bool:
    """Whether it is a process of that namespace, or without namespaces a child of that process.

    One that is dead harms nobody.
    """
    pid = pid_of(pidfd)
    with contextlib.suppress(OSError):
        if pid <= 0:
            return pid == -1
        if init_pidfd is None:
            with open(f"/proc/{pid}/status") as lines:
                return f"PPid:\t{parent}\n" in lines
        else:
            theirs = os.stat(f"/proc/{pid}/ns/pid").st_ino
            return theirs == os.stat(f"/proc/{pid_of(init_pidfd)}/ns/pid").st_ino
    return pid_of(pidfd) == -1


def _is_first(pidfd: int) -> bool:
    """Whether all of a PID namespace ends with that process, which lives beside the importer."""
    return numbers_of(pid_of(pidfd))[-1:] == ["1"]


def pid_of(pidfd: int) -> int:
    """Its number in the zygote's namespace; -1: it is reaped, 0: it isn't there. OSError."""
    with open(f"/proc/self/fdinfo/{pidfd}") as lines:
        for line in lines:
            if line.startswith("Pid:"):
                return int(line.split()[1])
    return 0


def _receive(source: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A message, which is untrusted. EOFError, OSError, ValueError, RecursionError."""
    text, fds, flags, _ = socket.recv_fds(source, _MOST_BYTES, 1, socket.MSG_DONTWAIT)
    try:
        if not text and not fds:
            raise EOFError
        body = json.loads(text)
        if not isinstance(body, dict) or flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise ValueError("not a message")
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
    return body, fds


def _checked(value: object, kind: type) -> Any:  # noqa: ANN401
    if type(value) is not kind or not 0 <= value < _MOST_COUNT:  # type: ignore[operator]
        raise ValueError(f"not a {kind.__name__}")
    return value


def _close_init(worker: _Worker) -> None:
    if worker.init_pidfd is not None:
        kill(worker.init_pidfd)
        os.close(worker.init_pidfd)
