"""The engine of this Python process: made for the first run, kept between runs.

It keeps what is dear to make: processes that have imported libraries, and shared memory. A process
that was forked from this one makes an engine of its own, as the threads of this one's don't exist
there. It is stopped at exit, before the interpreter is taken down.
"""

import atexit
import os
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zerrow._engine import Engine

# What an idle process with imported libraries costs, some 60 MB, shouldn't be paid for ever.
_ZYGOTE_IDLE_S = 60.0


class KeptEngine:
    """Holds the engine. Any thread."""

    _lock: AbstractContextManager[object]
    _engine: "Engine | None"
    _settings: dict[str, str]

    def __init__(self) -> None:
        self.forget()

    def get(self, python: str) -> "Engine":
        """The engine, made if there is none for what the environment says now."""
        from zerrow import _engine

        settings = {"python": python, "shim_path": _shim_path()}
        with self._lock:
            if self._engine is None or self._settings != settings:
                # Runs that are under way keep the one that they are in.
                self._engine = _engine.Engine.make(**settings, zygote_idle_s=_ZYGOTE_IDLE_S)
                self._settings = settings
            return self._engine

    def stop(self) -> None:
        """Ends the engine and all its processes; the next run makes another one."""
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.stop()

    def forget(self) -> None:
        """Begins anew in a forked process, where another thread may hold the lock for ever."""
        self._lock = threading.RLock()  # a signal handler may run a project, too
        self._engine = None
        self._settings = {}


def _shim_path() -> str:
    shim = Path(__file__).parent / "_bin" / "libzerrow_shim.so"
    return str(shim) if shim.exists() else ""


kept = KeptEngine()
os.register_at_fork(after_in_child=kept.forget)
atexit.register(kept.stop)
