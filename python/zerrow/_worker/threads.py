"""Whose are the threads of this process that Python didn't start: by what lies on their stacks.

A thread's stack holds where its function returns to, and glibc keeps the address of the function
that it began with at the stack's end: from these the library is known, whatever the thread is
called. Only of threads that wait in the kernel: their stacks don't change while they are read.
"""

import os
import threading
import time
from bisect import bisect_right
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

# Their threads wait for work between calls and are made anew in a forked process: they say so to
# pthread_atfork. tests/e2e/test_import_once.py forks while they are there, and uses them after.
_SURVIVE_FORKS = ("libarrow", "libopenblas", "libscipy_openblas")
# On every stack, or called by the others.
_COMMON = (
    *("libc", "ld-linux", "libpthread", "libm", "libdl", "librt"),
    *("libgcc_s", "libstdc++", "libgfortran", "libquadmath", "libzerrow_shim"),
)

_MOST_STACK_BYTES = 1 << 20
_PATIENCE_S = 0.2


@dataclass(frozen=True)
class Mapping:
    """A line of /proc/self/maps."""

    start: int
    end: int
    permissions: str
    path: str


def mappings() -> list[Mapping]:
    """What is mapped into this process, by address."""
    found = []
    with open("/proc/self/maps") as lines:
        for line in lines:
            span, permissions, _, _, _, *path = line.rstrip("\n").split(maxsplit=5)
            start, end = (int(address, 16) for address in span.split("-"))
            found.append(Mapping(start, end, permissions, path[0] if path else ""))
    return found


def unfit_thread() -> str | None:
    """Which thread of this process might not survive a fork, in words; None if each would."""
    me = threading.get_native_id()
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            return f"the Python thread {thread.name!r}"
    deadline = time.monotonic() + _PATIENCE_S  # one may be about to end, or to wait for work
    while True:
        left = [tid for tid in map(int, os.listdir("/proc/self/task")) if tid != me]
        problem = _first_unfit(left) if left else None
        if problem is None or time.monotonic() > deadline:
            return problem
        time.sleep(0.01)


def _first_unfit(tids: list[int]) -> str | None:
    mapped = mappings()
    for tid in tids:
        libraries = _libraries_of(tid, mapped)
        if libraries is None:
            return f"a thread {_name(tid)!r} that is at work"
        others = [path for path in libraries if not _is_of(path, _COMMON)]
        unknown = [path for path in others if not _is_of(path, _SURVIVE_FORKS)]
        if unknown or not others:
            return f"a thread of {', '.join(map(_package, unknown)) or _name(tid)}"
    return None


def _is_of(path: str, libraries: tuple[str, ...]) -> bool:
    return os.path.basename(path).startswith(libraries)


def _package(path: str) -> str:
    """Who a library comes with, as users know it."""
    _, installed, relative = path.rpartition("/site-packages/")
    return relative.partition("/")[0] if installed else os.path.basename(path)


def _name(tid: int) -> str:
    with suppress(OSError), open(f"/proc/self/task/{tid}/comm") as file:
        return file.read().strip()
    return str(tid)


def _libraries_of(tid: int, mapped: list[Mapping]) -> list[str] | None:
    """The files whose code the thread's stack refers to. None: it runs, or it is unknown."""
    try:
        with open(f"/proc/self/task/{tid}/syscall") as file:
            fields = file.read().split()
        if len(fields) != 9:  # number, six arguments, stack, place
            return None
        return _referred(_stack(int(fields[-2], 16), mapped), mapped)
    except OSError:
        return None


def _stack(pointer: int, mapped: list[Mapping]) -> bytes:
    for mapping in mapped:
        if mapping.start <= pointer < mapping.end:
            with open("/proc/self/mem", "rb", buffering=0) as memory:
                memory.seek(pointer)
                return memory.read(min(mapping.end - pointer, _MOST_STACK_BYTES))
    return b""


def _referred(stack: bytes, mapped: Iterable[Mapping]) -> list[str]:
    code = [mapping for mapping in mapped if "x" in mapping.permissions and mapping.path]
    starts = [mapping.start for mapping in code]
    found = set()
    for word in memoryview(stack)[: len(stack) & ~7].cast("Q"):
        place = bisect_right(starts, word) - 1
        if place >= 0 and word < code[place].end:
            found.add(code[place].path)
    return sorted(found - {"[vdso]", "[vsyscall]"})
