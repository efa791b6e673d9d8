"""What can go wrong with a run, as `zerrow.run` and its results raise it."""

from typing import TYPE_CHECKING

from zerrow._errors import ZerrowError

if TYPE_CHECKING:
    from zerrow._run import RunResult


class RunError(ZerrowError):
    """A run that didn't succeed; `result` is what there is of it, None if it never began."""

    def __init__(self, message: str, result: "RunResult | None" = None) -> None:
        super().__init__(message)
        self.result = result


class InvalidProjectError(RunError):
    """The project has mistakes, and nothing was run: the message lists them with their places."""


class ModelError(RunError):
    """At least one model or expectation failed; the others were finished."""


class EngineError(RunError):
    """Zerrow itself couldn't go on: its processes don't start, the system refuses something."""


class InvalidOptionsError(RunError, ValueError):
    """An argument that makes no sense: a folder, a backend, a number."""


class UnknownTableError(ZerrowError, KeyError):
    """A table that a result doesn't have: its model failed, wasn't kept or isn't there."""

    __str__ = Exception.__str__  # a KeyError's is the message's repr
