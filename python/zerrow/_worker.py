"""A worker: a process that does one task for the engine, answers, and ends as Python processes do.

Forked by the zygote, which has made 0, 1 and 2 what they are for the user's function. The answer is
sent when the task is done, so that whatever happens at the process's end can't lose it; the engine
uses it once the process is gone. If the user's code ends the process itself, there is no answer and
the engine sees that.
"""

import fcntl
import os
import random
import resource
import sys
import time
from collections.abc import Callable
from os import _exit as exit_process
from os import fstat
from typing import Any, TextIO

from zerrow import _leaving, _native, _process, _tasks

# Out of the way of functions that close what they didn't open, as daemons do, and of the numbers
# that the files get which they open then.
_FIRST_OWN_DESCRIPTOR = 1000
# The exit status that says: there is an answer, and no way to send it.
_UNHEARD = 121

# Tasks in which user code runs; others have nothing to take leave of.
_USERS_CODE = {"discover", "python", "expectation"}


def main(task_fd: int, broker_fd: int | None) -> int:
    """Does the task that arrives at `task_fd`; the process's exit status."""
    last_inherited = next(reversed(sys.modules))  # of the zygote, which runs no user code
    _, *outputs = streams = _settle()
    task_fd = _out_of_the_way(task_fd)
    channel = _native.Channel(task_fd)
    if broker_fd is not None:
        _native.start_shim(_out_of_the_way(broker_fd))
    received = channel.receive()
    if received is None:
        return 1  # the engine is gone
    task, fds = received
    os.environ.update(task["environment"])
    _limit_descriptors(int(os.environ.pop("ZERROW_DESCRIPTORS", "0")))
    os.chdir(task["project_dir"])
    sys.path.insert(0, task["project_dir"])
    root = os.path.realpath(task["project_dir"])
    socket = _identity(task_fd)
    regain = _holding_on(_process.OwnProcess())
    answer = _tasks.run(task, fds, channel.send, regain)
    if _identity(task_fd) != socket:
        _tasks.say("the function closed file descriptors that it hasn't opened")
        return _UNHEARD
    channel.send(answer.body, answer.fds)
    if task["kind"] in _USERS_CODE:
        _leaving.take_leave(root, streams, last_inherited)
    _leaving.flush(outputs)
    return 0


def _settle() -> list[TextIO]:
    """Undoes what a process shouldn't inherit from the zygote; its stdin, stdout and stderr."""
    # Programs that the user's function starts are not workers.
    for name in (
        "ARROW_DEFAULT_MEMORY_POOL",
        "MIMALLOC_ARENA_RESERVE",
        "_RJEM_MALLOC_CONF",
        "ZERROW_ISOLATION",
    ):
        os.environ.pop(name, None)
    preloaded = os.environ.pop("LD_PRELOAD", "").replace(":", " ").split()
    if others := [path for path in preloaded if "zerrow_shim" not in os.path.basename(path)]:
        os.environ["LD_PRELOAD"] = ":".join(others)
    sys.argv = [""]
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = _writer(1)
    sys.stderr = _writer(2)
    for name in ("stdin", "stdout", "stderr"):
        setattr(sys, f"__{name}__", getattr(sys, name))
    time.tzset()
    # Else all workers would draw the same numbers.
    random.seed()
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
    return [sys.stdin, sys.stdout, sys.stderr]


def _limit_descriptors(soft: int) -> None:
    """Gives the function the user's own limit, which the engine has raised for its own purposes.

    The task's descriptors, which may be more, are here by now and stay.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft > 0 and (hard == resource.RLIM_INFINITY or soft <= hard):
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _writer(fd: int) -> TextIO:
    # Whole lines, so that those of functions that run side by side don't mix.
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _holding_on(own: "_process.OwnProcess") -> Callable[[], None]:
    """What is called when user code has run."""

    def regain() -> None:
        if own.regain():
            return
        _tasks.say("a process that the function had forked came back from it, and was ended")
        exit_process(0)

    return regain


def _out_of_the_way(fd: int) -> int:
    """The same under a high number, if the limit of descriptors allows it."""
    try:
        moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_OWN_DESCRIPTOR)
    except OSError:
        return fd
    os.close(fd)
    return moved


def _identity(fd: int) -> tuple[int, int] | None:
    """Which file the descriptor is open for; None if it is closed."""
    try:
        found = fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino
