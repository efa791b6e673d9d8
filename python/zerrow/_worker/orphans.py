"""Where there are no PID namespaces: kills what a worker has left behind.

The zygote and every worker adopt orphans (PR_SET_CHILD_SUBREAPER). While a worker lives, its
daemonized descendants become its own children; when it is dead, they become the zygote's, and so
each child of the zygote that isn't a worker is such an orphan.
"""

import contextlib
import os
import signal


def kill_all(spare: set[int]) -> None:
    """Kills and reaps all children of this process but `spare`, then theirs, until none is left."""
    while orphans := children() - spare:
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in orphans:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def children() -> set[int]:
    """All children of this process's threads, the dead that aren't reaped among them."""
    found: set[int] = set()
    for thread in os.listdir("/proc/self/task"):
        with (
            contextlib.suppress(FileNotFoundError),
            open(f"/proc/self/task/{thread}/children") as f,
        ):
            found.update(map(int, f.read().split()))
    return found
