"""A worker's end, after its answer: what a Python process does at its own, as far as users see it.

Non-daemon threads are joined, `atexit` handlers called, the project's modules let go of what they
hold, and files that are still open then are closed. The interpreter itself isn't finalized:
libraries' threads may wait for each other there, taking all modules apart costs more than most
functions, and it would free the output's memory, which the engine has yet to publish. Files are
found among the garbage collector's objects, as a library, a cycle or a thread may hold them.

Nothing here ends by itself if user code doesn't; the engine limits it ($ZERROW_EXIT_TIMEOUT_S).
"""

import _io
import sys
import tempfile
import threading
import traceback
from atexit import _run_exitfuncs as run_exit_handlers
from collections.abc import Callable, Iterable
from contextlib import suppress
from gc import get_objects
from itertools import takewhile
from types import ModuleType
from typing import Any, TextIO

from zerrow import _process
from zerrow._project.tracebacks import relative_file

_IO_BASE: type = _io._IOBase
# Deletes the file; what a user holds is a wrapper of it.
_TEMPORARY: type = tempfile._TemporaryFileCloser  # type: ignore[attr-defined]


def take_leave(streams: Iterable[TextIO], modules: Callable[[], list[ModuleType]]) -> None:
    """Does all of it; never raises. `modules` of the project, the last one first."""
    kept = {id(part) for stream in streams for part in (stream, stream.buffer)}
    _attempt(threading._shutdown)  # type: ignore[attr-defined]
    _attempt(run_exit_handlers)
    _attempt(lambda: _forget_globals(modules()))
    flush(streams)  # someone may have opened their descriptors as files of his own
    _attempt(lambda: _close_files(kept))


def flush(streams: Iterable[TextIO]) -> None:
    """Writes out what Python and C code has printed."""
    for stream in streams:
        # It may be closed, by the user's function or by the engine.
        with suppress(Exception):
            stream.flush()
    _process.flush_stdio()


def _attempt(step: Callable[[], object]) -> None:
    try:
        step()
    except BaseException as problem:
        with suppress(BaseException):
            traceback.print_exception(problem)


def modules_of(root: str, last_inherited: str) -> list[ModuleType]:
    """Those of the project in the (real) folder `root`, the last one first.

    Modules up to the one of the name `last_inherited` are not the project's, or known already.
    """
    # To look at these would copy their pages.
    added = takewhile(lambda entry: entry[0] != last_inherited, reversed(sys.modules.items()))
    files = ((module, getattr(module, "__file__", None)) for _, module in list(added))
    return [
        module
        for module, file in files
        if isinstance(file, str) and relative_file(file, root) is not None
    ]


def _forget_globals(modules: list[ModuleType]) -> None:
    """What only the project's modules hold is deleted, with whatever its deletion does."""
    for module in modules:
        names = vars(module)
        # Imports stand at the top: what is deleted before may still use them.
        for name in reversed([name for name in names if not name.startswith("__")]):
            names[name] = None


def _close_files(kept: set[int]) -> None:
    """Closes files, wrappers before what they wrap, so that the last one's buffer arrives."""
    left = [found for found in get_objects() if _is_file(found) and id(found) not in kept]
    left.sort(key=_layer)
    for ending in ("flush", "close"):
        for file in left:
            with suppress(BaseException):  # closed already, or open for reading
                getattr(file, ending)()


def _is_file(found: object) -> bool:
    kind = type(found)  # isinstance() would ask the object
    return issubclass(kind, _IO_BASE) or kind is _TEMPORARY


def _layer(file: Any) -> int:  # noqa: ANN401
    if issubclass(type(file), _io.TextIOWrapper):
        return 0
    return 2 if type(file).__module__ in ("io", "_io") else 1
