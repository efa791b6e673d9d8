"""What of a condition, as `filters` reads it, row groups can be pruned by."""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.types as pt
from sqlglot import exp
from zerrow._sql import pruning
from zerrow._sql.expressions import Compiler
from zerrow._sql.literals import comparable_pair
from zerrow._sql.pruning import Comparison, Filter, Value

_OPERATORS: Mapping[type[exp.Expr], Comparison] = {
    exp.EQ: Comparison.EQ,
    exp.NEQ: Comparison.NE,
    exp.LT: Comparison.LT,
    exp.LTE: Comparison.LE,
    exp.GT: Comparison.GT,
    exp.GTE: Comparison.GE,
}
_MIRRORED = {
    Comparison.EQ: Comparison.EQ,
    Comparison.NE: Comparison.NE,
    Comparison.LT: Comparison.GT,
    Comparison.LE: Comparison.GE,
    Comparison.GT: Comparison.LT,
    Comparison.GE: Comparison.LE,
}
_UNKNOWN = pruning.Unknown()
_NULL = pruning.Always(None)


class Prunable:
    """Reads conditions that fit a schema, which is what the Compiler makes sure of before."""

    def __init__(self, schema: pa.Schema) -> None:
        self._compiler = Compiler(schema)

    def filter(self, node: exp.Expr) -> Filter:
        """The condition for `pruning`; parts that it can't say are Unknown."""
        operator = _OPERATORS.get(type(node))
        if operator is not None:
            return self._comparison(operator, node.this, node.expression)
        read = getattr(self, f"_{type(node).__name__.lower()}", None)
        return _UNKNOWN if read is None else read(node)

    def _paren(self, node: exp.Paren) -> Filter:
        return self.filter(node.this)

    def _not(self, node: exp.Not) -> Filter:
        return pruning.Not(self.filter(node.this))

    def _and(self, node: exp.And) -> Filter:
        return pruning.And(self.filter(node.left), self.filter(node.right))

    def _or(self, node: exp.Or) -> Filter:
        return pruning.Or(self.filter(node.left), self.filter(node.right))

    def _boolean(self, node: exp.Boolean) -> Filter:
        return pruning.Always(bool(node.this))

    def _null(self, _: exp.Null) -> Filter:
        return _NULL

    def _column(self, node: exp.Column) -> Filter:
        return self._comparison(Comparison.EQ, node, exp.Boolean(this=True))

    def _is(self, node: exp.Is) -> Filter:
        column = _column_of(node.this)
        if column is None or not isinstance(node.expression, exp.Null):
            return _UNKNOWN
        found = pruning.IsNull(column)
        return pruning.Not(found) if node.args.get("negate") else found

    def _comparison(self, operator: Comparison, left: exp.Expr, right: exp.Expr) -> Filter:
        if _column_of(left) is None:
            operator, left, right = _MIRRORED[operator], right, left
        column = _column_of(left)
        if column is None:
            return _UNKNOWN
        literal = self._literal(left, right)
        if not isinstance(literal, Value):
            return literal
        return pruning.Compare(column, operator, literal)

    def _between(self, node: exp.Between) -> Filter:
        low = self._comparison(Comparison.GE, node.this, node.args["low"])
        high = self._comparison(Comparison.LE, node.this, node.args["high"])
        if _column_of(node.this) is None or not (
            isinstance(low, pruning.Compare) and isinstance(high, pruning.Compare)
        ):
            return pruning.And(low, high)
        return pruning.Between(low.column, low.literal, high.literal)

    def _in(self, node: exp.In) -> Filter:
        column = _column_of(node.this)
        if column is None:
            return _UNKNOWN
        literals = [self._literal(node.this, item) for item in node.expressions]
        values = tuple(literal for literal in literals if isinstance(literal, Value))
        nulls = literals.count(_NULL)
        if len(values) + nulls < len(literals):
            return _UNKNOWN
        return pruning.OneOf(column, values, or_null=nulls > 0)

    def _literal(self, column: exp.Expr, node: exp.Expr) -> Value | Filter:
        """The literal that the column is compared with; what the comparison is if it is none."""
        operands = self._compiler.operand(column), self._compiler.operand(node)
        if any(pt.is_null(operand.type) for operand in operands):
            return _NULL
        _, literal = comparable_pair(*operands)
        if literal.constant is None:
            return _UNKNOWN
        return pruning.value_of(literal.constant) or _UNKNOWN


def _column_of(node: exp.Expr) -> str | None:
    """The name, if the node is a plain column."""
    while isinstance(node, exp.Paren):
        node = node.this
    return str(node.name) if isinstance(node, exp.Column) else None
