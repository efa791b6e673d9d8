"""What can be wrong with a project, with the place where the user wrote it."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class ZerrowError(Exception):
    """Whatever Zerrow raises."""


class ProjectError(ZerrowError):
    """A project that can't run as it is written: the message says why, `file` and `line` where."""

    def __init__(self, message: str, file: str = "", line: int = 0, model: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line
        self.model = model

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file and self.line else ""
        return place + self.message


@dataclass(frozen=True)
class Problem:
    """What is wrong, and where; `file` is relative to the project, empty if it isn't known.

    Attributes:
        message: one line, with what to do about it.
        line: 0 if it isn't known.
        model: empty: the project as a whole.
        traceback: the user's own frames, where it was the user's code that failed.
    """

    message: str
    file: str = ""
    line: int = 0
    model: str = ""
    traceback: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file
        text = ": ".join(filter(None, [place, self.model, self.message]))
        return text + ("\n" + self.traceback.rstrip() if self.traceback else "")


class SqlError(ValueError):
    """A text that isn't the SQL that it should be; `line` counts from 1 inside of the text."""

    def __init__(self, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.line = line


class SourceError(ValueError):
    """Files that can't be read, or can't be one table, and why; it names the files."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A suggestion to append to "there is no NAME": close names, else the first known ones."""
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    same = [other for other in names if other.lower() == name.lower()]
    if same or close:
        return "; did you mean " + " or ".join(repr(other) for other in same or close) + "?"
    if not names:
        return ""
    shown = ", ".join(repr(other) for other in names[:8])
    return f"; there are {shown}" + (", ..." if len(names) > 8 else "")
