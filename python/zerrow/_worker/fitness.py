"""Whether a process that has imported a project may be forked in its stead.

A worker that is forked afterwards must be like one that imports the project itself. So nothing may
be there that forked processes would share or would lack: threads, open files, child processes,
shared memory, timers, what is cleaned up at a process's end. What can be seen is looked for; what
can't is told by the calls that make it. The engine isn't harmed by what is overlooked, only the
project's functions are: it is their code that does it.

Without other threads whoever holds a lock is the main thread, and goes on holding it in a forked
process under the same identity, as it would after an import of its own.
"""

import atexit
import gc
import os
import signal
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from zerrow._project.tracebacks import relative_file
from zerrow._worker import orphans, random_states, threads
from zerrow._worker.isolation import numbers_of

# Handled by Python code. SIGALRM stands for timers, and SIGCHLD's handler would meet the workers.
_SIGNALS = (signal.SIGALRM, signal.SIGCHLD)
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


class Watch:
    """Begins before a project is imported; `problem` is asked afterwards, and ends it."""

    def __init__(self, project_dir: str) -> None:
        self._root = os.path.realpath(project_dir)
        self._modules = set(sys.modules)
        self._files = _open_files()
        self._shared = set(_shared_memory())
        self._handlers = [signal.getsignal(number) for number in _SIGNALS]
        self._finalizers = _finalizers()
        self._random = random_states.states()
        self._told: list[str] = []
        self._undo = [
            self._note_calls(atexit, "register", "at a process's end"),
            self._note_calls(os, "register_at_fork", "where a process is forked"),
        ]
        self.seeded: dict[str, Any] = {}  # the random states that the import has set

    def problem(self, files: int, own_namespace: bool) -> str:
        """Why this process may not be forked, in words that follow "importing it"; empty if it may.

        `files` of the project were imported. `own_namespace`: all processes that are seen in /proc
        were started by this one.
        """
        for undo in self._undo:
            undo()
        self.seeded = random_states.seeded(self._random)
        random_states.renew_names()
        gc.collect()  # what nobody holds isn't left
        return next(self._problems(files, own_namespace), "")

    def _problems(self, files: int, own_namespace: bool) -> Iterator[str]:
        yield from self._told
        if thread := threads.unfit_thread():
            yield f"left {thread} running"
        if child := _child_process(own_namespace):
            yield f"left a process running ({child})"
        for fd, target in _open_files().items():
            if self._files.get(fd) != target:
                yield f"left {_described(target)} open"
        for path in _shared_memory():
            if path not in self._shared:
                yield f"made memory that forked processes would share ({path or 'anonymous'})"
        if any(signal.getitimer(timer)[0] > 0 for timer in _TIMERS):
            yield "left a timer running"
        for number, handler in zip(_SIGNALS, self._handlers, strict=True):
            if signal.getsignal(number) is not handler:
                yield f"handles {number.name}"
        yield from (
            f"left something to be cleaned up at a process's end ({name})"
            for key, name in _finalizers().items()
            if key not in self._finalizers
        )
        yield from self._object_problems()
        if self.seeded and files > 1:
            yield "seeds random numbers in one file, and the project's others would share them"

    def _object_problems(self) -> Iterator[str]:
        """Objects that would be the same in all workers, or whose deletion does something."""
        own = {
            name
            for name, module in list(sys.modules.items())
            if name not in self._modules
            and relative_file(str(getattr(module, "__file__", None)), self._root) is not None
        }
        finalized: dict[type, bool] = {}
        generators: dict[type, bool] = {}
        # Without what the zygote has imported, as that is frozen.
        for found in gc.get_objects():
            kind = type(found)
            if kind not in finalized:
                finalized[kind] = kind.__module__ in own and hasattr(kind, "__del__")
                generators[kind] = random_states.is_generator(kind)
            if finalized[kind]:
                yield f"made an object whose deletion does something ({kind.__qualname__})"
            if generators[kind] and random_states.is_unseeded(found):
                yield f"made a generator of random numbers without a seed ({kind.__qualname__})"

    def _note_calls(self, module: Any, name: str, when: str) -> Callable[[], None]:  # noqa: ANN401
        """Notes that the project's own code asks for something to be done later.

        What a library asks for is its own affair: it knows the process that it acts on.
        """
        original = getattr(module, name)

        def noting(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            frame = sys._getframe(1)
            file = relative_file(frame.f_code.co_filename, self._root)
            if file is not None:
                self._told.append(f"asks for something to be done {when} ({file}:{frame.f_lineno})")
            return original(*args, **kwargs)

        def undo() -> None:
            if getattr(module, name, None) is noting:
                setattr(module, name, original)

        setattr(module, name, noting)
        return undo


def _open_files() -> dict[int, str]:
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            found[int(fd)] = os.readlink(f"/proc/self/fd/{fd}")
    return found


def _described(target: str) -> str:
    kind, colon, _ = target.partition(":")
    if target.startswith("/") or not colon:
        return target
    return {"socket": "a socket", "pipe": "a pipe"}.get(kind, target)


def _shared_memory() -> Iterator[str]:
    """What is mapped shared and may be written."""
    with open("/proc/self/maps") as lines:
        for line in lines:  # a thousand, few of which are taken apart
            permissions = line.split(" ", 2)[1]
            if permissions[1:4:2] == "ws":
                yield "".join(line.rstrip("\n").split(maxsplit=5)[5:])


def _child_process(own_namespace: bool) -> str | None:
    for pid in orphans.children():
        return _command(pid)
    if own_namespace:
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            # The first processes of the workers' namespaces are numbered in two.
            if pid not in (1, os.getpid()) and len(numbers_of(pid)) == 1:
                return _command(pid)
    return None


def _command(pid: int) -> str:
    with suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read(200).replace(b"\0", b" ").decode(errors="replace").strip() or str(pid)
    return str(pid)


def _finalizers() -> dict[int, str]:
    """What `weakref.finalize` calls at the end, as a temporary folder's object does."""
    registry: dict[Any, Any] = getattr(weakref.finalize, "_registry", {})
    return {
        id(info): getattr(info.func, "__qualname__", type(info.func).__name__)
        for info in list(registry.values())
        if getattr(info, "atexit", False)
    }
