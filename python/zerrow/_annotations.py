"""What the annotation of an input asks for: as what the function gets the table.

An annotation that isn't understood is refused before anything runs: a function that gets something
else than what it says would fail in the middle, or compute something else.
"""

import ast
import contextlib
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from zerrow._errors import did_you_mean

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
_UNDERSTOOD = [f"{package}.{name}" for package, name in list(_FORMS)[:6]]
# Where nothing says what a name stands for.
_USUAL = {
    "pa": "pyarrow",
    "pd": "pandas",
    "pl": "polars",
    "t": "typing",
    "object": "builtins.object",
}


class AnnotationError(Exception):
    """An annotation that no input can be made for, and why."""


def wanted_forms(function: Callable[..., Any], inputs: Iterable[str]) -> dict[str, str]:
    """The form of each of these parameters: a value of _FORMS. AnnotationError if there is none."""
    function = inspect.unwrap(function)
    annotations: Mapping[str, Any] = getattr(function, "__annotations__", {})
    forms = {}
    for name in inputs:
        forms[name] = "pyarrow"
        if name in annotations:
            form = next(_forms_of(annotations[name], function), None)
            if form is None:
                raise AnnotationError(_refusal(name, annotations[name], function))
            forms[name] = form
    return forms


def _forms_of(annotation: object, function: Callable[..., Any]) -> Iterator[str]:
    """The forms that an annotation allows, in its order: a union may name several."""
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        known, value = _evaluated(annotation, function)
        if not known:
            yield from _spelled_forms(annotation, function)
            return
        annotation = value
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for option in typing.get_args(annotation):
            yield from _forms_of(option, function)
    elif typing.get_origin(annotation) is typing.Annotated:
        yield from _forms_of(typing.get_args(annotation)[0], function)
    elif isinstance(annotation, typing.NewType):
        yield from _forms_of(annotation.__supertype__, function)
    elif isinstance(annotation, typing.TypeVar):
        for option in annotation.__constraints__ or (annotation.__bound__ or object,):
            yield from _forms_of(option, function)
    else:
        package = str(getattr(annotation, "__module__", "")).split(".")[0]
        form = _FORMS.get((package, str(getattr(annotation, "__name__", ""))))
        if form is not None:
            yield form


def _evaluated(text: str, function: Callable[..., Any]) -> tuple[bool, object]:
    """Whether the text can be evaluated where the function was defined, and its value."""
    names = dict(getattr(function, "__globals__", {}))
    with contextlib.suppress(ValueError):  # a cell that is still empty
        names.update(inspect.getclosurevars(function).nonlocals)
    try:
        # The user's own module is loaded: its annotations are code that it asked to have.
        return True, eval(text, names)
    except Exception:
        return False, None


def _spelled_forms(text: str, function: Callable[..., Any]) -> Iterator[str]:
    """By its words, where what they stand for isn't imported: `if TYPE_CHECKING: import ...`."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        return
    for dotted in _spelled(tree):
        full = _full_name(dotted, function)
        form = _FORMS.get((full.split(".", maxsplit=1)[0], full.rsplit(".", maxsplit=1)[-1]))
        if form is not None:
            yield form


def _spelled(node: ast.expr) -> Iterator[str]:
    """The dotted names of the options: of `Optional["pl.DataFrame"]` that is pl.DataFrame."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        with contextlib.suppress(SyntaxError):
            yield from _spelled(ast.parse(node.value.strip(), mode="eval").body)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        yield from _spelled(node.left)
        yield from _spelled(node.right)
    elif isinstance(node, ast.Subscript):
        outer = ast.unparse(node.value).rsplit(".", maxsplit=1)[-1]
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if outer in ("Optional", "Union"):
            for option in inner:
                yield from _spelled(option)
        elif outer == "Annotated":
            yield from _spelled(inner[0])
    elif isinstance(node, ast.Name | ast.Attribute):
        yield ast.unparse(node)


def _full_name(dotted: str, function: Callable[..., Any]) -> str:
    """With its first word replaced by what the function's file imports under it."""
    first, _, rest = dotted.partition(".")
    known = {**_USUAL, **_imports(function)}
    return f"{known.get(first, first)}.{rest}" if rest else known.get(first, first)


def _imports(function: Callable[..., Any]) -> dict[str, str]:
    """Name -> dotted name of all imports of the function's file, also those of type checkers."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[function.__module__]))
    except (OSError, TypeError, KeyError, SyntaxError):
        return {}
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update({a.asname: a.name for a in node.names if a.asname})
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})
    return found


def _refusal(name: str, annotation: object, function: Callable[..., Any]) -> str:
    if isinstance(annotation, str):
        found, full = annotation, _full_name(annotation, function)
    elif isinstance(annotation, type):
        found = full = f"{annotation.__module__}.{annotation.__qualname__}".removeprefix(
            "builtins."
        )
    else:
        found = full = str(annotation)
    hint = did_you_mean(full, _UNDERSTOOD)
    if not hint.startswith("; did you mean"):
        hint = ""
    return (
        f"argument {name!r} is annotated as {found}, but an input arrives as "
        f"{', '.join(_UNDERSTOOD[:-1])} or {_UNDERSTOOD[-1]} (without annotation as the first)"
        f"{hint}"
    )
