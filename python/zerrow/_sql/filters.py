"""Conditions and values over a table's rows, as a SQL model has them after WHERE and SELECT.

DataFusion plans and evaluates them, so that `filter="x > 10"` keeps what `WHERE x > 10` keeps. What
a text may not have is what more than a row gives: queries, aggregates, windows, and functions whose
value is another one in another run (`now()`, `random()`).
"""

from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from zerrow._errors import SqlError
from zerrow._native import filter_table as keep_rows
from zerrow._sql import fusion
from zerrow._sql.names import DIALECT, exact_expression
from zerrow._sql.prunable import Prunable
from zerrow._sql.pruning import Always, Filter
from zerrow._sql.text import tokenize

if TYPE_CHECKING:
    from datafusion import DataFrame, Expr, LogicalPlan

_TABLE = "input"
# What is no part of a row's value; `rex_call_operands` doesn't know them either.
_REFUSED = {
    "AggregateFunction": "an aggregate",
    "Exists": "a query",
    "GroupingSet": "an aggregate",
    "InSubquery": "a query",
    "Placeholder": "a parameter without a value",
    "ScalarSubquery": "a query",
    "SetComparison": "a query",
    "Wildcard": "a star",
    "WindowFunction": "a window",
}


class FilterError(ValueError):
    """A condition or value that can't be used, and why; it names the text."""


class Expression:
    """A condition or value, planned for the tables of a schema; FilterError if it doesn't fit."""

    def __init__(self, text: str, schema: pa.Schema) -> None:
        self.text = text
        self._schema = schema
        try:
            _refuse_volatile(text)
            self._exact = exact_expression(text, schema.names)
        except SqlError as problem:
            raise _error(text, problem) from None
        plannable = self.typed(_plannable(schema, self._exact))
        self._frame = fusion.planning_session({_TABLE: plannable}).table(_TABLE)
        try:
            self._parsed = self.bound(self._frame)
        except Exception as problem:
            raise self._explained(problem) from None
        self.columns = self._columns()

    def _explained(self, problem: Exception) -> FilterError:
        error = fusion.explained(problem, self._exact, self._schema.names, DIALECT)
        said = str(error).replace(f"{_TABLE}.", "").replace("this SQL can't", "it can't")
        return _error(self.text, said)

    def _columns(self) -> list[str]:
        """Those that it reads, each once, in the order of the text; FilterError for what it may
        not have."""
        found: dict[str, None] = {}
        open_ = [self._parsed]
        while open_:
            part = open_.pop()
            kind = part.variant_name()
            if kind in _REFUSED:
                raise _error(self.text, f"it has {_REFUSED[kind]}; that is what SQL models are for")
            if kind == "Column":
                found[part.to_variant().name()] = None
            elif kind != "Literal":
                open_ += reversed(part.rex_call_operands())
        for name in found:
            times = self._schema.names.count(name)
            if times > 1:
                raise _error(self.text, f"column {name!r} is there {times} times")
        return list(found)

    @cached_property
    def type(self) -> pa.DataType:
        """The type of its value; FilterError if there is none."""
        try:
            made = self._frame.select(self._parsed.alias("value"))
            made.execution_plan()
            return made.schema().field("value").type
        except Exception as problem:
            raise self._explained(problem) from None

    @cached_property
    def _plan(self) -> "LogicalPlan":
        """Of a filter by it; FilterError if it is no condition."""
        try:
            filtered = self._frame.filter(self._parsed)
            filtered.execution_plan()
            return filtered.optimized_logical_plan()
        except Exception as problem:
            raise self._explained(problem) from None

    @cached_property
    def planned(self) -> "Expr | None":
        """The condition as DataFusion has simplified it; None for a constant."""
        found = [predicate for _, predicate in fusion.scans(self._plan)]
        return found[0] if found else None

    @property
    def rule(self) -> Filter:
        """What of it row groups can be pruned by."""
        if self.planned is not None:
            return Prunable(self._schema).filter(self.planned)
        return Always(type(self._plan.to_variant()).__name__ != "EmptyRelation")

    def of(self, table: pa.Table) -> pa.ChunkedArray:
        """Its value for each row of a table that has its columns, in their order."""
        return evaluated(table, {"value": self})["value"]

    @staticmethod
    def typed(schema: pa.Schema) -> pa.Schema:
        """The types that its columns have to it."""
        return schema

    def bound(self, frame: "DataFrame") -> "Expr":
        """The expression over another frame with the same columns."""
        return frame.parse_sql_expr(self._exact)


class Condition(Expression):
    """An expression that is true, false or null for each row."""

    def __init__(self, text: str, schema: pa.Schema) -> None:
        super().__init__(text, schema)
        _ = self._plan

    @staticmethod
    def typed(schema: pa.Schema) -> pa.Schema:
        """Instants in UTC: next to them DataFusion reads what is written without a zone in the
        column's."""
        for place, field in enumerate(schema):
            if pa.types.is_timestamp(field.type) and field.type.tz is not None:
                schema = schema.set(place, field.with_type(pa.timestamp(field.type.unit, "UTC")))
        return schema

    def of(self, table: pa.Table) -> pa.ChunkedArray:
        """A boolean for each row of a table that has its columns, in their order."""
        found = super().of(table)
        return found.cast(pa.bool_()) if pa.types.is_null(found.type) else found

    def kept(self, table: pa.Table) -> pa.Table:
        """The rows for which it is true; where one piece of a chunk is kept, a slice of it."""
        return masked(table, self.of(table))

    def any_passes(self, table: pa.Table) -> bool:
        """Whether it is true for a row."""
        return pc.any(self.of(table)).as_py() is True


def compile_value(text: str, schema: pa.Schema) -> Expression:
    """The value for each row of tables of the schema; FilterError if it can't be."""
    found = Expression(text, schema)
    _ = found.type
    return found


def filter_table(table: pa.Table, condition: str) -> pa.Table:
    """The rows for which the condition is true, not null; FilterError if it isn't one."""
    return Condition(condition, table.schema).kept(table)


def masked(table: pa.Table, mask: pa.Array | pa.ChunkedArray) -> pa.Table:
    """The rows for which the mask, which has a boolean for each, is true."""
    name = "mask"
    while name in table.column_names:
        name += "_"
    kept = keep_rows(table.append_column(name, mask), serialize(pc.field(name)))
    return kept.remove_column(table.num_columns)


def evaluated(table: pa.Table, values: "dict[str, Expression]") -> pa.Table:
    """The values for each row, in the order of the rows, under these names.

    Raises FilterError where one can't be had, for a division of a whole number by zero perhaps.
    """
    from datafusion import SessionConfig, SessionContext

    given = table.select(list(dict.fromkeys(n for value in values.values() for n in value.columns)))
    (first, *_) = values.values()
    typed = first.typed(given.schema)
    parts = _partitions(given if typed == given.schema else given.cast(typed))
    # Not more partitions than there are, or rows would be dealt out to them; batches stay whole.
    config = SessionConfig().with_target_partitions(len(parts))
    most = max(batch.num_rows for part in parts for batch in part)
    context = SessionContext(config.with_batch_size(max(most, 1)))
    fusion.register(context, _TABLE, parts)
    frame = context.table(_TABLE)
    try:
        made = frame.select(*(value.bound(frame).alias(name) for name, value in values.items()))
        # One list for each partition, each in order; a table of it all would mix them.
        found = made.collect_partitioned()
    except Exception as problem:
        raise first._explained(problem) from problem
    batches = [batch for part in found for batch in part]
    return pa.Table.from_batches(batches) if batches else made.schema().empty_table()


def _partitions(table: pa.Table) -> list[list[pa.RecordBatch]]:
    """The rows for each core that is worth using, in their order."""
    rows = -(-table.num_rows // fusion.partitions_for(table.num_rows))
    parts = [table.slice(first, rows) for first in range(0, table.num_rows, rows or 1)]
    return [fusion.batches_of(part) for part in parts or [table]]


def columns_of(text: str) -> list[str]:
    """The columns that a condition or value names, each once, whatever the table is.

    Raises FilterError for what is no such text.
    """
    columns = _parse(text).find_all(exp.Column, bfs=False)
    return list(dict.fromkeys(column.name for column in columns))


def check_text(text: str) -> None:
    """Raises FilterError for what could not work on any table."""
    # Of columns without a type, which go with all functions and operators.
    Expression(text, pa.schema([(name, pa.null()) for name in columns_of(text)]))


def serialize(expression: pc.Expression) -> bytes:
    """An expression as bytes for C++'s `arrow::compute::DeserializeExpression`."""
    _, (buffer,) = expression.__reduce__()
    return bytes(buffer)


def _refuse_volatile(text: str) -> None:
    if fusion.is_volatile(text, DIALECT):
        raise SqlError(
            "it calls a function whose value is another one in another run; give the value by a "
            "parameter, or ask for it in a SQL model"
        )


def _plannable(schema: pa.Schema, text: str) -> pa.Schema:
    """The columns that the text can name: of the others DataFusion may not know the type."""
    try:
        wanted = {name.lower() for name in columns_of(text)}
    except FilterError:
        wanted = {name.lower() for name in schema.names}
    names = dict.fromkeys(name for name in schema.names if name.lower() in wanted)
    return pa.schema([schema.field(schema.names.index(name)) for name in names])


def _parse(text: str) -> exp.Expr:
    try:
        if not tokenize(text, DIALECT):
            raise SqlError("it is empty")
        tree = sqlglot.parse_one(text, into=exp.Condition, dialect=DIALECT)
    except SqlError as problem:
        raise _error(text, problem) from None
    except SqlglotError:
        why = "it can't be read as one condition or value of SQL"
        hint = "a column that is called like a word of SQL is written in double quotes"
        raise _error(text, f"{why}; {hint}") from None
    except RecursionError:
        raise _error(text, "it is nested too deeply") from None
    assert tree is not None
    return tree


def _error(text: str, problem: object) -> FilterError:
    return FilterError(f"{text!r}: {problem}")
