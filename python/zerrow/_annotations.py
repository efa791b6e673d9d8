"""What a function's signature says: its inputs and parameters, as what it gets them, what it makes.

An annotation that isn't understood is refused before anything runs: a function that gets something
else than what it says would fail in the middle, or compute something else.
"""

import collections.abc
import contextlib
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from zerrow._declarations import Model, ModelMark, Parameter, ParameterMark
from zerrow._errors import ProjectError, did_you_mean
from zerrow._evaluation import Absent, evaluate, full_name
from zerrow._schemas import TableSchema

# (package, class) -> form.
_FORMS = {
    ("pyarrow", "Table"): "pyarrow",
    ("pyarrow", "RecordBatchReader"): "pyarrow_reader",
    ("pandas", "DataFrame"): "pandas",
    ("polars", "DataFrame"): "polars",
    ("polars", "LazyFrame"): "polars_lazy",
    ("duckdb", "DuckDBPyRelation"): "duckdb",
    ("_duckdb", "DuckDBPyRelation"): "duckdb",
    ("builtins", "object"): "pyarrow",
    ("typing", "Any"): "pyarrow",
}
_ARRAYS = {("numpy", "ndarray"), ("numpy", "NDArray")}
_ARRAYS_TEXT = "dict[str, numpy.ndarray]"
_UNDERSTOOD = [*(f"{package}.{name}" for package, name in list(_FORMS)[:6]), _ARRAYS_TEXT]
_SCALARS = ("str", "int", "float", "bool")


class AnnotationError(Exception):
    """An annotation that no input can be made for, why, and on which line, if one is known."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class Argument:
    """One argument, and what it stands for."""

    name: str
    mark: ModelMark | ParameterMark | None
    has_default: bool
    form: str = ""  # of an input: a value of _FORMS, or "numpy"
    scalars: tuple[str, ...] = ()  # of a parameter: the types that it may have, any if empty
    line: int | None = None  # of the mark, if it stands in the function's file


@dataclass(frozen=True)
class _Meaning:
    """An annotation, taken apart: the types that it allows, and what Annotated says besides."""

    types: list[object]
    metadata: list[object]


def arguments_of(function: Callable[..., Any]) -> list[Argument]:
    """What each argument stands for. AnnotationError if one can't be understood."""
    annotations = getattr(inspect.unwrap(function), "__annotations__", {})
    return [
        _argument(name, parameter.default, annotations, function)
        for name, parameter in inspect.signature(function).parameters.items()
    ]


def output_schema_of(function: Callable[..., Any]) -> type[TableSchema] | None:
    """The schema in the annotation of what the function returns: `-> Annotated[pa.Table, S]`."""
    annotations = getattr(inspect.unwrap(function), "__annotations__", {})
    if "return" not in annotations:
        return None
    annotation = annotations["return"]
    try:
        meaning = _meaning(annotation, function)
    except Exception as problem:
        if "Annotated" in str(annotation):
            raise AnnotationError(
                f"what it returns, {annotation}, can't be read: {problem}"
            ) from None
        return None  # no schema; what it returns is judged when it has returned
    for absent in (one for one in meaning.metadata if isinstance(one, Absent)):
        raise AnnotationError(
            f"what it returns, {annotation}, can't be read: {absent} isn't there when the file is "
            "imported"
        )
    for one in meaning.types:
        if _is_schema(one):
            raise AnnotationError(f"it returns a table: write -> Annotated[..., {one.__name__}]")
    found = [one for one in meaning.metadata if _is_schema(one)]
    if any(isinstance(one, ModelMark | ParameterMark) for one in meaning.metadata):
        raise AnnotationError("zerrow.Model and zerrow.Parameter stand for what a function gets")
    if len(found) > 1:
        raise AnnotationError(f"it returns one schema, not {len(found)}")
    return found[0] if found else None


def _is_schema(value: object) -> typing.TypeGuard[type[TableSchema]]:
    return isinstance(value, type) and issubclass(value, TableSchema)


def _argument(
    name: str, default: object, annotations: Mapping[str, Any], function: Callable[..., Any]
) -> Argument:
    problem: Exception | None = None
    meaning = _Meaning([object], [])
    if name in annotations:
        try:
            meaning = _meaning(annotations[name], function)
        except ProjectError as mistake:  # of a mark that stands in a text
            raise AnnotationError(f"argument {name!r}: {mistake.message}") from None
        except Exception as error:
            meaning, problem = _Meaning([], []), error
    if problem is not None and default is inspect.Parameter.empty:
        raise AnnotationError(_refusal(name, annotations[name], meaning, function, problem))
    mark = _mark(name, default, meaning.metadata)
    # One that stands in a text, or that several files share, has another place.
    at_home = mark is not None and mark.file == inspect.unwrap(function).__code__.co_filename
    line = mark.line if mark is not None and at_home else None
    form = next(filter(None, map(_form, meaning.types)), "")
    if isinstance(mark, ModelMark) and not form:
        raise AnnotationError(_refusal(name, annotations[name], meaning, function, problem), line)
    has_default = default is not inspect.Parameter.empty
    return Argument(name, mark, has_default, form, _scalars(meaning.types), line)


def _mark(name: str, default: object, metadata: list[object]) -> ModelMark | ParameterMark | None:
    """The one that is in the annotation or the default. AnnotationError if there are several."""
    for one in (default, *metadata):
        if one is Model or one is Parameter:
            raise AnnotationError(f"argument {name!r}: write zerrow.{one.__name__}('...')")
    marks = [one for one in (default, *metadata) if isinstance(one, ModelMark | ParameterMark)]
    if len(marks) > 1:
        raise AnnotationError(
            f"argument {name!r} stands for one thing, but {' and '.join(map(repr, marks))} are "
            "there: one in its annotation or as its default"
        )
    return marks[0] if marks else None


def _meaning(annotation: object, function: Callable[..., Any]) -> _Meaning:
    """Takes it apart. Raises what evaluating its texts does."""
    metadata: list[object] = []
    return _Meaning(list(_types(annotation, function, metadata)), metadata)


def _types(
    annotation: object, function: Callable[..., Any], metadata: list[object]
) -> Iterator[object]:
    """The types that an annotation allows, in its order: a union may name several."""
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        annotation = _evaluated(annotation, function)
    options: typing.Iterable[object] = ()
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        options = typing.get_args(annotation)
    elif typing.get_origin(annotation) is typing.Annotated:
        options = typing.get_args(annotation)[:1]
        metadata.extend(typing.get_args(annotation)[1:])
    elif isinstance(annotation, typing.NewType):
        options = (annotation.__supertype__,)
    elif isinstance(annotation, typing.TypeVar):
        options = annotation.__constraints__ or (annotation.__bound__ or object,)
    elif annotation is not type(None):
        yield annotation
    for option in options:
        yield from _types(option, function, metadata)


def _evaluated(text: str, function: Callable[..., Any]) -> object:
    function = inspect.unwrap(function)
    names: Mapping[str, Any] = getattr(function, "__globals__", {})
    if getattr(function, "__closure__", None):
        with contextlib.suppress(ValueError):  # a cell that is still empty
            names = {**names, **inspect.getclosurevars(function).nonlocals}
    value = evaluate(text, names, function.__module__)
    return _evaluated(value, function) if isinstance(value, str) else value


def _form(found: object) -> str | None:
    origin, given = typing.get_origin(found), typing.get_args(found)
    if origin in (dict, collections.abc.Mapping) and len(given) == 2 and given[0] is str:
        return "numpy" if _key(typing.get_origin(given[1]) or given[1]) in _ARRAYS else None
    return _FORMS.get(_key(found))


def _key(found: object) -> tuple[str, str]:
    if isinstance(found, Absent):
        return found.dotted.split(".", maxsplit=1)[0], found.dotted.rsplit(".", maxsplit=1)[-1]
    package = str(getattr(found, "__module__", "")).split(".", maxsplit=1)[0]
    return package, str(getattr(found, "__name__", ""))


def _scalars(found: list[object]) -> tuple[str, ...]:
    names = [name for package, name in map(_key, found) if package == "builtins"]
    known = all(name in _SCALARS for name in names) and len(names) == len(found)
    return tuple(names) if known else ()


def _refusal(
    name: str,
    annotation: object,
    meaning: _Meaning,
    function: Callable[..., Any],
    problem: Exception | None,
) -> str:
    only = meaning.types[0] if len(meaning.types) == 1 else annotation
    if isinstance(annotation, str):
        found, full = annotation, full_name(annotation, inspect.unwrap(function).__module__)
    elif isinstance(only, type) and not typing.get_args(only):
        found = full = f"{only.__module__}.{only.__qualname__}".removeprefix("builtins.")
    else:
        found = full = str(only)
    if isinstance(problem, AttributeError) and inspect.ismodule(problem.obj):
        full = f"{problem.obj.__name__}.{problem.name}"
    elif isinstance(only, Absent):
        full = only.dotted
    hint = did_you_mean(full, _UNDERSTOOD)
    if "ndarray" in full.lower():
        hint = f"; did you mean {_ARRAYS_TEXT!r}, an array for each column?"
    if not hint.startswith("; did you mean"):
        hint = f" ({problem})" if problem is not None else ""
    return (
        f"argument {name!r} is annotated as {found}, but an input arrives as "
        f"{', '.join(_UNDERSTOOD[:-1])} or {_UNDERSTOOD[-1]} (without annotation as the first)"
        f"{hint}"
    )
