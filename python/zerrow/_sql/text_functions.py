"""SQL's text functions in conditions and values: UPPER, LOWER, TRIM, REPLACE, SUBSTRING, LENGTH.

`zerrow._native` has registered them with Arrow; they keep dictionaries as dictionaries and compute
each of their values once. Arguments after the text are literals.
"""

from collections.abc import Callable, Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from sqlglot import exp
from zerrow import _native  # noqa: F401 (registers the functions)
from zerrow._sql.literals import ExpressionError, Operand

TEXT_FUNCTIONS = (exp.Upper, exp.Lower, exp.Trim, exp.Replace, exp.Substring, exp.Length)

_NAMES: Mapping[type[exp.Expr], str] = {
    exp.Upper: "upper",
    exp.Lower: "lower",
    exp.Replace: "replace",
    exp.Length: "length",
}
_TRIMS = {"": "trim", "BOTH": "trim", "LEADING": "ltrim", "TRAILING": "rtrim"}


def check_arguments(node: exp.Expr, text: str) -> None:
    """Raises ExpressionError for arguments that can't be right whatever the column is."""
    known = {"this", "expression", "position", "replacement", "start", "length"}
    if any(value for name, value in node.args.items() if name not in known):
        raise ExpressionError(f"{text} is not supported here")
    _arguments(node, text)


def call(node: exp.Expr, operand: Operand, text: str) -> pc.Expression:
    """The function of a text that is compiled already."""
    type_ = operand.type
    if pt.is_dictionary(type_):
        type_ = type_.value_type
    if not (pt.is_string(type_) or pt.is_large_string(type_) or type_ == pa.string_view()):
        raise ExpressionError(f"{text}: {operand.shown} is not a text")
    name, arguments = _arguments(node, text)
    return expression(name, operand.expression, *arguments)


def expression(name: str, text: pc.Expression, *arguments: pa.Scalar) -> pc.Expression:
    """A call of one of the registered functions."""
    call_: Callable[..., pc.Expression] = pc.Expression._call
    return call_(f"zerrow_{name}", [text, *map(pc.scalar, arguments)])


def _arguments(node: exp.Expr, text: str) -> tuple[str, list[pa.Scalar]]:
    if isinstance(node, exp.Trim):
        characters = node.expression
        given = " " if characters is None else _text(characters, text, "the characters")
        return _TRIMS[str(node.args.get("position") or "").upper()], [pa.scalar(given)]
    if isinstance(node, exp.Replace):
        pattern = _text(node.expression, text, "what is replaced")
        replacement = _text(node.args.get("replacement"), text, "the replacement")
        return "replace", [pa.scalar(pattern), pa.scalar(replacement)]
    if isinstance(node, exp.Substring):
        return "substring", _range(node, text)
    return _NAMES[type(node)], []


def _range(node: exp.Substring, text: str) -> list[pa.Scalar]:
    """SQL counts from 1; what a length says of characters before the first is lost."""
    start = _whole(node.args.get("start"), text) - 1
    length = node.args.get("length")
    if length is None:
        return [pa.scalar(max(start, 0)), pa.scalar(None, pa.int64())]
    count = _whole(length, text)
    if count < 0:
        raise ExpressionError(f"{text}: the length must not be negative")
    return [pa.scalar(max(start, 0)), pa.scalar(max(start + count, 0))]


def _text(node: exp.Expr | None, text: str, what: str) -> str:
    if not isinstance(node, exp.Literal) or not node.is_string:
        raise ExpressionError(f"{text}: {what} must be a text in quotes")
    return str(node.this)


def _whole(node: exp.Expr | None, text: str) -> int:
    while isinstance(node, exp.Paren):
        node = node.this
    negative = isinstance(node, exp.Neg)
    number = node.this if negative and node is not None else node
    if not isinstance(number, exp.Literal) or number.is_string or not number.this.isdigit():
        raise ExpressionError(f"{text}: start and length must be whole numbers")
    value = int(number.this)
    if value >= 2**31:
        raise ExpressionError(f"{text}: {value} is too large")
    return -value if negative else value
