"""`@model`, `@expectation`, `@python`, `@resources`: they note what a project's functions are.

They run nothing, and a decorated function stays callable: in a unit test, `late(flights=table)`
calls it. What isn't supported yet is refused, never ignored: a pipeline must not do less than its
text says.
"""

# To evaluate the annotations of inner functions would cost as much as all else that they do.
from __future__ import annotations

import functools
import inspect
import math
import types
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, ParamSpec, TypeVar, cast, overload

from zerrow._declarations import (
    Declaration,
    ModelMark,
    ParameterMark,
    caller,
    columns_problem,
    definition_line,
    importing_module,
    mistake,
    registered,
    tags_problem,
)
from zerrow._errors import ProjectError
from zerrow._packages import requirements_of, version_problem
from zerrow._sizes import parse_bytes

P = ParamSpec("P")
R = TypeVar("R")
Decorator = TypeVar("Decorator", bound=Callable[..., Any])

_CATALOG = "it needs the catalog, which is not there yet"


class _Place:
    """Where a decorator was written, for the errors that it raises."""

    def __init__(self, decorator: str) -> None:
        self.decorator = decorator
        self.file, self.line = caller(4)

    def fail(self, message: str) -> NoReturn:
        raise ProjectError(f"@zerrow.{self.decorator}: {message}", self.file, self.line)

    def refuse(self, argument: str, why: str) -> NoReturn:
        self.fail(f"{argument} is not supported yet: {why}")


def _noting(decorator: Decorator) -> Decorator:
    """While a project is read, a decorator's mistake is noted and leaves the function as it is."""

    @functools.wraps(decorator)
    def call(*args: Any, **arguments: Any) -> Any:  # noqa: ANN401
        name = arguments.get("name")
        plain = args[0] if args and callable(args[0]) else None  # written without parentheses
        try:
            made = decorator(*args, **arguments)
        except ProjectError as problem:
            leave = _leaving(problem, name)
            return leave if plain is None else leave(plain)

        def decorate(function: Callable[..., Any]) -> Any:  # noqa: ANN401
            try:
                return made(function)
            except ProjectError as problem:
                registered[:] = (known for known in registered if known.function is not function)
                return _leaving(problem, name)(function)

        return decorate if plain is None else made

    return cast("Decorator", call)


def _leaving(problem: ProjectError, name: object) -> Callable[[Callable[..., Any]], Any]:
    """Says whose mistake it was."""
    mistake(problem)

    def leave(function: Callable[..., Any]) -> Callable[..., Any]:
        problem.model = str(name or getattr(function, "__name__", ""))
        return function

    return leave


def _declared(function: Callable[P, R], place: _Place) -> tuple[Callable[P, R], Declaration]:
    """`function` wrapped once, however many decorators it has, and what they said of it."""
    plain = inspect.unwrap(function) if callable(function) else function
    if not isinstance(plain, types.FunctionType):
        place.fail(f"decorates functions, not {function!r}")
    known = getattr(function, "__zerrow__", None)
    if isinstance(known, Declaration) and (
        function is known.call or place.decorator not in known.said
    ):
        declaration = known
        declaration.call = function  # another decorator may have wrapped it meanwhile
    else:
        declaration = _register(function, plain)
    if place.decorator in declaration.said:
        place.fail(f"is written twice on {function.__name__}()")
    declaration.said.add(place.decorator)
    declaration.top_line = min(declaration.top_line, place.line)
    return cast("Callable[P, R]", declaration.call), declaration


def _register(function: Callable[..., Any], plain: types.FunctionType) -> Declaration:
    code = plain.__code__
    wrapped = _checking_inputs(function)
    declaration = Declaration(
        function,
        wrapped,
        code.co_filename,
        definition_line(code),
        *importing_module(function),
    )
    wrapped.__zerrow__ = declaration  # type: ignore[attr-defined]
    registered.append(declaration)
    return declaration


def _checking_inputs(function: Callable[P, R]) -> Callable[P, R]:
    """Calls `function`, but says which input is missing instead of passing on a `Model` object."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        # Not before: it costs more than the decorators, and most are never called in a process.
        signature = inspect.signature(function)
        inputs = {
            name: parameter.default
            for name, parameter in signature.parameters.items()
            if isinstance(parameter.default, ModelMark | ParameterMark)
        }
        given = signature.bind_partial(*args, **kwargs).arguments
        missing = [name for name in inputs if name not in given]
        if missing:
            example = ", ".join(f"{name}=..." for name in inputs)
            raise TypeError(
                f"{function.__name__}() is called directly, so that its inputs must be passed: "
                f"{function.__name__}({example}); "
                + ", ".join(f"{name} stands for {inputs[name]!r}" for name in missing)
                + ". `zerrow run` passes them by itself."
            )
        return function(*args, **kwargs)

    return call


def _set_kind(declaration: Declaration, kind: str, name: str | None, place: _Place) -> None:
    if declaration.kind is not None:
        place.fail(f"{declaration.function.__name__}() is a model or an expectation, not both")
    if name is not None and (not isinstance(name, str) or not name.strip()):
        place.fail(f"name must be a text, not {name!r}")
    declaration.kind = kind
    declaration.name = declaration.function.__name__ if name is None else name


def _checked_tags(tags: list[str] | tuple[str, ...], place: _Place) -> list[str]:
    problem = tags_problem(tags)
    if problem:
        place.fail(problem)
    return list(dict.fromkeys(tags))


@overload
def model(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def model(
    *,
    name: str | None = None,
    columns: list[str] | tuple[str, ...] | None = None,
    materialization_strategy: str | None = None,
    partitioned_by: object = None,
    overwrite_filter: str | None = None,
    internet_access: bool | None = None,
    cache_strategy: str | None = None,
    deterministic: bool = True,
    tags: list[str] | tuple[str, ...] = (),
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
@_noting
def model(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    columns: list[str] | tuple[str, ...] | None = None,
    materialization_strategy: str | None = None,
    partitioned_by: object = None,
    overwrite_filter: str | None = None,
    internet_access: bool | None = None,
    cache_strategy: str | None = None,
    deterministic: bool = True,
    tags: list[str] | tuple[str, ...] = (),
) -> Callable[P, R] | Callable[[Callable[P, R]], Callable[P, R]]:
    """The function makes a table out of its inputs; other models read it under its name.

    Args:
        function: the function, where the decorator is written without parentheses.
        name: what others call the table; the function's name if None.
        columns: the output's columns, in this order; checked when the function has run, and before
            anything runs against what the consumers ask for.
        materialization_strategy: only "NONE": the table lives as long as the run.
        partitioned_by: not supported yet.
        overwrite_filter: not supported yet.
        internet_access: only True: functions have the network access of the engine's user.
        cache_strategy: only "NONE": the function runs in each run.
        deterministic: whether the same inputs always give the same table. Where memory is short, a
            table of such a function may be dropped, and the function be called again for it.
        tags: words by which `--select tag:WORD` finds it.
    """
    place = _Place("model")
    words = _checked_tags(tags, place)
    if not isinstance(deterministic, bool):
        place.fail(f"deterministic must be True or False, not {deterministic!r}")
    if materialization_strategy not in (None, "NONE"):
        place.refuse(f"materialization_strategy={materialization_strategy!r}", _CATALOG)
    if partitioned_by is not None:
        place.refuse("partitioned_by", _CATALOG)
    if overwrite_filter is not None:
        place.refuse("overwrite_filter", _CATALOG)
    if internet_access not in (None, True):
        place.refuse(
            f"internet_access={internet_access!r}",
            "functions have the network access of the engine's user",
        )
    if cache_strategy not in (None, "NONE"):
        place.refuse(f"cache_strategy={cache_strategy!r}", "outputs are not kept between runs")
    problem = None if columns is None else columns_problem(columns)
    if problem:
        place.fail(problem)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        wrapped, declaration = _declared(function, place)
        _set_kind(declaration, "python", name, place)
        declaration.columns = None if columns is None else list(columns)
        declaration.deterministic = deterministic
        declaration.tags = words
        return wrapped

    return decorate if function is None else decorate(function)


@overload
def expectation(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def expectation(
    *, name: str | None = None, tags: list[str] | tuple[str, ...] = ()
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
@_noting
def expectation(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    tags: list[str] | tuple[str, ...] = (),
) -> Callable[P, R] | Callable[[Callable[P, R]], Callable[P, R]]:
    """The function checks its inputs: it returns whether they are as expected, or asserts it.

    False, or a failed assert, is a warning; with `--strict` the run fails. What a function of
    zerrow.standard_expectations found, if it is returned, tells which rows aren't as expected.
    `tags`: words by which `--select tag:WORD` finds it.
    """
    place = _Place("expectation")
    words = _checked_tags(tags, place)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        wrapped, declaration = _declared(function, place)
        _set_kind(declaration, "expectation", name, place)
        declaration.tags = words
        return wrapped

    return decorate if function is None else decorate(function)


@_noting
def python(
    version: str | None = None, *, pip: Mapping[str, str] | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The Python and the packages that the function needs.

    Args:
        version: such as "3.11"; Zerrow's own modules must be there for it.
        pip: versions by package, such as `{"pandas": "2.2.2"}` or `{"pandas": ">=2.2,<3"}`. The
            function then runs in an environment of these packages, with pyarrow and without what
            else is installed beside Zerrow; it is made when a run needs it first, and kept. Import
            them inside of the function: the file itself is read in Zerrow's own environment too.
    """
    place = _Place("python")
    problem = None if version is None else version_problem(version)
    if problem:
        place.fail(problem)
    try:
        packages = requirements_of(pip or {})
    except ValueError as problem:
        place.fail(str(problem))

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        wrapped, declaration = _declared(function, place)
        declaration.python = version
        declaration.packages = packages
        return wrapped

    return decorate


@_noting
def resources(
    *,
    cpus: float | None = None,
    memory: int | str | None = None,
    memory_swap: int | str | None = None,
    timeout: float | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """What the function uses, and may use.

    Args:
        cpus: not supported yet.
        memory: what it needs at most with its output, its inputs aside: bytes, or a text such as
            "2GB" or "512MiB". It is started when so much is free; it isn't stopped for more.
        memory_swap: not supported yet.
        timeout: seconds after which it is ended, and reported so.
    """
    place = _Place("resources")
    for argument, value in {"cpus": cpus, "memory_swap": memory_swap}.items():
        if value is not None:
            place.refuse(argument, "functions are not limited one by one; leave it away")
    if timeout is not None and not _is_positive(timeout):
        place.fail(f"timeout must be a positive number of seconds, not {timeout!r}")
    try:
        memory_bytes = None if memory is None else parse_bytes(memory)
    except ValueError as problem:
        place.fail(f"memory {problem}")

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        wrapped, declaration = _declared(function, place)
        declaration.timeout_s = None if timeout is None else float(timeout)
        declaration.memory_bytes = memory_bytes
        return wrapped

    return decorate


def _is_positive(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and value > 0
    )
