"""From decorated functions to entries of the project description."""

import functools
import importlib.util
import inspect
import linecache
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from zerrow._annotations import AnnotationError, Argument, arguments_of, output_schema_of
from zerrow._declarations import Declaration, ModelMark, noting_mistakes, registered
from zerrow._errors import Problem, ProjectError
from zerrow._packages import is_built_for, is_own
from zerrow._project import session
from zerrow._project.description import Input, ModelEntry, Project
from zerrow._project.modules import (
    ImportTimeoutError,
    PythonFile,
    import_time_s,
    load_module,
    time_limit,
)
from zerrow._project.tracebacks import describe_failure, relative_file
from zerrow._schemas import columns_of


def import_files(
    directory: Path, files: list[PythonFile], on_import: Callable[[str], None] | None = None
) -> tuple[list[Problem], bool]:
    """Imports the files; what is wrong with them, and whether one wasn't read to its end.

    `on_import` is called with each file before it is imported, so that somebody knows which file it
    was if this process doesn't survive.
    """
    problems: list[Problem] = []
    cut_short = False
    deadline = time.monotonic() + import_time_s()
    for file in files:
        if on_import is not None:
            on_import(file.path)
        with noting_mistakes() as mistakes:
            problem = _import(directory, file.path, deadline)
        found: list[BaseException] = [*mistakes, *([] if problem is None else [problem])]
        problems.extend(_import_problem(each, file, directory) for each in found)
        cut_short = cut_short or problem is not None
        if isinstance(problem, ImportTimeoutError):
            break
    return problems, cut_short


def read_python_models(project: Project, files: list[PythonFile], problems: list[Problem]) -> None:
    """Adds the models of the imported files to the project, and what was wrong with these."""
    for problem in problems:
        # A file that fails fails again in each that imports it: once is enough.
        place = (problem.file, problem.line)
        known = ((known.file, known.line) for known in project.problems if known.traceback)
        if problem not in project.problems and not (problem.traceback and place in known):
            project.problems.append(problem)
        if problem.model:
            project.broken.add(problem.model)
    root = os.path.realpath(project.directory)
    imports = {file.path: file.imports for file in files}
    types = {entry["name"]: entry["type"] for entry in project.parameters}
    hash_of = functools.cache(_text_hash)
    for declaration in once_each(registered):
        module = module_file(declaration, root)
        if module is None:
            continue
        try:
            entry = _entry(declaration, root, module, imports.get(module, []), types)
            # Of these files alone: with those that they import, each change of a helper would lose
            # what is known of all models, and it seldom matters to what they take.
            entry.code = hash_of(os.path.join(root, module)) + hash_of(declaration.file)
            project.models.append(entry)
        except ProjectError as mistake:
            project.broken.add(declaration.name or declaration.function.__name__)
            project.report(mistake)


def once_each(declarations: Iterable[Declaration]) -> list[Declaration]:
    """Without those that a file made again when it was imported under another name."""
    seen: dict[tuple[str, str, int], str] = {}
    found = []
    for declaration in declarations:
        key = (declaration.name, declaration.file, declaration.line)
        if seen.setdefault(key, declaration.module) == declaration.module:
            found.append(declaration)
    return found


def module_file(declaration: Declaration, root: str) -> str | None:
    """The project's file whose import declares the model; None if that failed, or of a library."""
    file = getattr(sys.modules.get(declaration.module), "__file__", None)
    return relative_file(file, root) if isinstance(file, str) else None


def _import(directory: Path, path: str, deadline: float) -> BaseException | None:
    """Imports a file until the deadline at most; returns what it raised."""
    try:
        with time_limit(max(deadline - time.monotonic(), 0.001)):
            load_module(directory, path)
    except BaseException as problem:  # SystemExit is the user's mistake as well
        return problem
    return None


def _import_problem(problem: BaseException, file: PythonFile, directory: Path) -> Problem:
    path = file.path
    root = os.path.realpath(directory)
    if isinstance(problem, ProjectError):  # of a decorator, which knows the place
        place = relative_file(problem.file, root)
        line = problem.line if place else 0
        return Problem(problem.message, place or path, line, problem.model)
    failure = describe_failure(problem, directory)
    if isinstance(problem, SystemExit):
        what = f"importing {path} ended the process ({failure.message}): a file must only define"
    else:
        what = f"importing {path} failed: {failure.message}"
    if isinstance(problem, ModuleNotFoundError):
        what += _hint_at_neighbour(problem, directory, failure.file or path) or (
            "; what @zerrow.python(pip=...) installs for a function is there when it is called, "
            "not when its file is imported: import it inside of the function"
            if file.has_packages
            else ""
        )
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
    declaration: Declaration, root: str, module: str, imports: list[str], types: Mapping[str, str]
) -> ModelEntry:
    """The model's entry; `types` are those of the project's parameters."""
    function = declaration.function
    path, line = relative_file(declaration.file, root), declaration.line
    if path is None:  # a library's function made the model
        path, line = module, declaration.module_line
    if declaration.kind is None:
        said = " and ".join(f"@zerrow.{name}" for name in sorted(declaration.said))
        raise ProjectError(
            f"{function.__name__}() has {said}, but neither @zerrow.model nor @zerrow.expectation",
            path,
            line,
        )
    entry = ModelEntry(
        name=declaration.name,
        kind=declaration.kind,
        file=path,
        line=line,
        function=function.__name__,
        module=module,
        timeout_s=declaration.timeout_s,
        memory_bytes=declaration.memory_bytes,
        deterministic=declaration.deterministic,
        tags=declaration.tags,
        imports=imports,
    )
    entry.environment = _environment(declaration, entry)
    try:
        declaration.target()
    except LookupError as problem:
        raise entry.error(str(problem)) from None
    _refuse_coroutines(function, entry)
    for name, parameter in inspect.signature(function).parameters.items():
        _check_kind(name, parameter, entry)
    try:
        for argument in arguments_of(function):
            _add_argument(entry, argument, types)
        _declare_output(entry, declaration)
    except AnnotationError as problem:
        raise entry.error(str(problem), problem.line) from None
    return entry


def _environment(declaration: Declaration, entry: ModelEntry) -> dict[str, Any] | None:
    """What the model's own has; None if it runs in Zerrow's."""
    version = declaration.python
    if version is not None and not is_own(version) and not is_built_for(version):
        raise entry.error(
            f"@zerrow.python: there is no Python {version} for it: Zerrow is installed for Python "
            f"{platform.python_version()}, and its modules are there for no other"
        )
    if version is None or is_own(version):
        version = platform.python_version()
        if not declaration.packages:
            return None
    return {"python": version, "packages": declaration.packages}


def _text_hash(path: str) -> str:
    """Tells one text of a file from another."""
    if path in session.labels:
        return importlib.util.source_hash("".join(linecache.getlines(path)).encode()).hex()
    try:
        return importlib.util.source_hash(Path(path).read_bytes()).hex()
    except OSError:  # generated code has no file
        return ""


def _refuse_coroutines(function: Callable[..., Any], entry: ModelEntry) -> None:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise entry.error(f"{function.__name__}() is async, which is not supported")
    if inspect.isgeneratorfunction(function):
        raise entry.error(f"{function.__name__}() yields; return the table instead")


def _check_kind(name: str, parameter: inspect.Parameter, entry: ModelEntry) -> None:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
        raise entry.error(
            f"{stars}{name}: each input needs an argument of its own (a decorator needs "
            "functools.wraps to show those of its function)"
        )
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise entry.error(f"{name} is positional-only; arguments are passed by name")


def _add_argument(entry: ModelEntry, argument: Argument, types: Mapping[str, str]) -> None:
    mark = argument.mark
    if isinstance(mark, ModelMark):
        contract = [] if mark.schema is None else columns_of(mark.schema)
        line = entry.line if argument.line is None else argument.line
        given = Input(argument.name, mark.name, mark.columns, mark.filter, line)
        given.dictionary, given.contract = mark.dictionary, contract
        entry.inputs.append(given)
    elif mark is not None:
        entry.parameters.append({"argument": argument.name, "name": mark.name})
        found = types.get(mark.name, "")
        # An int does where a float is asked for, as it does for Python's type checkers.
        fits = {"int", "float"} if found == "int" else {found}
        if argument.scalars and found and fits.isdisjoint(argument.scalars):
            raise entry.error(
                f"argument {argument.name!r} is annotated as {' | '.join(argument.scalars)}, but "
                f"the project's parameter {mark.name!r} is of type {found}",
                argument.line,
            )
    elif not argument.has_default:
        raise entry.error(
            f"argument {argument.name!r} stands for nothing: zerrow.Model('...') makes it an "
            "input, zerrow.Parameter('...') a parameter, as its default or in Annotated[...]"
        )


def _declare_output(entry: ModelEntry, declaration: Declaration) -> None:
    schema = output_schema_of(declaration.function)
    if declaration.columns is not None:
        entry.columns = [
            {"name": name, "type": None, "nullable": None, "lineage": None}
            for name in declaration.columns
        ]
    if schema is None:
        return
    if entry.kind == "expectation":
        raise AnnotationError("an expectation returns a bool and has no schema")
    if declaration.columns is not None:
        raise AnnotationError(f"columns= are what {schema.__name__} says: leave them away")
    entry.contract = columns_of(schema)
    entry.columns = [column.to_json() for column in entry.contract]
