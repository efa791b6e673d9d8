"""Literals of SQL as Arrow scalars, and the types that the two sides of an operator get.

Arrow's implicit casts are not SQL's: they narrow literals (`i8 + 1` overflows at 127, `id > 1.5`
fails above 2**24) and fail where an integer has no exact float. So both sides get fitting types
here; a literal that of its column where that loses nothing, so that no column has to be cast.
"""

import datetime
import decimal
import math
import re
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

# Wide enough for each 64-bit integer, signed or not.
_ANY_INTEGER = pa.decimal128(20, 0)
_INTEGER_BOUNDS = {
    pa.int8(): (-(2**7), 2**7 - 1),
    pa.int16(): (-(2**15), 2**15 - 1),
    pa.int32(): (-(2**31), 2**31 - 1),
    pa.int64(): (-(2**63), 2**63 - 1),
    pa.uint8(): (0, 2**8 - 1),
    pa.uint16(): (0, 2**16 - 1),
    pa.uint32(): (0, 2**32 - 1),
    pa.uint64(): (0, 2**64 - 1),
}


class ExpressionError(ValueError):
    """What is wrong with an expression, without its whole text."""


@dataclass(frozen=True)
class Operand:
    """A part of an expression: its type and text; what it is worth, if it is a literal.

    `constant` is a literal as a scalar of the type. A number or text of SQL has no certain type:
    `literal` is its value, out of which the other side's type makes another scalar.
    """

    expression: pc.Expression
    type: pa.DataType
    text: str
    literal: int | decimal.Decimal | float | str | None = None
    constant: pa.Scalar | None = None

    def cast(self, type_: pa.DataType, *, safe: bool = True) -> "Operand":
        """This part with another type."""
        if self.type == type_:
            return self
        return Operand(self.expression.cast(type_, safe=safe), type_, self.text)

    @property
    def shown(self) -> str:
        """For messages: the text with its type."""
        return self.text if self.literal is not None else f"{self.text} ({self.type})"


def scalar_operand(scalar: pa.Scalar, text: str) -> Operand:
    """A value whose type is certain."""
    return Operand(pc.scalar(scalar), scalar.type, text, constant=scalar)


def number_literal(text: str) -> Operand:
    """A number: an integer, a decimal (1.5), or a float (1e3 or too long for the others)."""
    value: int | decimal.Decimal | float = int(text) if text.isdigit() else decimal.Decimal(text)
    if isinstance(value, int) and value >= 2**63:
        value = decimal.Decimal(value)
    if isinstance(value, decimal.Decimal) and (
        "e" in text.lower() or len(value.as_tuple().digits) > 38
    ):
        value = float(text)
        if not math.isfinite(value):
            raise ExpressionError(f"{text} is too large")
    return _untyped(value, text)


def text_literal(text: str, sql: str) -> Operand:
    """A text; next to a date or time it is read as one."""
    return Operand(pc.scalar(text), pa.string(), sql, text, pa.scalar(text))


def negated_literal(operand: Operand, sql: str) -> Operand | None:
    """Minus a literal number, as a literal; None for anything else."""
    if operand.literal is None or isinstance(operand.literal, str):
        return None
    return _untyped(-operand.literal, sql)


def temporal_literal(kind: str, text: str, sql: str) -> Operand:
    """DATE, TIMESTAMP, TIMESTAMPTZ or TIME '...'."""
    try:
        if kind == "DATE":
            return scalar_operand(pa.scalar(datetime.date.fromisoformat(text)), sql)
        if kind == "TIME":
            time = datetime.time.fromisoformat(text)
            return scalar_operand(pa.scalar(time, pa.time64("us")), sql)
        return scalar_operand(_timestamp(text, "UTC" if kind == "TIMESTAMPTZ" else None), sql)
    except (ValueError, pa.ArrowInvalid):
        what = "time" if kind == "TIME" else "date" if kind == "DATE" else "date and time"
        raise ExpressionError(f"{text!r} is not a {what}") from None


def comparable_pair(left: Operand, right: Operand) -> tuple[Operand, Operand]:
    """Both sides of a comparison with types that Arrow compares as SQL would."""
    left, right = _plain(left), _plain(right)
    left, right = _fit(left, right.type), _fit(right, left.type)
    families = {_family(left.type), _family(right.type)}
    if families == {"number"}:
        return _numbers(left, right)
    if families == {"text"}:
        text = pa.large_string() if pa.large_string() in (left.type, right.type) else pa.string()
        return left.cast(text), right.cast(text)
    if len(families) == 1 and _zone(left.type) == _zone(right.type):
        return left, right
    raise ExpressionError(f"{left.shown} can't be compared with {right.shown}")


def arithmetic_pair(left: Operand, right: Operand) -> tuple[Operand, Operand]:
    """Both sides of + - * / % with types whose result can hold what SQL's would."""
    left, right = _plain(left), _plain(right)
    for side, other in ((left, right), (right, left)):
        if _family(side.type) != "number":
            raise ExpressionError(f"{side.shown} and {other.shown} can't be calculated with")
    if isinstance(right.literal, int) and pt.is_integer(left.type):
        left = _widened(left)
    if isinstance(left.literal, int) and pt.is_integer(right.type):
        right = _widened(right)
    left, right = _arithmetic_literal(left, right.type), _arithmetic_literal(right, left.type)
    return _numbers(left, right)


def _untyped(value: int | decimal.Decimal | float, text: str) -> Operand:
    type_ = pa.int64() if isinstance(value, int) else None
    scalar = pa.scalar(value, type_)
    return Operand(pc.scalar(scalar), scalar.type, text, value, scalar)


def _with_scalar(operand: Operand, scalar: pa.Scalar) -> Operand:
    """A literal as another scalar."""
    return replace(operand, expression=pc.scalar(scalar), type=scalar.type, constant=scalar)


def _plain(operand: Operand) -> Operand:
    """Without dictionaries, run ends and views, for which Arrow has few kernels."""
    type_ = operand.type
    if pt.is_dictionary(type_) or pt.is_run_end_encoded(type_):
        operand = operand.cast(type_.value_type)
    if operand.type == pa.string_view():
        return operand.cast(pa.string())
    if operand.type == pa.binary_view():
        return operand.cast(pa.binary())
    return operand


def _family(type_: pa.DataType) -> str:
    """Types of one family can be compared."""
    if pt.is_integer(type_) or pt.is_floating(type_) or pt.is_decimal(type_):
        return "number"
    if pt.is_string(type_) or pt.is_large_string(type_):
        return "text"
    if pt.is_date(type_) or pt.is_timestamp(type_):
        return "date"
    return "time" if pt.is_time(type_) else str(type_)


def _zone(type_: pa.DataType) -> bool:
    return pt.is_timestamp(type_) and type_.tz is not None


def _numbers(left: Operand, right: Operand) -> tuple[Operand, Operand]:
    types = (left.type, right.type)
    if any(map(pt.is_floating, types)) and any(map(pt.is_integer, types)):
        # An integer beyond 2**53 is rounded, as everywhere in SQL; Arrow's own cast would fail.
        return left.cast(pa.float64(), safe=False), right.cast(pa.float64(), safe=False)
    if pa.uint64() in types and any(map(pt.is_signed_integer, types)):
        return left.cast(_ANY_INTEGER), right.cast(_ANY_INTEGER)
    return left, right


def _widened(operand: Operand) -> Operand:
    return operand if operand.type.bit_width == 64 else operand.cast(pa.int64())


def _arithmetic_literal(operand: Operand, target: pa.DataType) -> Operand:
    """Next to a whole number or a float `1.5` is a float; next to a decimal it is a decimal."""
    if isinstance(operand.literal, decimal.Decimal | float) and pt.is_integer(target):
        return float_literal(operand)
    return _fit(operand, target)


def float_literal(operand: Operand) -> Operand:
    """`1.5`, which next to a decimal is a decimal, as a float; anything else as it is."""
    if not isinstance(operand.literal, decimal.Decimal):
        return operand
    return _untyped(float(operand.literal), operand.text)


def _fit(operand: Operand, target: pa.DataType) -> Operand:
    """An untyped literal as the type of the other side, where it has such a value."""
    value = operand.literal
    if isinstance(value, str):
        return _fit_text(operand, value, target)
    if value is not None:
        return _fit_number(operand, value, target)
    if operand.constant is not None:
        return _with_scalar(operand, _fit_constant(operand.constant, target))
    return operand


def _fit_number(
    operand: Operand, value: int | decimal.Decimal | float, target: pa.DataType
) -> Operand:
    if pt.is_integer(target):
        low, high = _INTEGER_BOUNDS[target]
        if value == int(value) and low <= value <= high:
            return _with_scalar(operand, pa.scalar(int(value), target))
        return _exact(operand, value)
    if pt.is_floating(target):
        single = target == pa.float32() and pa.scalar(float(value), target).as_py() == float(value)
        return _with_scalar(operand, pa.scalar(float(value), target if single else pa.float64()))
    return _exact(operand, value) if pt.is_decimal(target) else operand


def _exact(operand: Operand, value: int | decimal.Decimal | float) -> Operand:
    """As a decimal, with which Arrow compares integers and decimals exactly."""
    exact = decimal.Decimal(format(decimal.Decimal(value), "f"))
    if len(exact.as_tuple().digits) > 38:
        return operand
    return _with_scalar(operand, pa.scalar(exact))


def _fit_text(operand: Operand, text: str, target: pa.DataType) -> Operand:
    if pt.is_large_string(target):
        return _with_scalar(operand, pa.scalar(text, target))
    if pt.is_date(target) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", text.strip()):
        return _fit(temporal_literal("DATE", text.strip(), operand.text), target)
    if pt.is_time(target):
        return _fit(temporal_literal("TIME", text, operand.text), target)
    if pt.is_date(target) or pt.is_timestamp(target):
        kind = "TIMESTAMPTZ" if _zone(target) else "TIMESTAMP"
        return _fit(temporal_literal(kind, text, operand.text), target)
    return operand


def _fit_constant(scalar: pa.Scalar, target: pa.DataType) -> pa.Scalar:
    """A date or time as the column's type where that loses nothing; without a zone it is UTC."""
    if pt.is_timestamp(target) and pt.is_date(scalar.type):
        scalar = scalar.cast(pa.timestamp("us"))
    if pt.is_timestamp(target) and pt.is_timestamp(scalar.type):
        if target.tz is None and scalar.type.tz is not None:
            return scalar
        scalar = scalar.cast(pa.timestamp(scalar.type.unit, target.tz))
    elif not (
        (pt.is_date(target) and pt.is_date(scalar.type))
        or (pt.is_time(target) and pt.is_time(scalar.type))
    ):
        return scalar
    try:
        return scalar.cast(target)
    except pa.ArrowInvalid:
        return scalar


def _timestamp(text: str, zone: str | None) -> pa.Scalar:
    fraction = re.search(r"\.(\d+)", text)
    unit = "ns" if fraction and len(fraction[1]) > 6 else "us"
    has_zone = re.search(r"\d\s*(Z|[+-]\d{2}(:?\d{2})?)$", text) and len(text) > len("2013-01-01")
    plain = pa.timestamp(unit)
    if zone is None:
        return pa.scalar(text).cast(plain)
    if has_zone:
        return pa.scalar(text).cast(pa.timestamp(unit, zone))
    return pa.scalar(text).cast(plain).cast(pa.timestamp(unit, zone))
