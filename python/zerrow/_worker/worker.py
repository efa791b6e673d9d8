"""A worker: a process that does one task for the engine, answers, and ends as Python processes do.

Forked by the zygote, or by a process that has imported the project (`importer`); `birth` has made
0, 1 and 2 what they are for the user's function. The answer is sent when the task is done, so that
whatever happens at the process's end can't lose it; the engine uses it once the process is gone. If
the user's code ends the process itself, there is no answer and the engine sees that.
"""

import fcntl
import os
import resource
import sys
import time
from dataclasses import dataclass, field
from os import _exit as exit_process
from os import fstat
from types import ModuleType
from typing import TextIO

from zerrow import _native, _process
from zerrow._worker import leaving, random_states, tasks
from zerrow._worker.importer import Offer
from zerrow._worker.messages import TaskBody
from zerrow._worker.rehearsal import rehearse

# Out of the way of functions that close what they didn't open, as daemons do, and of the numbers
# that the files get which they open then.
_FIRST_OWN_DESCRIPTOR = 1000
# The exit status that says: there is an answer, and no way to send it.
_UNHEARD = 121


@dataclass
class _Kept:
    """What a worker has of its process, from before user code runs."""

    own: "_process.OwnProcess"
    streams: list[TextIO]
    last_inherited: str  # module of the zygote, which runs no user code, or of the importer
    root: str  # of the project
    imported: list[ModuleType] = field(default_factory=list)  # the project's, by the importer

    def note_imports(self) -> None:
        """In an importer, whose workers needn't look for them again."""
        self.imported = self.modules()
        self.last_inherited = next(reversed(sys.modules))

    def modules(self) -> list[ModuleType]:
        """Of the project, the last one first."""
        return [*leaving.modules_of(self.root, self.last_inherited), *self.imported]


def main(task_fd: int, offer_fd: int | None = None, own_namespace: bool = False) -> int:
    """Does the task that arrives at `task_fd`, now or later; the process's exit status.

    With `offer_fd` it is to read a project, and what imports that may go on as an importer.
    """
    last_inherited = next(reversed(sys.modules))
    streams = _settle()
    channel = _native.Channel(_out_of_the_way(task_fd))
    offer_fd = None if offer_fd is None else _out_of_the_way(offer_fd)
    rehearse(channel.fileno())
    received: tuple[TaskBody, list[int]] | None = channel.receive()
    if received is None:
        return 1  # the engine is gone
    task, fds = received
    os.environ.update(task["environment"])
    _limit_descriptors(int(os.environ.pop("ZERROW_DESCRIPTORS", "0")))
    os.chdir(task["project_dir"])
    sys.path.insert(0, task["project_dir"])
    root = os.path.realpath(task["project_dir"])
    kept = _Kept(_process.OwnProcess(), streams, last_inherited, root)
    offer = None
    if offer_fd is not None:
        offer = Offer(
            offer_fd,
            own_namespace,
            prepare=kept.note_imports,
            work=lambda task_fd: _go_on(kept, task_fd),
            flush=lambda: leaving.flush([sys.stdout, sys.stderr, *streams[1:]]),
        )
    return _perform(kept, task, fds, channel, offer)


def _go_on(kept: _Kept, task_fd: int) -> int:
    """Like `main`, in a process that has imported the project and was forked then."""
    kept.own.adopt()
    # What the import has left of it is the function's; the task's descriptors may be more.
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    channel = _native.Channel(_out_of_the_way(task_fd))
    rehearse(channel.fileno())
    received = channel.receive()
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    return 1 if received is None else _perform(kept, *received, channel, None)


def _perform(
    kept: _Kept,
    task: TaskBody,
    fds: list[int],
    channel: "_native.Channel",
    offer: Offer | None,
) -> int:
    def regain() -> None:  # called when user code has run
        if not kept.own.regain():
            tasks.say("a process that the function had forked came back from it, and was ended")
            exit_process(0)

    if (broker := task.get("broker")) is not None:
        _native.start_shim(_out_of_the_way(fds.pop(broker)))
    task_fd = channel.fileno()
    socket = _identity(task_fd)
    answer = tasks.run(task, fds, channel.send, regain, offer)
    if _identity(task_fd) != socket:
        tasks.say("the function closed file descriptors that it hasn't opened")
        return _UNHEARD
    channel.send(answer.body, answer.fds)
    if task["kind"] in tasks.USERS_CODE:  # others have nothing to take leave of
        leaving.take_leave(kept.streams, kept.modules)
    leaving.flush(kept.streams[1:])
    if answer.handover is not None:
        answer.handover.leave(task_fd)
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
    random_states.renew({})
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
