"""From a forked process to a worker: its namespaces, its descriptors, its end."""

import contextlib
import fcntl
import os
import signal
from collections.abc import Callable
from os import _exit as exit_process
from typing import NoReturn

from zerrow import _process
from zerrow._worker import isolation


def become_worker(fds: list[int], own_namespace: bool, work: Callable[[int], int]) -> NoReturn:
    """Calls `work` with the number of the first of `fds`; what comes after the fourth follows it.

    The second to fourth are stdin, stdout and stderr. The process ends with the status that `work`
    returns.
    """
    status = 1
    try:
        _process.die_with_parent(signal.SIGKILL)
        os.setsid()
        if own_namespace:
            isolation.enter_worker_mounts()
        else:
            _process.adopt_orphans()
        task, stdin, stdout, stderr, *more = fds
        keep_only([stdin, stdout, stderr, task, *more], inheritable=3)
        status = work(3)
    except BaseException as problem:
        with contextlib.suppress(OSError):
            os.write(2, f"zerrow: the worker didn't start: {problem!r}\n".encode())
    exit_process(status)


def keep_only(fds: list[int], inheritable: int) -> None:
    """Gives these descriptors the numbers from 0 on, closes all others.

    The first `inheritable` of them stay open in programs that this process starts.
    """
    # First out of the way of the numbers that they are going to have.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64) for fd in fds]
    for number, fd in enumerate(high):
        os.dup2(fd, number, inheritable=number < inheritable)
    os.closerange(len(high), max(map(int, os.listdir("/proc/self/fd"))) + 1)
