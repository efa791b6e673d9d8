"""Which row groups of a Parquet file a filter can't keep a row of. Pure: no file is read here.

A filter is given as a small expression; what it can't say is `Unknown`, which skips nothing. Of
each part is worked out which of true, false and null it can be for some row of a group, going by
the group's statistics; where a filter can't be true, the group may be skipped.

Statistics say nothing of NaN, and engines don't agree what NaN is: to Arrow no comparison of it is
true, to DuckDB it is the largest whatever its sign. DataFusion evaluates all filters that are
pushed down, so that its answer counts here.
"""

import bisect
import decimal
import enum
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.types as pt

_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_DAY_NS = 86_400 * 10**9


class Family(enum.Enum):
    """Values of one family have an order on which all engines agree, NaN and zeros apart."""

    EXACT = "integers and decimals"
    FLOAT = "floats"
    TEXT = "texts, by their UTF-8 bytes"
    INSTANT = "dates and timestamps without a zone, as nanoseconds"
    ZONED = "timestamps with a zone, as nanoseconds"
    TIME = "times of day, as nanoseconds"
    BOOLEAN = "booleans"


Plain = int | float | decimal.Decimal | bytes


@dataclass(frozen=True)
class Value:
    """A literal or a bound: comparable with values of its family."""

    family: Family
    plain: Plain


_FAMILIES: Mapping[Family, Callable[[pa.DataType], bool]] = {
    Family.EXACT: lambda type_: pt.is_integer(type_) or pt.is_decimal(type_),
    Family.FLOAT: lambda type_: type_ in (pa.float32(), pa.float64()),
    Family.TEXT: lambda type_: type_ in (pa.string(), pa.large_string(), pa.string_view()),
    Family.INSTANT: lambda type_: (
        pt.is_date(type_) or (pt.is_timestamp(type_) and type_.tz is None)
    ),
    Family.ZONED: lambda type_: pt.is_timestamp(type_) and type_.tz is not None,
    Family.TIME: pt.is_time,
    Family.BOOLEAN: pt.is_boolean,
}


def family_of(type_: pa.DataType) -> Family | None:
    """The family of a type's values; None for a type that nothing is known about."""
    plain = type_.value_type if pt.is_dictionary(type_) else type_
    return next((family for family, fits in _FAMILIES.items() if fits(plain)), None)


def nanoseconds(type_: pa.DataType, count: int) -> int:
    """A date or time of the type, which counts days or units, in nanoseconds."""
    if type_ == pa.date32():
        return count * _DAY_NS
    return count * _NANOSECONDS["ms" if type_ == pa.date64() else type_.unit]


def value_of(scalar: pa.Scalar) -> Value | None:
    """A literal; None for null, NaN and what has no order that all agree on."""
    family = family_of(scalar.type)
    if family is None or not scalar.is_valid or pt.is_dictionary(scalar.type):
        return None
    if family in (Family.INSTANT, Family.ZONED, Family.TIME):
        return Value(family, nanoseconds(scalar.type, scalar.value))
    plain = scalar.as_py()
    if family is Family.FLOAT and math.isnan(plain):
        return None
    return Value(family, plain.encode() if isinstance(plain, str) else plain)


# ---- filters


class Comparison(enum.Enum):
    """Operators between a column (left) and a literal, as DataFusion calls them."""

    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="


@dataclass(frozen=True)
class Compare:
    """`column operator literal`, the literal as it is when the engine compares it.

    An engine that compares a 32-bit column with 0.1 as 32 bits, for instance, compares with
    0.10000000149.
    """

    column: str
    operator: Comparison
    literal: Value


@dataclass(frozen=True)
class Between:
    """`column BETWEEN low AND high`."""

    column: str
    low: Value
    high: Value


@dataclass(frozen=True)
class OneOf:
    """`column IN (literals)`; `or_null` if NULL is among them."""

    column: str
    literals: tuple[Value, ...]
    or_null: bool = False

    @functools.cached_property
    def family(self) -> Family | None:
        """The one family of all literals."""
        families = {literal.family for literal in self.literals}
        return families.pop() if len(families) == 1 else None

    @functools.cached_property
    def ordered(self) -> list[Plain]:
        """The literals in their order, so that long lists cost little for each group."""
        return sorted(literal.plain for literal in self.literals)


@dataclass(frozen=True)
class IsNull:
    """`column IS NULL`; IS NOT NULL is its negation."""

    column: str


@dataclass(frozen=True)
class Not:
    """`NOT term`."""

    term: "Filter"


@dataclass(frozen=True)
class And:
    """`left AND right`."""

    left: "Filter"
    right: "Filter"


@dataclass(frozen=True)
class Or:
    """`left OR right`."""

    left: "Filter"
    right: "Filter"


@dataclass(frozen=True)
class Always:
    """A constant: true, false or null (None)."""

    truth: bool | None


@dataclass(frozen=True)
class Unknown:
    """Anything else."""


Filter = Compare | Between | OneOf | IsNull | Not | And | Or | Always | Unknown


# ---- what is known of a row group


@dataclass(frozen=True)
class Bounds:
    """What a group's statistics say of a column.

    `low` and `high` hold for all values but nulls and NaN, and are None where they are missing.
    They needn't be values of the column: writers cut long texts.
    """

    family: Family | None = None
    low: Plain | None = None
    high: Plain | None = None
    nulls: int | None = None


def bounds_of(
    family: Family, low: Plain | None, high: Plain | None, nulls: int | None = None
) -> Bounds:
    """Without bounds that can't be right, as a NaN, or a low one above the high one."""
    for bound in (low, high):
        if isinstance(bound, float) and math.isnan(bound):
            return Bounds(family, nulls=nulls)
    if low is not None and high is not None and low > high:  # type: ignore[operator]
        return Bounds(family, nulls=nulls)
    return Bounds(family, low, high, nulls)


@dataclass(frozen=True)
class Group:
    """A row group: how many rows it has, and what is known of columns; of others nothing is."""

    rows: int
    columns: Mapping[str, Bounds] = field(default_factory=dict)


_NOTHING_KNOWN = Bounds()


# ---- what a condition can be for a row

Outcomes = frozenset[bool | None]
_ANY: Outcomes = frozenset((True, False, None))
_EITHER: Outcomes = frozenset((True, False))
_TRUE: Outcomes = frozenset((True,))
_FALSE: Outcomes = frozenset((False,))
_NULL: Outcomes = frozenset((None,))
_NONE: Outcomes = frozenset()


# ---- the rule


def may_skip(condition: Filter, group: Group) -> bool:
    """Whether the condition, evaluated by DataFusion, keeps no row."""
    return group.rows == 0 or True not in _outcomes(condition, group)


def _outcomes(condition: Filter, group: Group) -> Outcomes:
    match condition:
        case Unknown():
            return _ANY
        case Always(truth):
            return frozenset((truth,))
        case Not(term):
            found = _outcomes(term, group)
            return frozenset(None if truth is None else not truth for truth in found)
        case And(left, right) | Or(left, right):
            return _combined(
                _outcomes(left, group),
                _outcomes(right, group),
                decisive=isinstance(condition, Or),
            )
        case IsNull(column):
            return _of_is_null(group, group.columns.get(column, _NOTHING_KNOWN))
        case Compare() | Between() | OneOf():
            return _of_values(condition, group)


def _combined(left: Outcomes, right: Outcomes, *, decisive: bool) -> Outcomes:
    """Of AND, which a single false decides, or OR, which a single true does."""
    found: set[bool | None] = set()
    for one in left:
        for other in right:
            if decisive in (one, other):
                found.add(decisive)
            else:
                found.add(None if None in (one, other) else not decisive)
    return frozenset(found)


def _of_is_null(group: Group, bounds: Bounds) -> Outcomes:
    if bounds.nulls is None:
        return _EITHER
    if bounds.nulls == 0:
        return _FALSE
    return _TRUE if bounds.nulls >= group.rows else _EITHER


def _of_values(condition: Compare | Between | OneOf, group: Group) -> Outcomes:
    """Of nulls, of NaN and of all other values that the column can have."""
    bounds = group.columns.get(condition.column, _NOTHING_KNOWN)
    found = _NONE if bounds.nulls == 0 else _NULL
    if bounds.nulls is not None and bounds.nulls >= group.rows:
        return found
    if bounds.family is Family.FLOAT:
        found |= _of_nan(condition)
    match condition:
        case Compare(_, operator, literal):
            return found | _of_comparison(operator, literal, bounds)
        case Between(_, low, high):
            above = _of_comparison(Comparison.GE, low, bounds)
            below = _of_comparison(Comparison.LE, high, bounds)
            return found | _combined(above, below, decisive=False)
        case OneOf():
            return found | _of_list(condition, bounds)


def _of_nan(condition: Compare | Between | OneOf) -> Outcomes:
    """By total order NaN is the largest, but the smallest if its sign is set, which -0.0/0.0 and
    inf - inf give on x86. It equals no literal, and lies between no two."""
    operator = condition.operator if isinstance(condition, Compare) else Comparison.EQ
    if operator is Comparison.EQ:
        return _FALSE
    return _TRUE if operator is Comparison.NE else _EITHER


# Whether a value that is less than, equal to or greater than the literal fulfils the comparison.
_TRUE_FOR = {
    Comparison.EQ: (False, True, False),
    Comparison.NE: (True, False, True),
    Comparison.LT: (True, False, False),
    Comparison.LE: (True, True, False),
    Comparison.GT: (False, False, True),
    Comparison.GE: (False, True, True),
}


def _of_comparison(operator: Comparison, literal: Value, bounds: Bounds) -> Outcomes:
    given = _fitting(bounds, literal.family)
    if given is None:
        return _EITHER
    true_for = zip(_TRUE_FOR[operator], _orders(given, literal.plain), strict=True)
    return frozenset(truth for truth, possible in true_for if possible)


def _of_list(condition: OneOf, bounds: Bounds) -> Outcomes:
    otherwise = _NULL if condition.or_null else _FALSE
    if not condition.literals:
        return otherwise
    given = None if condition.family is None else _fitting(bounds, condition.family)
    if given is None:
        return otherwise | _TRUE
    first = 0 if given.low is None else bisect.bisect_left(condition.ordered, given.low)
    if first == len(condition.ordered):
        return otherwise
    # If the smallest that isn't below the low bound is above the high one, so are the rest.
    _, equal, _ = _orders(given, condition.ordered[first])
    return otherwise | _TRUE if equal else otherwise


def _fitting(bounds: Bounds, family: Family) -> Bounds | None:
    """The bounds as an engine compares them with a literal of the family; None if unknown."""
    if bounds.family is family:
        return bounds
    whole = all(bound is None or isinstance(bound, int) for bound in (bounds.low, bounds.high))
    if bounds.family is Family.EXACT and family is Family.FLOAT and whole:
        # All engines compare whole numbers with floats as floats; rounding keeps their order.
        low, high = (None if b is None else float(b) for b in (bounds.low, bounds.high))
        return Bounds(family, low, high)
    return None


# Writers have cut long maxima without rounding them up; none cuts below this.
_CUT_FROM_BYTES = 8


def _orders(bounds: Bounds, literal: Plain) -> tuple[bool, bool, bool]:
    """Whether a value within the bounds can be less than, equal to, greater than the literal."""
    low, high = bounds.low, bounds.high
    cut = isinstance(high, bytes) and len(high) >= _CUT_FROM_BYTES
    begins_with_high = cut and literal.startswith(high)  # type: ignore
    less = low is None or low < literal  # type: ignore[operator]
    greater = high is None or high > literal  # type: ignore[operator]
    reached = high is None or high >= literal or begins_with_high  # type: ignore[operator]
    equal = (low is None or low <= literal) and reached  # type: ignore[operator]
    return less, equal, greater or begins_with_high
