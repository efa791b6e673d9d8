"""What each task does is done once for nothing, while a worker that was forked ahead of need waits.

A forked process copies each page that it writes to, and counting a reference is a write. What the
handover of any table touches is copied here, not when inputs are there and somebody waits.
"""

import os
from contextlib import suppress
from select import select

import pyarrow as pa
from zerrow import _native


def rehearse(task_fd: int) -> None:
    """Unless the task has arrived already; never raises."""
    if select([task_fd], [], [], 0)[0]:
        return
    with suppress(Exception):
        handover = _native.Handover()
        _, fds = handover.publish(pa.table({"": [0]}), backend="memfd")
        for fd in fds:
            handover.open("sipc", fd)
            os.close(fd)
