"""Calls what is registered for a descriptor when there is something to read."""

import select
from collections.abc import Callable


class Watcher:
    """For the loops of processes that start others; one thread."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._calls: dict[int, Callable[[], object]] = {}

    def add(self, fd: int, call: Callable[[], object]) -> None:
        """Until `remove`, which must come before the descriptor is closed."""
        self._calls[fd] = call
        self._poll.register(fd, select.POLLIN)

    def remove(self, fd: int) -> None:
        """One that isn't watched is fine."""
        if self._calls.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def wait(self, patience_s: float | None = None) -> None:
        """Calls what is due, once something is or that time has passed."""
        for fd, _ in self._poll.poll(None if patience_s is None else patience_s * 1000):
            # A call before may have removed it.
            if call := self._calls.get(fd):
                call()
