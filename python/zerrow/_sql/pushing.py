"""Filters of a query as text for the read of its table, where that is certainly right.

Only parts are taken that can't fail and whose text, planned again, is the same filter: comparisons
of columns and literals, IN, LIKE, IS NULL, joined by AND, OR and NOT. What else a filter has is
left to the query, which applies all of it anyway.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.types as pt
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from zerrow._sql.filters import Condition, FilterError
from zerrow._sql.names import DIALECT
from zerrow._sql.text import quoted

if TYPE_CHECKING:
    from datafusion import Expr

_COMPARISONS = {"=": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_MOST_BYTES = 10_000
# Of what DuckDB and DataFusion have the same values for columns of the types below.
_SAME = (
    exp.And,
    exp.Boolean,
    exp.Column,
    exp.Identifier,
    exp.In,
    exp.Is,
    exp.Literal,
    exp.Neg,
    exp.Not,
    exp.Null,
    exp.Or,
    exp.Paren,
    exp.EQ,
    exp.NEQ,
    exp.GT,
    exp.GTE,
    exp.LT,
    exp.LTE,
)


def together(predicates: "Sequence[Expr | None]", schema: pa.Schema) -> Condition | None:
    """What is true for all rows that any of the filters keeps; None if that may be all rows."""
    texts: list[str] = []
    for predicate in predicates:
        text = None if predicate is None else _pushable(predicate, schema)
        if text is None:
            return None
        if text not in texts:
            texts.append(text)
    whole = texts[0] if len(texts) == 1 else " OR ".join(f"({text})" for text in texts)
    if len(whole.encode()) > _MOST_BYTES:
        return None
    return Condition(whole, schema)


def planned_by_duckdb(filters: Sequence[str], schema: pa.Schema) -> "Expr | None":
    """Those of a scan's filters, as DuckDB writes them, that DataFusion takes for the same."""
    texts = [text for text in (_rewritten(one, schema) for one in filters) if text is not None]
    try:
        planned = Condition(" AND ".join(texts), schema).planned if texts else None
    except FilterError:
        return None
    # A cast of a column: it is compared as another type than DuckDB compares it.
    return None if planned is None or "CAST(" in planned.canonical_name() else planned


def _rewritten(text: str, schema: pa.Schema) -> str | None:
    try:
        tree = sqlglot.parse_one(text, dialect="duckdb").transform(_without_cast)
    except SqlglotError:
        return None
    names = {name.lower(): name for name in schema.names}
    for column in tree.find_all(exp.Column):
        name = names.get(column.name.lower())
        if name is None or len(column.parts) > 1 or not _is_exact(schema.field(name).type):
            return None
        column.set("this", exp.to_identifier(name, quoted=True))
    said = all(isinstance(node, _SAME) for node in tree.walk())
    return f"({tree.sql(dialect=DIALECT)})" if said else None


def _without_cast(node: exp.Expr) -> exp.Expr:
    """A literal, whose type is the column's, for one with a type."""
    return node.this if isinstance(node, exp.Cast) and isinstance(node.this, exp.Literal) else node


def _is_exact(type_: pa.DataType) -> bool:
    """Whether both engines compare such values alike: not floats, with their NaNs and zeros."""
    if pt.is_dictionary(type_):
        type_ = type_.value_type
    text = pt.is_string(type_) or pt.is_large_string(type_) or pt.is_string_view(type_)
    number = pt.is_integer(type_) or pt.is_boolean(type_) or pt.is_decimal(type_)
    return bool(text or number or pt.is_date32(type_) or pt.is_timestamp(type_))


def _pushable(predicate: "Expr", schema: pa.Schema) -> str | None:
    """Those of the terms, joined by AND, that can be said."""
    said = [(_said(term, schema), term) for term in _terms(predicate)]
    found = [(text, term) for text, term in said if text is not None]
    if not _is_same(found, schema):
        found = [one for one in found if _is_same([one], schema)]
    return " AND ".join(text for text, _ in found) or None


def _terms(node: "Expr") -> "list[Expr]":
    if node.variant_name() == "BinaryExpr" and node.to_variant().op() == "AND":
        return [term for side in node.rex_call_operands() for term in _terms(side)]
    return [node]


def _is_same(said: "list[tuple[str, Expr]]", schema: pa.Schema) -> bool:
    """Whether the texts are planned as what they were made from, but for the table's name."""
    if not said:
        return True
    try:
        planned = Condition(" AND ".join(text for text, _ in said), schema).planned
    except FilterError:
        return False
    wanted = {_without_table(term) for _, term in said}
    return planned is not None and {_without_table(term) for term in _terms(planned)} == wanted


def _without_table(node: "Expr") -> object:
    """An expression as a value to compare."""
    kind = node.variant_name()
    if kind == "Column":
        return (kind, node.to_variant().name())
    if kind == "Literal":
        scalar = node.python_value()
        return (kind, scalar.type, scalar.as_py())
    variant = node.to_variant()
    extra: tuple[object, ...] = ()
    if kind == "BinaryExpr":
        extra = (variant.op(),)
    elif kind == "InList":
        extra = (variant.negated(),)
    elif kind == "Like":
        extra = (variant.negated(), variant.escape_char(), node.canonical_name().count(" ILIKE "))
    elif kind == "Cast":
        extra = (node.canonical_name().rpartition(" AS ")[2],)
    return (kind, *extra, *map(_without_table, node.rex_call_operands()))


def _said(node: "Expr", schema: pa.Schema) -> str | None:
    """The text, None for what can't be said or could fail."""
    writers: Mapping[str, Callable[[Expr, pa.Schema], str | None]] = {
        "Column": lambda node, _: _column(node),
        "BinaryExpr": _binary,
        "InList": _in,
        "Like": lambda node, _: _like(node),
        "IsNull": lambda node, _: _is_null(node, "IS NULL"),
        "IsNotNull": lambda node, _: _is_null(node, "IS NOT NULL"),
        "Not": _not,
    }
    write = writers.get(node.variant_name())
    return None if write is None else write(node, schema)


def _not(node: "Expr", schema: pa.Schema) -> str | None:
    said = _said(node.rex_call_operands()[0], schema)
    return None if said is None else f"NOT ({said})"


def _is_null(node: "Expr", test: str) -> str | None:
    (term,) = node.rex_call_operands()
    return f"{_column(term)} {test}" if _is_column(term) else None


def _in(node: "Expr", schema: pa.Schema) -> str | None:
    variant = node.to_variant()
    items = [_literal(item) for item in variant.list()]
    column = _operand(variant.expr(), schema)
    if column is None or not all(items):
        return None
    return f"{column} {'NOT ' * variant.negated()}IN ({', '.join(filter(None, items))})"


def _binary(node: "Expr", schema: pa.Schema) -> str | None:
    operator = node.to_variant().op()
    left, right = node.rex_call_operands()
    if operator in ("AND", "OR"):
        sides = _said(left, schema), _said(right, schema)
        return None if None in sides else f"({sides[0]} {operator} {sides[1]})"
    if operator not in _COMPARISONS:
        return None
    one, other = _operand(left, schema), _operand(right, schema)
    return None if one is None or other is None else f"{one} {_COMPARISONS[operator]} {other}"


def _like(node: "Expr") -> str | None:
    variant = node.to_variant()
    text, pattern = node.rex_call_operands()
    said = _literal(pattern)
    if not _is_column(text) or said is None or variant.escape_char() is not None:
        return None
    operator = "ILIKE" if " ILIKE " in node.canonical_name() else "LIKE"
    return f"{_column(text)} {'NOT ' * variant.negated()}{operator} {said}"


def _is_column(node: "Expr") -> bool:
    return bool(node.variant_name() == "Column")


def _column(node: "Expr") -> str:
    name = str(node.to_variant().name())
    plain = name.isidentifier() and name.isascii() and name == name.lower()
    return name if plain else quoted(name)


def _operand(node: "Expr", schema: pa.Schema) -> str | None:
    """A side of a comparison. A cast that the engine has added is added again; those of texts and
    times could fail."""
    if node.variant_name() == "Literal":
        return _literal(node)
    if node.variant_name() == "Cast":
        (node,) = node.rex_call_operands()
        if not _is_column(node) or not _is_number(schema.field(node.to_variant().name()).type):
            return None
    return _column(node) if _is_column(node) else None


def _is_number(type_: pa.DataType) -> bool:
    return bool(pt.is_integer(type_) or pt.is_floating(type_) or pt.is_decimal(type_))


def _literal(node: "Expr") -> str | None:
    scalar = node.python_value() if node.variant_name() == "Literal" else None
    if isinstance(scalar, pa.DictionaryScalar):
        scalar = scalar.value
    if not isinstance(scalar, pa.Scalar) or not scalar.is_valid:
        return None
    type_, value = scalar.type, scalar.as_py()
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if _is_number(type_):
        return str(value) if math.isfinite(value) else None
    if pt.is_timestamp(type_):
        value = scalar.cast(pa.string()).as_py()
    elif not (isinstance(value, str) or pt.is_date(type_) or pt.is_time(type_)):
        return None
    return "'" + str(value).replace("'", "''") + "'"
