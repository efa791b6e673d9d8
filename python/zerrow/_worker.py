"""A worker: a process that does one task for the engine, answers and is gone.

Forked by the zygote, which has made 0, 1 and 2 what they are for the user's function. The answer is
the last thing that a worker says; it then ends without Python's own farewell, as a library's
threads may wait for each other there. If the user's code ends the process itself, there is no
answer and the engine sees that.
"""

import contextlib
import os
import random
import resource
import sys
import time
from typing import Any, TextIO

from zerrow import _native, _process, _tasks


def main(task_fd: int, broker_fd: int | None) -> int:
    """Does the task that arrives at `task_fd`; the process's exit status."""
    _settle()
    channel = _native.Channel(task_fd)
    if broker_fd is not None:
        _native.start_shim(broker_fd)
    received = channel.receive()
    if received is None:
        return 1  # the engine is gone
    task, fds = received
    _limit_descriptors(int(os.environ.pop("ZERROW_DESCRIPTORS", "0")))
    os.chdir(task["project_dir"])
    sys.path.insert(0, task["project_dir"])
    answer = _tasks.run(task, fds, channel.send)
    _flush()
    channel.send(answer.body, answer.fds)
    return 0


def _settle() -> None:
    """Undoes what a process shouldn't inherit from the zygote."""
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


def _limit_descriptors(soft: int) -> None:
    """Gives the function the user's own limit, which the engine has raised for its own purposes.

    The task's descriptors, which may be more, are here by now and stay.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft > 0 and (hard == resource.RLIM_INFINITY or soft <= hard):
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _writer(fd: int) -> TextIO:
    # Whole lines, so that those of functions that run side by side don't mix.
    return open(fd, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # It may be closed, by the user's function or by the engine.
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    _process.flush_stdio()
