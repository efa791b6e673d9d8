"""A process that has imported the run's project, and forks the workers that call its functions.

    zygote ── worker that reads the project ── importer ── worker
                                                        └─ worker ...

The worker that reads a project forks it right after the import, if the process is fit for that,
and goes on as any worker; the zygote then asks the importer for this run's workers that need the
project. User code has run here: what it says, the zygote checks (`importers`). It waits for its
workers, as only a parent can, and tells how they ended. That they are gone, with all that they
started, the zygote finds out itself. It imports, reads and computes nothing any more, and what it
calls is bound here before user code could replace it.
"""

import gc
import json
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from os import _exit as exit_process
from os import fork, pidfd_open, wait4
from typing import Any, NoReturn

from zerrow import _process
from zerrow._worker import birth, isolation, random_states
from zerrow._worker.messages import Outcome
from zerrow._worker.watcher import Watcher

# The numbers of its descriptors. The last is of its own PID namespace, for the way back, or without
# one of the worker that has forked it.
_SOCKET, _NAMESPACE, _PARENT = 3, 4, 4


@dataclass
class Offer:
    """The zygote's offer to the worker that reads a project: to leave an importer behind."""

    fd: int
    own_namespace: bool
    prepare: Callable[[], None]  # before the first fork
    work: Callable[[int], int]  # what the importer's workers do: become_worker's
    flush: Callable[[], None]  # writes out output

    def take(self, seeded: dict[str, Any]) -> str:
        """Forks the importer; why that isn't possible, or an empty text."""
        self.flush()
        try:
            pid = fork()
        except OSError as problem:
            return f"can't be followed by a fork: {problem}"
        if pid == 0:
            with suppress(BaseException):
                _Importer(self, seeded).serve()
            exit_process(1)
        with socket.socket(fileno=self.fd) as zygote:
            pidfd = pidfd_open(pid)
            socket.send_fds(zygote, [json.dumps({"op": "ready"}).encode()], [pidfd])
            os.close(pidfd)
        return ""

    def become_worker(self, fds: list[int], seeded: dict[str, Any]) -> NoReturn:
        """In a process that the importer has forked."""
        random_states.renew(seeded)
        birth.become_worker(fds, self.own_namespace, self.work)

    def keep_descriptors(self) -> None:
        """In the importer: closes what it doesn't need; nobody reads what it might print."""
        null = os.open("/dev/null", os.O_RDWR)
        own = self.own_namespace
        last = isolation.own_pid_namespace() if own else pidfd_open(os.getppid())
        birth.keep_only([null, null, null, self.fd, last], inheritable=3)


class _Importer:
    def __init__(self, offer: Offer, seeded: dict[str, Any]) -> None:
        self._offer = offer
        self._seeded = seeded
        self._watcher = Watcher()

    def serve(self) -> None:
        """Until the zygote closes the socket."""
        self._offer.prepare()
        gc.freeze()  # a collection in a worker would otherwise copy every page of these objects
        self._offer.keep_descriptors()
        self._zygote = socket.socket(fileno=_SOCKET)
        self._watcher.add(_SOCKET, self._handle_request)
        if not self._offer.own_namespace:
            self._watcher.add(_PARENT, self._follow_zygote)
        while True:
            self._watcher.wait()

    def _follow_zygote(self) -> None:
        """Its parent is gone, which was no reason to end: the zygote has adopted it."""
        self._watcher.remove(_PARENT)
        _process.die_with_parent(signal.SIGKILL)

    def _handle_request(self) -> None:
        text, fds, _, _ = socket.recv_fds(self._zygote, 4096, 8)
        if not text:
            exit_process(0)
        request = json.loads(text)
        number = request["worker"]
        if len(fds) != request["fds"]:  # the import has lowered the limit on open files
            exit_process(1)
        init_pidfd = fds.pop() if self._offer.own_namespace else None
        try:
            pid = fork() if init_pidfd is None else isolation.fork_into(init_pidfd, _NAMESPACE)
        except OSError as problem:
            self._tell({"op": "unforked", "worker": number, "error": str(problem)})
        else:
            if pid == 0:
                self._offer.become_worker(fds, self._seeded)
            self._watch(number, pid)
        for fd in fds:
            os.close(fd)
        if init_pidfd is not None:
            os.close(init_pidfd)

    def _watch(self, number: int, pid: int) -> None:
        pidfd = pidfd_open(pid)
        self._watcher.add(pidfd, lambda: self._reap(number, pid, pidfd))
        self._tell({"op": "forked", "worker": number}, pidfd)

    def _reap(self, number: int, pid: int, pidfd: int) -> None:
        self._watcher.remove(pidfd)
        os.close(pidfd)
        _, status, usage = wait4(pid, 0)
        self._tell({"op": "reaped", "worker": number, **outcome_of(status, usage)})

    def _tell(self, body: dict[str, Any], *fds: int) -> None:
        socket.send_fds(self._zygote, [json.dumps(body).encode()], fds)


def outcome_of(status: int, usage: Any) -> Outcome:  # noqa: ANN401
    """How a worker ended, as the engine is told."""
    return {
        "wait_status": status,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "max_rss_bytes": usage.ru_maxrss * 1024,
    }
