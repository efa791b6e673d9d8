"""Tasks "python" and "expectation": calls a user's function."""

import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from zerrow import _convert
from zerrow._modules import load_module
from zerrow._tasks import Answer, Input, Task, TaskError


def run(task: Task) -> Answer:
    """Imports the function's file, calls the function and publishes or answers what it returns."""
    function = find_function(task)
    arguments = prepare_arguments(function, task.inputs, task.body.get("parameters") or {})
    started = time.perf_counter()
    if task.body["kind"] == "expectation":
        return Answer({"op": "result", "value": expect(function, arguments)})
    result = function(**arguments)
    task.timings["run_s"] = time.perf_counter() - started
    table = _convert.to_table(result, task.body["function"])
    return task.publish(table)


def find_function(task: Task) -> Callable[..., Any]:
    """The function that the task names, from its file."""
    module = load_module(task.project_dir, task.body["file"])
    function: Callable[..., Any] | None = getattr(module, task.body["function"], None)
    if function is None:
        raise TaskError(f"{task.body['file']} has no function {task.body['function']!r}")
    return function


def prepare_arguments(
    function: Callable[..., Any], inputs: Iterable[Input], parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """The function's inputs in the forms that its annotations ask for, and its parameters."""
    forms = _convert.wanted_forms(function)
    arguments = dict(parameters)
    for given in inputs:
        form = forms.get(given.parameter, "pyarrow")
        arguments[given.parameter] = _convert.from_table(given.table, form)
    return arguments


def expect(function: Callable[..., Any], arguments: Mapping[str, Any]) -> bool:
    """What the expectation answers; a failed assert is False. TaskError if it's not a bool."""
    try:
        result = function(**arguments)
    except AssertionError as problem:
        # A failed assert is an answer. What it said goes where the function's prints go.
        sys.stderr.write("".join(traceback.format_exception_only(problem)))
        return False
    result = result.as_py() if hasattr(result, "as_py") else result
    if type(result).__name__ not in ("bool", "bool_"):
        raise TaskError(
            f"{function.__name__}() is an expectation and must return True or False, "
            f"not {type(result).__name__}"
        )
    return bool(result)
