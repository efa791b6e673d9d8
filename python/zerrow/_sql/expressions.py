"""Turns sqlglot's trees into `pyarrow.compute` expressions; `filters` describes the language."""

from collections.abc import Callable, Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.types as pt
from sqlglot import exp
from zerrow._errors import did_you_mean
from zerrow._sql import text_functions
from zerrow._sql.literals import (
    ExpressionError,
    Operand,
    arithmetic_pair,
    comparable_pair,
    float_literal,
    negated_literal,
    number_literal,
    scalar_operand,
    temporal_literal,
    text_literal,
)

_Function = Callable[..., pc.Expression]

_COMPARISONS: Mapping[type[exp.Expr], _Function] = {
    exp.EQ: pc.equal,
    exp.NEQ: pc.not_equal,
    exp.GT: pc.greater,
    exp.GTE: pc.greater_equal,
    exp.LT: pc.less,
    exp.LTE: pc.less_equal,
}
# Whole numbers and decimals must not overflow; floats go on with infinity and NaN.
_ARITHMETIC: Mapping[type[exp.Expr], tuple[_Function, _Function]] = {
    exp.Add: (pc.add_checked, pc.add),
    exp.Sub: (pc.subtract_checked, pc.subtract),
    exp.Mul: (pc.multiply_checked, pc.multiply),
    exp.Div: (pc.divide_checked, pc.divide),
    exp.Mod: (pc.remainder_checked, pc.remainder),
}
_TEMPORAL = {
    exp.DataType.Type.DATE: "DATE",
    exp.DataType.Type.TIME: "TIME",
    exp.DataType.Type.TIMESTAMP: "TIMESTAMP",
    exp.DataType.Type.TIMESTAMPNTZ: "TIMESTAMP",
    exp.DataType.Type.TIMESTAMPTZ: "TIMESTAMPTZ",
}
_OTHERS = (
    exp.And,
    exp.Or,
    exp.Not,
    exp.In,
    exp.Between,
    exp.Is,
    exp.Like,
    exp.ILike,
    exp.Neg,
    exp.Paren,
    exp.Column,
    exp.Identifier,
    exp.Literal,
    exp.Boolean,
    exp.Null,
    exp.DataType,
)
_FEW = 8  # values of an IN that are compared one by one
_NULL = scalar_operand(pa.scalar(None), "NULL")


def sql_of(node: exp.Expr) -> str:
    """A part of the expression as text, for messages."""
    return node.sql(dialect="postgres", comments=False)


def check(tree: exp.Expr) -> None:
    """Raises ExpressionError for what no table could make work: functions, queries, casts, ..."""
    for node in tree.walk():
        if type(node) is exp.Cast:
            _temporal_parts(node)
        elif isinstance(node, exp.Parameter | exp.Placeholder):
            raise ExpressionError(f"{sql_of(node)} has no value here")
        elif type(node) not in _COMPARISONS and type(node) not in _ARITHMETIC:
            if type(node) in text_functions.TEXT_FUNCTIONS:
                text_functions.check_arguments(node, sql_of(node))
            elif type(node) not in _OTHERS:
                raise ExpressionError(f"{sql_of(node)} is not supported here")
            _check_parts(node)


def _check_parts(node: exp.Expr) -> None:
    if isinstance(node, exp.Column) and node.args.get("table") is not None:
        raise ExpressionError(f"{sql_of(node)}: write the plain name of the column")
    if isinstance(node, exp.Between) and node.args.get("symmetric"):
        raise ExpressionError("BETWEEN SYMMETRIC is not supported")
    if isinstance(node, exp.In) and (not node.expressions or node.args.get("query") is not None):
        raise ExpressionError(f"{sql_of(node)}: IN needs a list of values")
    if isinstance(node, exp.Like | exp.ILike) and not _is_text(node.expression):
        raise ExpressionError(f"{sql_of(node)}: the pattern must be a text in quotes")
    if isinstance(node, exp.Is) and not isinstance(node.expression, exp.Null | exp.Boolean):
        raise ExpressionError(f"{sql_of(node)}: IS needs NULL, TRUE or FALSE")


def _is_text(node: exp.Expr) -> bool:
    return isinstance(node, exp.Literal) and bool(node.is_string)


def _temporal_parts(node: exp.Cast) -> tuple[str, str]:
    """The kind and text of DATE '...' and its like, which sqlglot reads as a cast."""
    kind = _TEMPORAL.get(node.to.this)
    if kind is None or not _is_text(node.this):
        raise ExpressionError(f"{sql_of(node)}: casts are not supported here")
    return kind, node.this.this


class Compiler:
    """Compiles expressions for the tables of one schema; raises ExpressionError."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._used: set[str] = set()

    def condition(self, tree: exp.Expr) -> pc.Expression:
        """An expression that is true, false or null for each row."""
        check(tree)
        result = self._condition(tree)
        self._bind(result.expression, sql_of(tree))
        return result.expression

    def value(self, tree: exp.Expr) -> tuple[pc.Expression, pa.DataType]:
        """An expression that is a value for each row, and the value's type."""
        check(tree)
        result = float_literal(self._compile(tree))
        return result.expression, self._bind(result.expression, sql_of(tree))

    def operand(self, node: exp.Expr) -> Operand:
        """A part of an expression, as it is before it meets the other side of an operator."""
        return self._compile(node)

    def _compile(self, node: exp.Expr) -> Operand:
        if isinstance(node, exp.Paren):
            return self._compile(node.this)
        if type(node) in _COMPARISONS:
            return self._comparison(type(node), node.this, node.expression, sql_of(node))
        if type(node) in _ARITHMETIC:
            return self._arithmetic(node)
        if isinstance(node, exp.Boolean):
            return scalar_operand(pa.scalar(bool(node.this)), sql_of(node))
        if isinstance(node, exp.Null):
            return _NULL
        result: Operand = getattr(self, f"_{type(node).__name__.lower()}")(node)
        return result

    def _condition(self, node: exp.Expr) -> Operand:
        operand = self._compile(node)
        if pt.is_null(operand.type):
            return scalar_operand(pa.scalar(None, pa.bool_()), operand.text)
        if not pt.is_boolean(operand.type):
            raise ExpressionError(f"{operand.shown} is not a condition")
        return operand

    def _bind(self, expression: pc.Expression, text: str) -> pa.DataType:
        """The type that Arrow gives the expression, which says that it can run."""
        schema = pa.schema([self._schema.field(name) for name in self._used])
        try:
            scanner = ds.dataset(schema.empty_table()).scanner(columns={"value": expression})
            return scanner.projected_schema.field("value").type
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as problem:
            raise ExpressionError(f"{text}: {str(problem).splitlines()[0]}") from None

    def _column(self, node: exp.Column) -> Operand:
        indices = self._schema.get_all_field_indices(node.name)
        if len(indices) != 1:
            if indices:
                raise ExpressionError(f"column {node.name!r} is there {len(indices)} times")
            hint = did_you_mean(node.name, self._schema.names)
            raise ExpressionError(f"there is no column {node.name!r}{hint}")
        self._used.add(node.name)
        return Operand(pc.field(node.name), self._schema.field(indices[0]).type, node.name)

    def _literal(self, node: exp.Literal) -> Operand:
        if node.is_string:
            return text_literal(node.this, sql_of(node))
        return number_literal(node.this)

    def _cast(self, node: exp.Cast) -> Operand:
        return temporal_literal(*_temporal_parts(node), sql_of(node))

    def _neg(self, node: exp.Neg) -> Operand:
        operand = self._compile(node.this)
        literal = negated_literal(operand, sql_of(node))
        if literal is not None:
            return literal
        if pt.is_null(operand.type):
            return operand
        operand, _ = arithmetic_pair(operand, operand)
        negate = pc.negate if pt.is_floating(operand.type) else pc.negate_checked
        return self._typed(negate(operand.expression), sql_of(node))

    def _and(self, node: exp.And) -> Operand:
        left, right = self._condition(node.left), self._condition(node.right)
        return Operand(left.expression & right.expression, pa.bool_(), sql_of(node))

    def _or(self, node: exp.Or) -> Operand:
        left, right = self._condition(node.left), self._condition(node.right)
        return Operand(left.expression | right.expression, pa.bool_(), sql_of(node))

    def _not(self, node: exp.Not) -> Operand:
        return Operand(~self._condition(node.this).expression, pa.bool_(), sql_of(node))

    def _is(self, node: exp.Is) -> Operand:
        if isinstance(node.expression, exp.Null):
            found = self._compile(node.this).expression.is_null()
        else:
            wanted = self._condition(node.this).expression
            if not node.expression.this:
                wanted = ~wanted
            found = pc.coalesce(wanted, pc.scalar(False))
        expression = ~found if node.args.get("negate") else found
        return Operand(expression, pa.bool_(), sql_of(node))

    def _between(self, node: exp.Between) -> Operand:
        low = self._comparison(exp.GTE, node.this, node.args["low"], sql_of(node))
        high = self._comparison(exp.LTE, node.this, node.args["high"], sql_of(node))
        return Operand(low.expression & high.expression, pa.bool_(), sql_of(node))

    def _in(self, node: exp.In) -> Operand:
        """As comparisons joined by OR, balanced: a long list must not be a deep expression."""
        text = sql_of(node)
        found = self._in_constants(node)
        if found is not None:
            return Operand(found, pa.bool_(), text)
        terms = [
            self._comparison(exp.EQ, node.this, item, text).expression for item in node.expressions
        ]
        while len(terms) > 1:
            pairs = zip(terms[::2], terms[1::2], strict=False)
            rest = terms[-1:] if len(terms) % 2 else []
            terms = [left | right for left, right in pairs] + rest
        return Operand(terms[0], pa.bool_(), text)

    def _in_constants(self, node: exp.In) -> pc.Expression | None:
        """By a hash table, where all are literals that the column's type can hold."""
        column = self._compile(node.this)
        given = [self._compile(item) for item in node.expressions]
        items = [item for item in given if not pt.is_null(item.type)]
        if len(items) <= _FEW or any(item.constant is None for item in items):
            return None
        values = []
        for item in items:
            plain, value = comparable_pair(column, item)
            if value.constant is None or value.type != plain.type:
                return None
            values.append(value.constant)
        found = pc.is_in(plain.expression, value_set=pa.array(values, plain.type))
        # is_in says false for a null where SQL says null.
        found = found | pc.equal(plain.expression, pc.scalar(values[0]))
        return found if len(items) == len(given) else found | pc.scalar(pa.scalar(None, pa.bool_()))

    def _like(self, node: exp.Like | exp.ILike) -> Operand:
        operand, pattern = self._compile(node.this), self._compile(node.expression)
        if pt.is_null(operand.type):
            return operand
        try:
            operand, _ = comparable_pair(operand, pattern)
        except ExpressionError:
            raise ExpressionError(f"{sql_of(node)}: {operand.shown} is not a text") from None
        if not (pt.is_string(operand.type) or pt.is_large_string(operand.type)):
            raise ExpressionError(f"{sql_of(node)}: {operand.shown} is not a text")
        found = pc.match_like(
            operand.expression, str(pattern.literal), ignore_case=isinstance(node, exp.ILike)
        )
        return Operand(~found if node.args.get("negate") else found, pa.bool_(), sql_of(node))

    _ilike = _like

    def _comparison(
        self, operator: type[exp.Expr], left: exp.Expr, right: exp.Expr, text: str
    ) -> Operand:
        operands = self._compile(left), self._compile(right)
        if any(pt.is_null(operand.type) for operand in operands):
            return scalar_operand(pa.scalar(None, pa.bool_()), text)
        first, second = comparable_pair(*operands)
        expression = _COMPARISONS[operator](first.expression, second.expression)
        return Operand(expression, pa.bool_(), text)

    def _arithmetic(self, node: exp.Expr) -> Operand:
        operands = self._compile(node.this), self._compile(node.expression)
        if any(pt.is_null(operand.type) for operand in operands):
            return _NULL
        left, right = arithmetic_pair(*operands)
        floating = pt.is_floating(left.type) or pt.is_floating(right.type)
        function = _ARITHMETIC[type(node)][1 if floating else 0]
        return self._typed(function(left.expression, right.expression), sql_of(node))

    def _text_function(self, node: exp.Expr) -> Operand:
        operand = self._compile(node.this)
        if pt.is_null(operand.type):
            return operand
        return self._typed(text_functions.call(node, operand, sql_of(node)), sql_of(node))

    _upper = _lower = _trim = _replace = _substring = _length = _text_function

    def _typed(self, expression: pc.Expression, text: str) -> Operand:
        return Operand(expression, self._bind(expression, text), text)
