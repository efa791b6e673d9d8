"""What of a condition, as DataFusion has planned it, row groups can be pruned by."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.types as pt
from zerrow._sql import pruning
from zerrow._sql.pruning import Comparison, Family, Filter, Value

if TYPE_CHECKING:
    from datafusion import Expr

_OPERATORS: Mapping[str, Comparison] = {one.value: one for one in Comparison}
_MIRRORED = {  # the others stay
    Comparison.LT: Comparison.GT,
    Comparison.LE: Comparison.GE,
    Comparison.GT: Comparison.LT,
    Comparison.GE: Comparison.LE,
}
_UNKNOWN = pruning.Unknown()
_NULL = pruning.Always(None)


class Prunable:
    """Reads conditions over the columns of a schema; literals have the engine's types already."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema

    def filter(self, node: "Expr") -> Filter:
        """The condition for `pruning`; parts that it can't say are Unknown."""
        readers: Mapping[str, Callable[[Expr], Filter]] = {
            "BinaryExpr": self._binary,
            "Column": self._flag,
            "Literal": self._constant,
            "InList": lambda node: self._in(node.to_variant()),
            "Not": lambda node: pruning.Not(self.filter(node.rex_call_operands()[0])),
            "IsNull": _is_null,
            "IsNotNull": lambda node: pruning.Not(_is_null(node)),
        }
        read = readers.get(node.variant_name())
        return _UNKNOWN if read is None else read(node)

    def _binary(self, node: "Expr") -> Filter:
        operator = node.to_variant().op()
        left, right = node.rex_call_operands()
        if operator == "AND":
            return _and(self.filter(left), self.filter(right))
        if operator == "OR":
            return pruning.Or(self.filter(left), self.filter(right))
        comparison = _OPERATORS.get(operator)
        if comparison is None:
            return _UNKNOWN
        if self._column(left) is None:
            comparison, left, right = _MIRRORED.get(comparison, comparison), right, left
        column = self._column(left)
        literal = _value(right)
        if column is None or literal is None:
            return _UNKNOWN
        return (
            literal
            if isinstance(literal, pruning.Always)
            else pruning.Compare(column, comparison, literal)
        )

    def _flag(self, node: "Expr") -> Filter:
        name = str(node.to_variant().name())
        if self._type(name) != pa.bool_():
            return _UNKNOWN
        return pruning.Compare(name, Comparison.EQ, Value(Family.BOOLEAN, True))

    @staticmethod
    def _constant(node: "Expr") -> Filter:
        scalar = node.python_value()
        if isinstance(scalar, pa.BooleanScalar):
            return pruning.Always(scalar.as_py())
        return _NULL if isinstance(scalar, pa.Scalar) and not scalar.is_valid else _UNKNOWN

    def _in(self, variant: Any) -> Filter:  # noqa: ANN401 (datafusion's InList)
        column = self._column(variant.expr())
        literals = [_value(item) for item in variant.list()]
        values = tuple(literal for literal in literals if isinstance(literal, Value))
        nulls = literals.count(_NULL)
        if column is None or len(values) + nulls < len(literals):
            return _UNKNOWN
        found = pruning.OneOf(column, values, or_null=nulls > 0)
        return pruning.Not(found) if variant.negated() else found

    def _type(self, name: str) -> pa.DataType | None:
        at = self._schema.get_all_field_indices(name)
        return self._schema.field(at[0]).type if len(at) == 1 else None

    def _column(self, node: "Expr") -> str | None:
        """The name, if the node is a column, or one whose values are cast in their order."""
        kind = node.variant_name()
        if kind == "Column":
            return str(node.to_variant().name())
        if kind != "Cast":
            return None
        (below,) = node.rex_call_operands()
        if below.variant_name() != "Column":
            return None
        name = str(below.to_variant().name())
        type_ = self._type(name)
        return name if type_ is not None and _keeps_order(type_, _cast_to(node)) else None


def _is_null(node: "Expr") -> Filter:
    (term,) = node.rex_call_operands()
    if term.variant_name() != "Column":
        return _UNKNOWN
    return pruning.IsNull(term.to_variant().name())


def _cast_to(node: "Expr") -> str:
    """`Float64` of `CAST(t.x AS Float64)`."""
    return node.canonical_name().rpartition(" AS ")[2].removesuffix(")")


_WIDER: Mapping[str, Callable[[pa.DataType], bool]] = {
    # Whole numbers beyond 2**53 are rounded, which keeps their order: `pruning` does the same.
    "Float64": lambda type_: pt.is_integer(type_) or type_ in (pa.float32(), pa.float64()),
    "Int64": lambda type_: pt.is_integer(type_) and type_ != pa.uint64(),
    "UInt64": pt.is_unsigned_integer,
    "Int32": lambda type_: type_ in (pa.int8(), pa.int16(), pa.uint8(), pa.uint16(), pa.int32()),
}


def _keeps_order(type_: pa.DataType, target: str) -> bool:
    """Whether a cast changes no value of a number, or rounds it to a double."""
    if target.startswith("Decimal"):
        return bool(pt.is_integer(type_) or pt.is_decimal(type_))
    wider = _WIDER.get(target)
    return wider is not None and wider(type_)


def _value(node: "Expr") -> Value | pruning.Always | None:
    """A literal; null if it is one; None for anything else."""
    if node.variant_name() != "Literal":
        return None
    scalar = node.python_value()
    if not isinstance(scalar, pa.Scalar):
        return None
    if not scalar.is_valid:
        return _NULL
    if isinstance(scalar, pa.DictionaryScalar):
        scalar = scalar.value
    return pruning.value_of(scalar)


def _and(left: Filter, right: Filter) -> Filter:
    """Two bounds of one column are a range, of which NaN is no part to any engine."""
    for low, high in ((left, right), (right, left)):
        if (
            isinstance(low, pruning.Compare)
            and isinstance(high, pruning.Compare)
            and low.column == high.column
            and (low.operator, high.operator) == (Comparison.GE, Comparison.LE)
        ):
            return pruning.Between(low.column, low.literal, high.literal)
    return pruning.And(left, right)
