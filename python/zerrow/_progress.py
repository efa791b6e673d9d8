"""How a run goes, shown in a notebook: one line of HTML that is updated until the run ends."""

import time
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from zerrow._html import ipython_shell

if TYPE_CHECKING:
    from zerrow._engine import Event

_EVERY_S = 0.25
_MOST_NAMED = 8


def in_notebook() -> bool:
    """Whether this process is the kernel of one."""
    return getattr(ipython_shell(), "kernel", None) is not None


@dataclass
class _Running:
    began: float
    expected_s: float | None
    memory_bytes: int = 0


class NotebookProgress:
    """Shows the progress of a run, which its events tell, below the cell that runs it."""

    def __init__(self) -> None:
        from IPython import display

        shown: Any = display  # without types
        self._html = shown.HTML
        self._total = 0
        self._finished: set[str] = set()
        self._running: dict[str, _Running] = {}
        self._began = self._shown = time.monotonic()
        self._handle = shown.display(self._html(self._text()), display_id=True)

    def note(self, event: "Event | None") -> None:
        """Takes in what happened, if something did; shows it, but not too often."""
        if event is not None:
            self._take(event)
        if time.monotonic() - self._shown > _EVERY_S:
            self.show()

    def show(self) -> None:
        """Shows it now."""
        self._handle.update(self._html(self._text()))
        self._shown = time.monotonic()

    def _take(self, event: "Event") -> None:
        if event[0] == "planned":
            self._total = len(event[1])
        elif event[0] == "started":
            self._finished.discard(event[1])
            self._running[event[1]] = _Running(time.monotonic(), event[2])
        elif event[0] == "measured":
            for model, memory_bytes in event[1].items():
                if model in self._running:
                    self._running[model].memory_bytes = memory_bytes
        elif event[0] == "finished":
            self._running.pop(event[1], None)
            self._finished.add(event[1])

    def _text(self) -> str:
        """How far it is, and what runs."""
        now = time.monotonic()
        parts = [f"[{len(self._finished)}/{self._total}] {now - self._began:.1f} s"]
        for model, running in list(self._running.items())[:_MOST_NAMED]:
            text = f"{escape(model)}: {now - running.began:.0f} s"
            if running.expected_s is not None:
                text += f" of about {running.expected_s:.0f} s"
            if running.memory_bytes:
                text += f", {running.memory_bytes / 1e6:,.0f} MB"
            parts.append(text)
        return "<br>".join(parts)
