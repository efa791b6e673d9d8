"""What the decorators note about a function, and the objects that stand for its inputs.

Nothing here imports a data library: projects import it, also in their unit tests.
"""

import contextlib
import inspect
import linecache
import re
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any, Literal, cast

from zerrow._errors import ProjectError
from zerrow._schemas import TableSchema, columns_of

# Every decorated function of this process, in the order of the decorators. A worker finds its
# function here by the model's name: a factory may have made it, or a later one of the same name may
# hide it in its module.
registered: "list[Declaration]" = []


# Mistakes in declarations while a project is read; None: they are raised.
_noted: list[ProjectError] | None = None


@contextlib.contextmanager
def noting_mistakes() -> Iterator[list[ProjectError]]:
    """Has declarations note their mistakes inside the block, so that all of them are found."""
    global _noted  # noqa: PLW0603
    _noted = []
    try:
        yield _noted
    finally:
        _noted = None


def mistake(problem: ProjectError) -> None:
    """Notes it while a project is read, else raises it."""
    if _noted is None:
        raise problem
    _noted.append(problem)


def caller(depth: int = 2) -> tuple[str, int]:
    """File and line of the user's code that called our caller."""
    frame = sys._getframe(depth)
    return frame.f_code.co_filename, _line_of(frame)


# By the code's id: where its instructions begin, and their lines. Few are enough: decorators of one
# file follow each other.
_lines: dict[int, tuple[CodeType, list[int], list[int | None]]] = {}
_MOST_LINES = 16


def _line_of(frame: FrameType) -> int:
    """`frame.f_lineno`, which takes as long as the code before that line is."""
    code = frame.f_code
    known = _lines.get(id(code))
    if known is None:
        if len(_lines) >= _MOST_LINES:
            _lines.clear()
        spans = list(code.co_lines())
        known = code, [start for start, _, _ in spans], [line for _, _, line in spans]
        _lines[id(code)] = known
    _, starts, lines = known
    return lines[bisect_right(starts, frame.f_lasti) - 1] or 0


class ModelMark:
    """What `Model(...)` notes."""

    __slots__ = ("columns", "dictionary", "file", "filter", "line", "name", "schema")

    def __init__(
        self,
        name: str,
        *,
        columns: list[str] | tuple[str, ...] | None,
        filter: str | None,
        dictionary: str,
        ref: str | None,
        schema: type[TableSchema] | None,
    ) -> None:
        self.file, self.line = caller(3)
        self.name = _checked_name(name, "Model", self)
        if ref is not None:
            self._fail("ref= is not supported yet: there is no catalog with branches to read from")
        if filter is not None and (not isinstance(filter, str) or not filter.strip()):
            self._fail(f"filter must be a condition such as 'n > 100', not {filter!r}")
            filter = None
        if dictionary not in ("never", "auto", "always"):
            self._fail(f'dictionary must be "never", "auto" or "always", not {dictionary!r}')
            dictionary = "never"
        self.dictionary = dictionary
        self.schema = schema
        self.columns = self._checked_columns(columns)
        self.filter = filter

    def __repr__(self) -> str:
        return f"zerrow.Model({self.name!r})"

    def _checked_columns(self, columns: list[str] | tuple[str, ...] | None) -> list[str] | None:
        if self.schema is not None:
            if not isinstance(self.schema, type) or not issubclass(self.schema, TableSchema):
                self._fail(
                    f"projection_schema must be a class of zerrow.TableSchema, not {self.schema!r}"
                )
                self.schema = None
                return None
            if columns is not None:
                self._fail("columns and projection_schema say the same: leave one away")
            columns = [column.name for column in columns_of(self.schema)]
        if columns is None:
            return None
        problem = columns_problem(columns)
        if problem:
            self._fail(problem)
            return None
        return list(columns)

    def _fail(self, message: str) -> None:
        mistake(ProjectError(f"Model({self.name!r}): {message}", self.file, self.line))


class ParameterMark:
    """What `Parameter(...)` notes."""

    __slots__ = ("file", "line", "name")

    def __init__(self, name: str) -> None:
        self.file, self.line = caller(3)
        self.name = _checked_name(name, "Parameter", self)

    def __repr__(self) -> str:
        return f"zerrow.Parameter({self.name!r})"


# What they return is Any for type checkers: as the default of an argument it stands for a table or
# a value of whatever type the argument has.


def Model(  # noqa: N802
    name: str,
    *,
    columns: list[str] | tuple[str, ...] | None = None,
    filter: str | None = None,
    dictionary: Literal["never", "auto", "always"] = "never",
    ref: str | None = None,
    projection_schema: type[TableSchema] | None = None,
) -> Any:  # noqa: ANN401
    """An input: the output of the model or source `name`, in an annotation or as a default.

    `flights: Annotated[pa.Table, Model("flights")]` and `flights: pa.Table = Model("flights")` mean
    the same. Only `columns` of it are read, all if None, and only rows for which `filter`, a
    condition as in SQL's WHERE, is true. `$name` in a filter stands for the value of the project's
    parameter. Texts have the type that the source's files give them; with `dictionary="always"` all
    of them come as dictionaries, with "auto" those that Zerrow has as dictionaries anyway.

    `projection_schema`, a class of `TableSchema`, stands for the columns that it declares; their
    types, and where there may be nulls, are checked before the function is called.
    """
    return ModelMark(
        name,
        columns=columns,
        filter=filter,
        dictionary=dictionary,
        ref=ref,
        schema=projection_schema,
    )


def Parameter(name: str) -> Any:  # noqa: ANN401, N802
    """The value of the project's parameter `name`, in an annotation or as a default."""
    return ParameterMark(name)


def _checked_name(name: object, what: str, place: ModelMark | ParameterMark) -> str:
    if isinstance(name, str) and name:
        return name
    mistake(ProjectError(f"{what}() needs a name, not {name!r}", place.file, place.line))
    return ""


def columns_problem(columns: object) -> str | None:
    """Why `columns` isn't a list of distinct column names; None if it is one."""
    if isinstance(columns, str) or not isinstance(columns, list | tuple):
        return f"columns must be a list of names, not {columns!r}"
    if not columns:
        return "columns is empty: leave it away to have all columns"
    seen: set[str] = set()
    for name in columns:
        if not isinstance(name, str) or not name:
            return f"columns must be names, not {name!r}"
        if name in seen:
            return f"columns names {name!r} twice"
        seen.add(name)
    return None


def tags_problem(tags: object) -> str | None:
    """Why `tags` isn't a list of words that --select tag:WORD can name; None if it is one."""
    if isinstance(tags, str) or not isinstance(tags, list | tuple):
        return f"tags must be a list of words, not {tags!r}"
    for tag in tags:
        if not isinstance(tag, str) or not re.fullmatch(r"[^\s,+]+", tag):
            return f"a tag is a word without spaces, commas and plus signs, not {tag!r}"
    return None


@dataclass
class Declaration:
    """What the decorators of one function said."""

    function: Callable[..., Any]  # as the first decorator got it
    call: Callable[..., Any]  # as the last decorator returned it
    file: str
    line: int  # of the `def`
    module: str  # whose code applied the decorators, by its name in sys.modules
    module_line: int
    kind: str | None = None  # "python" or "expectation", once @model or @expectation was there
    name: str = ""
    columns: list[str] | None = None
    timeout_s: float | None = None
    memory_bytes: int | None = None
    deterministic: bool = True
    python: str | None = None  # the version that it needs
    packages: list[str] = field(default_factory=list)  # requirements of pip
    tags: list[str] = field(default_factory=list)
    said: set[str] = field(default_factory=set)  # the decorators that were there
    top_line: int = sys.maxsize  # of the topmost of these

    def target(self) -> Callable[..., Any]:
        """What a run calls. LookupError if only a decorator above ours knows it."""
        first_line: int = inspect.unwrap(self.function).__code__.co_firstlineno
        if not first_line < self.top_line < self.line:  # no others stand above ours
            return self.call
        name = self.function.__name__
        outermost = getattr(sys.modules.get(self.module), name, None)
        if getattr(outermost, "__zerrow__", None) is self and callable(outermost):
            return cast("Callable[..., Any]", outermost)
        raise LookupError(
            f"{name}() has a decorator above @zerrow.{min(self.said)} whose result isn't found: "
            f"write it below, or let it use functools.wraps and define {name}() at the top level "
            "of its file"
        )


_by_name: dict[str, Declaration] = {}


def declared(name: str) -> Declaration | None:
    """The model or expectation of that name; of several the first."""
    # To look at each would copy the page that it lies in, in each forked process.
    if len(_by_name) != len(registered):
        _by_name.clear()
        for declaration in registered:
            if declaration.kind is not None:
                _by_name.setdefault(declaration.name, declaration)
    return _by_name.get(name)


def importing_module(function: Callable[..., Any]) -> tuple[str, int]:
    """The module that is being executed, and on which line: a factory's caller, not the factory."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__")
        module = sys.modules.get(name) if isinstance(name, str) else None
        if frame.f_code.co_name == "<module>" and getattr(module, "__dict__", None) is (
            frame.f_globals
        ):
            return str(name), _line_of(frame)
        frame = frame.f_back
    return function.__module__, 0


def definition_line(code: CodeType) -> int:
    """The line of a function's `def`: `co_firstlineno` is that of its first decorator."""
    line = code.co_firstlineno
    while text := linecache.getline(code.co_filename, line):
        if re.match(r"\s*(async\s+)?def\b", text):
            return line
        line += 1
    return code.co_firstlineno
