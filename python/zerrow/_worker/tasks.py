"""The tasks that a worker can be given, and what all of them need: inputs, outputs, failures.

What is called after user code has run is bound here before: user code may replace what it likes in
the modules of its process.
"""

import importlib
import traceback
from builtins import BaseException
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from os import close, write
from time import perf_counter, process_time
from typing import Protocol

import pyarrow as pa
from zerrow import _native
from zerrow._project.tracebacks import describe_failure, text_of
from zerrow._worker import dictionaries
from zerrow._worker.importer import Offer
from zerrow._worker.messages import (
    Decoded,
    Error,
    Failed,
    Importing,
    Output,
    Result,
    Scanned,
    TaskBody,
    TaskInput,
)


@dataclass
class Answer:
    """A message to the engine and its descriptors."""

    body: Output | Scanned | Result | Failed
    fds: list[int] = field(default_factory=list)
    handover: "_native.Handover | None" = None  # of an output


class Tell(Protocol):
    """Sends the engine a message before the answer, and copies of descriptors."""

    def __call__(self, body: Importing | Decoded, fds: list[int] = ..., /) -> None:
        """Returns when the message is sent."""


class TaskError(Exception):
    """A task can't be done, and why, in words for the user: shown without a traceback.

    `line`: of the model's own file; 0: that of the model.
    """

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


@dataclass
class Input:
    """A table that the task was given, under the name that the function knows it by."""

    parameter: str
    model: str
    table: pa.Table


def narrow(table: pa.Table, columns: list[str] | None, condition: str | None) -> pa.Table:
    """The rows for which the condition is true, and of these the columns; None asks for all."""
    if condition is not None:
        from zerrow._sql.filters import filter_table

        text = condition
        table = dictionaries.computed({"": table}, lambda given: filter_table(given[""], text))
    return table if columns is None else table.select(columns)


def without_columns(rows: int) -> pa.Table:
    """Rows alone; a table of no columns can't be made otherwise."""
    return pa.table({"": pa.nulls(rows)}).select([])


class Task:
    """The engine's request, with its inputs opened."""

    def __init__(
        self,
        body: TaskBody,
        fds: list[int],
        tell: Tell,
        regain: Callable[[], None],
        offer: Offer | None = None,
    ) -> None:
        self.body = body
        self.tell = tell
        self.regain = regain  # to be called when user code has run
        self.offer = offer  # to import for others too
        self.project_dir: str = body["project_dir"]
        self._handover = _native.Handover()
        self.timings: dict[str, float] = {}
        started = perf_counter()
        self.inputs = [self._open(entry, fds) for entry in body["inputs"]]
        self.timings["open_s"] = perf_counter() - started
        for fd in fds:
            close(fd)

    def _open(self, entry: TaskInput, fds: list[int]) -> Input:
        segments = [(s["id"], s["size"], fds[s["fd"]]) for s in entry.get("segments", ())]
        message = fds[entry["message"]]
        message_id = entry.get("message_id", 0)
        table = self._handover.open(entry["format"], message, segments, message_id)
        table = narrow(table, entry.get("columns"), entry.get("filter"))
        table = dictionaries.as_chosen(table, entry.get("dictionary", "never"))
        return Input(entry["parameter"], entry["model"], table)

    def publish(self, table: pa.Table, split: bool = False) -> Answer:
        """Hands the output over to the engine; `split`: nobody has chosen its chunks."""
        self._check_columns(table)
        started = perf_counter()
        fields, fds = self._handover.publish(
            table,
            backend=self.body["backend"],
            segment=self.body.get("segment", 0),
            content_reshare=self.body["content_reshare"],
            split=split,
            account=self.body["account"],
            hash=self.body["hash"],
            # By a finalizer, for instance, or a thread.
            looked_at=self.body["kind"] in USERS_CODE,
        )
        if reason := fields.pop("not_moved"):
            say(f"the output was copied, not moved: {reason}")
        _published.append(table)
        self.timings["encode_s"] = perf_counter() - started
        self.timings["cpu_s"] = process_time()
        output = Output(op="output", timings=self.timings, **fields)  # type: ignore[typeddict-item]
        return Answer(output, fds, self._handover)

    def _check_columns(self, table: pa.Table) -> None:
        declared = self.body["columns"]
        if declared is None or table.column_names == declared:
            return
        missing = [name for name in declared if name not in table.column_names]
        surplus = [name for name in table.column_names if name not in declared]
        reasons = []
        if missing:
            reasons.append(f"it lacks {', '.join(map(repr, missing))}")
        if surplus:
            reasons.append(f"it has {', '.join(map(repr, surplus))} besides")
        if not reasons:
            reasons.append(f"their order is {', '.join(map(repr, table.column_names))}")
        raise TaskError(
            f"the output of {self.body['model']!r} doesn't have the declared columns "
            f"{', '.join(map(repr, declared))}: {' and '.join(reasons)}"
        )


# Outputs, kept until the process ends: memory that is freed goes back to the engine at once, and
# the engine would find that the message refers to what the worker doesn't have any more.
_published: list[pa.Table] = []

# kind -> module with `run(task) -> Answer`; a module is imported when it is needed.
_KINDS = {
    "discover": "zerrow._worker.tasks_discover",
    "environment": "zerrow._worker.tasks_environment",
    "source": "zerrow._worker.tasks_source",
    "filter": "zerrow._worker.tasks_filter",
    "python": "zerrow._worker.tasks_python",
    "expectation": "zerrow._worker.tasks_python",
    "sql": "zerrow._worker.tasks_sql",
    "native": "zerrow._worker.tasks_native",
    "preview": "zerrow._worker.tasks_results",
    "export": "zerrow._worker.tasks_results",
}


# Tasks in which user code runs.
USERS_CODE = {"discover", "python", "expectation"}


def run(
    body: TaskBody,
    fds: list[int],
    tell: Tell,
    regain: Callable[[], None],
    offer: Offer | None = None,
) -> Answer:
    """Does a task. Never raises: what goes wrong is the answer, SystemExit and Ctrl-C too."""
    try:
        module = importlib.import_module(_KINDS[body["kind"]])
        perform: Callable[[Task], Answer] = module.run
        answer = perform(Task(body, fds, tell, regain, offer))
        regain()
        return answer
    except BaseException as problem:
        regain()
        failure = describe_failure(problem, body["project_dir"])
        if isinstance(problem, TaskError):
            return _failed(text_of(problem), failure.file, failure.line or problem.line, "")
        if not failure.file:  # no user's frame to show: then Zerrow's own may help
            with suppress(BaseException):
                say("".join(traceback.format_exception(problem)))
        return _failed(failure.message, failure.file, failure.line, failure.traceback)


def say(text: str) -> None:
    """Prints to the process's stderr, whatever user code has made of sys.stderr."""
    with suppress(OSError):
        write(2, f"zerrow: {text.rstrip()}\n".encode(errors="backslashreplace"))


def _failed(message: str, file: str, line: int, trace: str) -> Answer:
    error = Error(message=message, file=file, line=line, traceback=trace)
    return Answer(Failed(op="failed", error=error))
