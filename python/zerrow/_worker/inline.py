"""`zerrow run --inline MODEL`: calls one model's function here, in the terminal, for debugging.

What it needs is run first as always, each function in a process of its own. The function itself is
then called in this process, where breakpoint(), pdb and print work as in any script.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from zerrow._errors import Problem

_FAILED = 1
_USAGE = 2


def main() -> int:
    """Entry point of `python -m zerrow._worker.inline`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="zerrow run --inline")
    parser.add_argument("--project", default=".")
    parser.add_argument("--param", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("model")
    arguments = parser.parse_args()
    parameters = dict(text.split("=", 1) for text in arguments.param)
    return run_inline(Path(arguments.project).absolute(), arguments.model, parameters)


def run_inline(project_dir: Path, name: str, parameters: dict[str, str]) -> int:
    """Runs the model's ancestors in the engine and the model here; the command's exit code.

    What the function raises is raised.
    """
    from zerrow._project.discovery import describe

    caller_dir = Path.cwd()
    os.chdir(project_dir)  # as in a worker
    description = describe(project_dir, parameters)
    if description["errors"]:
        for error in description["errors"]:
            print(_line(error), file=sys.stderr)
        return _FAILED
    model = next((m for m in description["models"] if m["name"] == name), None)
    if model is None:
        print(f"zerrow: the project has no model {name!r}", file=sys.stderr)
        return _USAGE
    if model["function"] is None:
        print(
            f"zerrow: {name!r} is a {model['kind']} model: only a Python function can be called "
            f"here; zerrow show {name} prints its rows",
            file=sys.stderr,
        )
        return _USAGE
    result = _call(project_dir, model, description, _inputs(project_dir, model, description))
    os.chdir(caller_dir)
    _show(model, result)
    return 0


def _line(error: dict[str, Any]) -> str:
    problem = Problem(**error)
    place = f"{problem.file}:{problem.line}: " if problem.file else ""
    model = f"{problem.model}: " if problem.model else ""
    return f"{place}{model}{problem.message}\n{problem.traceback}".rstrip()


def _inputs(project_dir: Path, model: dict[str, Any], description: dict[str, Any]) -> list[Any]:
    """The model's inputs: sources are read here, models are run by the engine."""
    import zerrow
    from zerrow._worker.dictionaries import as_chosen
    from zerrow._worker.tasks import Input, narrow
    from zerrow._worker.tasks_source import read_table

    sources = {source["table"]: source["files"] for source in description["sources"]}
    parents = [given["model"] for given in model["inputs"] if given["model"] not in sources]
    values = {parameter["name"]: parameter["value"] for parameter in description["parameters"]}
    run = (
        zerrow.run(project_dir, parameters=values, select=parents, keep=parents)
        if parents
        else None
    )
    inputs = []
    for given in model["inputs"]:
        columns, condition = given["columns"], given["filter"]
        if given["model"] in sources:
            needed = columns
            if columns is not None:
                needed = list(dict.fromkeys([*columns, *given.get("filter_columns", ())]))
            table = read_table(sources[given["model"]], needed, condition)
        else:
            assert run is not None
            table = run.table(given["model"])
        table = as_chosen(narrow(table, columns, condition), given["dictionary"])
        inputs.append(Input(given["parameter"], given["model"], table))
    return inputs


def _call(
    project_dir: Path, model: dict[str, Any], description: dict[str, Any], inputs: list[Any]
) -> Any:  # noqa: ANN401
    from zerrow._worker import convert
    from zerrow._worker.tasks_python import expect, find_function, prepare_arguments

    function = find_function(project_dir, model["module"], model["name"])
    values = {parameter["name"]: parameter["value"] for parameter in description["parameters"]}
    own = {given["argument"]: values[given["name"]] for given in model["parameters"]}
    arguments = prepare_arguments(function, inputs, own)
    if model["kind"] == "expectation":
        return expect(function, arguments, project_dir)
    return convert.to_table(function(**arguments), model["function"])


def _show(model: dict[str, Any], result: Any) -> None:  # noqa: ANN401
    if model["kind"] == "expectation":
        text = f": {result['message']}" if result.get("message") else ""
        print(f"{model['name']}: {'met' if result['met'] else 'not met'}{text}")
        return
    print(f"{model['name']}: {result.num_rows:,} rows")
    print(result.slice(0, 10).to_string(preview_cols=20))


if __name__ == "__main__":
    sys.exit(main())
