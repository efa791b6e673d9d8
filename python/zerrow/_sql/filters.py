"""Conditions and values written as in SQL, for Arrow: `dep_delay > 60 AND carrier IN ('AA', 'UA')`.

They are read by sqlglot (as PostgreSQL's SQL) and become `pyarrow.compute` expressions, which are
pushed down into Parquet reads and run by Acero. Supported: comparisons, AND, OR, NOT, IN, BETWEEN,
IS [NOT] NULL/TRUE/FALSE, [NOT] LIKE/ILIKE with a literal pattern, + - * / %, the text functions of
`text_functions`, column names (quoted or not, and case-sensitive either way) and literals, DATE
'...', TIMESTAMP '...' and TIME '...' too.

Null is SQL's: a comparison with null is null, and only rows for which the condition is true pass.
Integers divide as integers, an overflow or a division of integers by zero is an error. A text next
to a date or timestamp column is read as one; without a zone, next to a column with one, it is UTC.
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from zerrow._errors import SqlError
from zerrow._sql.expressions import Compiler, check
from zerrow._sql.literals import ExpressionError
from zerrow._sql.text import tokenize

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
    from zerrow._sql.pruning import Filter

DIALECT = "postgres"


class FilterError(ValueError):
    """A condition or value that can't be used, and why; it names the text."""


def columns_of(text: str) -> list[str]:
    """The columns that a condition or value reads, each once, in the order of the text."""
    return list(
        dict.fromkeys(column.name for column in _parse(text).find_all(exp.Column, bfs=False))
    )


def check_text(text: str) -> None:
    """Raises FilterError for what could not work on any table."""
    with _errors_of(text):
        check(_parse(text))


def compile_condition(text: str, schema: "pa.Schema") -> "pc.Expression":
    """The condition for a table of the schema; FilterError if it doesn't fit."""
    with _errors_of(text):
        return Compiler(schema).condition(_parse(text))


def prunable(text: str, schema: "pa.Schema") -> "Filter":
    """What of the condition, which fits the schema, row groups of a file can be pruned by."""
    from zerrow._sql.prunable import Prunable

    with _errors_of(text):
        return Prunable(schema).filter(_parse(text))


def compile_value(text: str, schema: "pa.Schema") -> "tuple[pc.Expression, pa.DataType]":
    """The value for each row of a table of the schema, and its type; FilterError if it can't be."""
    with _errors_of(text):
        return Compiler(schema).value(_parse(text))


def serialize(expression: "pc.Expression") -> bytes:
    """An expression as bytes for C++'s `arrow::compute::DeserializeExpression`."""
    _, (buffer,) = expression.__reduce__()
    return bytes(buffer)


@contextlib.contextmanager
def _errors_of(text: str) -> Iterator[None]:
    try:
        yield
    except ExpressionError as problem:
        raise _error(text, str(problem)) from None
    except RecursionError:
        raise _error(text, "it is nested too deeply") from None


def _parse(text: str) -> exp.Expr:
    try:
        empty = not tokenize(text, DIALECT)
        tree = None if empty else sqlglot.parse_one(text, into=exp.Condition, dialect=DIALECT)
    except (SqlglotError, SqlError):
        raise _error(text, _why_unreadable(text)) from None
    if tree is None:
        raise _error(text, "it is empty")
    return tree


def _why_unreadable(text: str) -> str:
    """What sqlglot finds wrong where a statement is expected names the place better."""
    try:
        sqlglot.parse_one(f"SELECT 1 WHERE {text}", dialect=DIALECT)
    except SqlglotError as problem:
        errors = getattr(problem, "errors", None)
        if errors and errors[0].get("highlight"):
            return f"it can't be read at {errors[0]['highlight']!r}"
    return "it is not one condition as in SQL's WHERE"


def _error(text: str, message: str) -> FilterError:
    return FilterError(f"{text!r}: {message}")
