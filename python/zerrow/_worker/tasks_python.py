"""Tasks "python" and "expectation": calls a user's function."""

from builtins import AssertionError
from collections.abc import Callable, Iterable, Mapping
from time import perf_counter
from typing import Any

from zerrow._annotations import arguments_of, output_schema_of
from zerrow._declarations import ModelMark, declared
from zerrow._environments.store import own_packages
from zerrow._findings import Finding, asserted
from zerrow._project.modules import load_module
from zerrow._project.tracebacks import describe_failure, text_of
from zerrow._schemas import columns_of
from zerrow._worker import convert
from zerrow._worker.contracts import keep_contract
from zerrow._worker.json_rows import few_rows
from zerrow._worker.messages import Expected, Result
from zerrow._worker.tasks import Answer, Input, Task, TaskError
from zerrow._worker.unheard import unheard


def run(task: Task) -> Answer:
    """Imports the function's file, calls the function and publishes or answers what it returns."""
    try:
        return _run(task)
    except ModuleNotFoundError as problem:
        packages = own_packages()
        if packages is not None and type(problem) is ModuleNotFoundError:
            problem.add_note(
                f"The model runs in an environment of its own, with {', '.join(packages)}: add the "
                "package to pip=, or, if other functions of the file need it, import it inside of "
                "these"
            )
        raise


def _run(task: Task) -> Answer:
    model = task.body["model"]
    function = _find_function(task.project_dir, task.body["file"], model)
    arguments = _prepare_arguments(function, model, task.inputs, task.body["parameters"])
    schema = output_schema_of(function)
    contract = None if schema is None else columns_of(schema)
    started = perf_counter()
    if task.body["kind"] == "expectation":
        value = _expect(function, arguments, task.project_dir, task.regain)
        return Answer(Result(op="result", value=value))
    result = function(**arguments)
    task.timings["run_s"] = perf_counter() - started
    task.regain()
    table = convert.to_table(result, task.body["function"], contract or ())
    if contract is not None:
        table = keep_contract(table, contract, f"the output of {model!r}")
    task.regain()  # a reader's batches, for one, come from user code as well
    return task.publish(table, split=not convert.is_arrow(result))


def _find_function(project_dir: str, file: str, model: str) -> Callable[..., Any]:
    """The model's function, as the import of the file declares it."""
    if declared(model) is None:  # this process wasn't forked after the import
        with unheard():
            load_module(project_dir, file)
    declaration = declared(model)
    if declaration is None:
        raise TaskError(
            f"importing {file} declares no model {model!r}; it did when the project was read"
        )
    return declaration.target()


def _prepare_arguments(
    function: Callable[..., Any], model: str, inputs: Iterable[Input], parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """The function's inputs in the forms that its annotations ask for, and its parameters.

    TaskError if an input isn't as its schema says.
    """
    wanted = {argument.name: argument for argument in arguments_of(function)}
    arguments = dict(parameters)
    for given in inputs:
        argument = wanted[given.parameter]
        table = given.table
        if isinstance(argument.mark, ModelMark) and argument.mark.schema is not None:
            what = f"the input {given.model!r} of {model!r}"
            table = keep_contract(table, columns_of(argument.mark.schema), what)
        arguments[given.parameter] = convert.from_table(table, argument.form)
    return arguments


def _expect(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    project_dir: str,
    regain: Callable[[], None],
) -> Expected:
    """Whether the expectation is met (`met`), of a failed assert what it said and where, and of a
    standard expectation some of the rows that aren't as expected (`offending`).

    TaskError if it says neither yes nor no.
    """
    try:
        result = function(**arguments)
    except AssertionError as problem:
        regain()
        failure = describe_failure(problem, project_dir)
        finding = asserted(failure.statement or "")
        expected = Expected(met=False) if finding is None else _found(finding)
        message = text_of(problem).strip() or failure.statement or "an assert failed"
        expected.setdefault("message", message)
        expected["file"] = failure.file
        expected["line"] = failure.line
        expected["traceback"] = failure.traceback
        return expected
    regain()
    if isinstance(result, Finding):
        return _found(result)
    result = result.as_py() if hasattr(result, "as_py") else result
    if type(result).__name__ not in ("bool", "bool_"):
        raise TaskError(
            f"{function.__name__}() is an expectation and must return True or False, "
            f"not {type(result).__name__}"
        )
    return Expected(met=bool(result))


def _found(finding: Finding) -> Expected:
    if finding.met:
        return Expected(met=True)
    found = Expected(met=False, message=finding.message)
    if finding.rows is not None:
        found["offending"] = few_rows(finding.rows, finding.count or finding.rows.num_rows)
    return found
