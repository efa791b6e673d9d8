"""From decorated functions to entries of the project description."""

import inspect
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from zerrow._declarations import Declaration, Model, Parameter, collector
from zerrow._description import Input, ModelEntry, Project
from zerrow._errors import Problem, ProjectError
from zerrow._modules import (
    ImportTimeoutError,
    PythonFile,
    import_time_s,
    load_module,
    time_limit,
)
from zerrow._tracebacks import describe_failure, relative_file


def read_python_models(
    project: Project, files: list[PythonFile], on_import: Callable[[str], None] | None = None
) -> None:
    """Imports the files and adds their models to the project; what is wrong becomes a problem.

    `on_import` is called with each file before it is imported, so that somebody knows which file it
    was if this process doesn't survive.
    """
    declarations: list[Declaration] = []
    token = collector.set(declarations)
    deadline = time.monotonic() + import_time_s()
    try:
        for file in files:
            if on_import is not None:
                on_import(file.path)
            problem = _import(project, file.path, deadline)
            if isinstance(problem, ImportTimeoutError):
                break
    finally:
        collector.reset(token)
    root = os.path.realpath(project.directory)
    imports = {file.path: file.imports for file in files}
    for declaration in declarations:
        module = sys.modules.get(declaration.function.__module__)
        path = relative_file(declaration.file, root)
        if module is None or path is None:
            continue  # of a file whose import failed, or of a library
        try:
            project.models.append(_entry(declaration, path, module, imports.get(path, [])))
        except ProjectError as problem:
            project.report(problem)


def _import(project: Project, path: str, deadline: float) -> BaseException | None:
    """Imports a file until the deadline at most; returns what it raised, which is reported."""
    try:
        with time_limit(max(deadline - time.monotonic(), 0.001)):
            load_module(project.directory, path)
    except BaseException as problem:  # SystemExit is the user's mistake as well
        found = _import_problem(problem, path, project.directory)
        # A file that fails fails again in each that imports it: once is enough.
        if not any(
            (known.file, known.line) == (found.file, found.line) for known in project.problems
        ):
            project.problems.append(found)
        return problem
    return None


def _import_problem(problem: BaseException, path: str, directory: Path) -> Problem:
    root = os.path.realpath(directory)
    if isinstance(problem, ProjectError):  # of a decorator, which knows the place
        place = relative_file(problem.file, root)
        return Problem(problem.message, place or path, problem.line if place else 0)
    failure = describe_failure(problem, directory)
    if isinstance(problem, SystemExit):
        what = f"importing {path} ended the process ({failure.message}): a file must only define"
    else:
        what = f"importing {path} failed: {failure.message}"
    if isinstance(problem, ModuleNotFoundError):
        what += _hint_at_neighbour(problem, directory, failure.file or path)
    return Problem(what, failure.file or path, failure.line, traceback=failure.traceback)


def _hint_at_neighbour(problem: ModuleNotFoundError, directory: Path, path: str) -> str:
    """Files beside a model in a subfolder aren't found by their plain names."""
    name = (problem.name or "").split(".", maxsplit=1)[0]
    folder = (directory / path).parent
    if folder == directory or not (folder / f"{name}.py").exists():
        return ""
    relative = folder.relative_to(directory)
    return f"; {relative / name}.py is found as `from .{name} import ...`"


def _entry(
    declaration: Declaration, path: str, module: ModuleType, imports: list[str]
) -> ModelEntry:
    function = declaration.function
    if declaration.kind is None:
        said = " and ".join(f"@zerrow.{name}" for name in sorted(declaration.said))
        raise ProjectError(
            f"{function.__name__}() has {said}, but neither @zerrow.model nor @zerrow.expectation",
            path,
            declaration.line,
        )
    entry = ModelEntry(
        name=declaration.name,
        kind=declaration.kind,
        file=path,
        line=declaration.line,
        columns=declaration.columns,
        timeout_s=declaration.timeout_s,
        imports=imports,
    )
    entry.function = _attribute(module, declaration, entry)
    _refuse_coroutines(function, entry)
    for name, parameter in inspect.signature(function).parameters.items():
        _add_argument(entry, name, parameter)
    return entry


def _attribute(module: ModuleType, declaration: Declaration, entry: ModelEntry) -> str:
    """The name under which the worker that runs the function will find it."""
    for name, value in vars(module).items():
        if getattr(value, "__zerrow__", None) is declaration:
            return name
    name = declaration.function.__name__
    other = getattr(getattr(module, name, None), "__zerrow__", None)
    if isinstance(other, Declaration):
        raise entry.error(f"{name}() is defined again on line {other.line}, which hides this one")
    raise entry.error(
        f"{name}() is not a top-level function of its file, so that no worker finds it"
    )


def _refuse_coroutines(function: Callable[..., Any], entry: ModelEntry) -> None:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise entry.error(f"{function.__name__}() is async, which is not supported")
    if inspect.isgeneratorfunction(function):
        raise entry.error(f"{function.__name__}() yields; return the table instead")


def _add_argument(entry: ModelEntry, name: str, parameter: inspect.Parameter) -> None:
    default = parameter.default
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
        raise entry.error(f"{stars}{name}: each input needs an argument of its own")
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise entry.error(f"{name} is positional-only; arguments are passed by name")
    if isinstance(default, Model):
        entry.inputs.append(
            Input(name, default.name, default.columns, default.filter, default.line)
        )
    elif isinstance(default, Parameter):
        entry.parameters.append({"argument": name, "name": default.name})
    elif default is inspect.Parameter.empty:
        raise entry.error(
            f"argument {name!r} has no default: zerrow.Model('...') makes it an input, "
            "zerrow.Parameter('...') a parameter"
        )
    elif default is Model or default is Parameter:
        raise entry.error(f"argument {name!r}: write zerrow.{default.__name__}('...')")
