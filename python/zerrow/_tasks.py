"""The tasks that a worker can be given, and what all of them need: inputs, outputs, failures."""

import importlib
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from zerrow import _native
from zerrow._tracebacks import describe_failure


@dataclass
class Answer:
    """A message to the engine and its descriptors."""

    body: dict[str, Any]
    fds: list[int] = field(default_factory=list)


class TaskError(Exception):
    """A task can't be done, and why, in words for the user: shown without a traceback."""


@dataclass
class Input:
    """A table that the task was given, under the name that the function knows it by."""

    parameter: str
    model: str
    table: pa.Table


def narrow(table: pa.Table, columns: list[str] | None, condition: str | None) -> pa.Table:
    """The rows for which the condition is true, and of these the columns; None asks for all."""
    if condition is not None:
        from zerrow._tasks_native import filter_table

        table = filter_table(table, condition)
    return table if columns is None else table.select(columns)


class Task:
    """The engine's request, with its inputs opened."""

    def __init__(
        self, body: dict[str, Any], fds: list[int], tell: Callable[[dict[str, Any]], None]
    ) -> None:
        self.body = body
        self.tell = tell  # sends the engine a message before the answer
        self.project_dir: str = body["project_dir"]
        self._handover = _native.Handover()
        self._opened: list[pa.Table] = []  # as they came, before projection and filter
        self.timings: dict[str, float] = {}
        started = time.perf_counter()
        self.inputs = [self._open(entry, fds) for entry in body.get("inputs", ())]
        self.timings["open_s"] = time.perf_counter() - started
        for fd in fds:
            os.close(fd)

    def _open(self, entry: dict[str, Any], fds: list[int]) -> Input:
        segments = [(s["id"], s["size"], fds[s["fd"]]) for s in entry.get("segments") or ()]
        table = self._handover.open(entry["format"], fds[entry["message"]], segments)
        self._opened.append(table)
        table = narrow(table, entry.get("columns"), entry.get("filter"))
        return Input(entry["parameter"], entry["model"], table)

    def publish(self, table: pa.Table) -> Answer:
        """Hands the output over to the engine."""
        self._check_columns(table)
        started = time.perf_counter()
        fields, fds = self._handover.publish(
            table,
            backend=self.body["backend"],
            segment=self.body.get("segment") or 0,
            compare_with=self._opened if self.body.get("account") else [],
        )
        if reason := fields.pop("not_moved"):
            sys.stderr.write(f"zerrow: the output was copied, not moved: {reason}\n")
        _published.append(table)
        self.timings["encode_s"] = time.perf_counter() - started
        self.timings["cpu_s"] = time.process_time()
        return Answer({"op": "output", **fields, "timings": self.timings}, fds)

    def _check_columns(self, table: pa.Table) -> None:
        declared = self.body.get("columns")
        if self.body["kind"] == "source" or declared is None or table.column_names == declared:
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
            f"the output of {self.body.get('model')!r} doesn't have the declared columns "
            f"{', '.join(map(repr, declared))}: {' and '.join(reasons)}"
        )


# Outputs, kept until the process ends: memory that is freed goes back to the engine at once, and
# the engine would find that the message refers to what the worker doesn't have any more.
_published: list[pa.Table] = []

# kind -> module with `run(task) -> Answer`; a module is imported when it is needed.
_KINDS = {
    "discover": "zerrow._tasks_discover",
    "source": "zerrow._tasks_source",
    "python": "zerrow._tasks_python",
    "expectation": "zerrow._tasks_python",
    "sql": "zerrow._tasks_sql",
    "native": "zerrow._tasks_native",
    "preview": "zerrow._tasks_results",
    "export": "zerrow._tasks_results",
}


def run(body: dict[str, Any], fds: list[int], tell: Callable[[dict[str, Any]], None]) -> Answer:
    """Does a task. Never raises: what goes wrong is the answer, SystemExit and Ctrl-C too."""
    try:
        module = importlib.import_module(_KINDS[body["kind"]])
        perform: Callable[[Task], Answer] = module.run
        return perform(Task(body, fds, tell))
    except TaskError as problem:
        failure = describe_failure(problem, body["project_dir"])
        return _failed(str(problem), failure.file, failure.line, "")
    except BaseException as problem:
        failure = describe_failure(problem, body["project_dir"])
        if not failure.file:  # no user's frame to show: then Zerrow's own may help
            traceback.print_exception(problem)
        return _failed(failure.message, failure.file, failure.line, failure.traceback)


def _failed(message: str, file: str, line: int, trace: str) -> Answer:
    error = {"message": message, "file": file, "line": line, "traceback": trace}
    return Answer({"op": "failed", "error": error})
