"""Imports that aren't the first: what they print was shown when the project was read."""

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator

from zerrow._worker.leaving import flush

# Out of the way of functions that close what they didn't open.
_FIRST_OWN_DESCRIPTOR = 1000


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Keeps back what the block prints, and shows it only if the block raises."""
    flush((sys.stdout, sys.stderr))
    kept = os.memfd_create("zerrow: import")
    before = [_duplicate(fd) for fd in (1, 2)]
    for fd in (1, 2):
        os.dup2(kept, fd)
    raised = True
    try:
        yield
        raised = False
    finally:
        flush((sys.stdout, sys.stderr))
        for fd, was in zip((1, 2), before, strict=True):
            os.dup2(was, fd)
            os.close(was)
        if raised:
            size = os.fstat(kept).st_size
            with contextlib.suppress(OSError):
                os.write(2, os.pread(kept, size, 0))
        os.close(kept)


def _duplicate(fd: int) -> int:
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_OWN_DESCRIPTOR)
    except OSError:  # the limit of descriptors is lower
        return os.dup(fd)
