"""Checks of tables for `@zerrow.expectation`s: return what they find, or assert it.

    @zerrow.expectation()
    def carriers_are_known(flights=zerrow.Model("flights", columns=["carrier"])):
        return expect_column_no_nulls(flights, "carrier")

A table is whatever an input's annotation makes of it: of pyarrow, polars, pandas, DuckDB. Each
check returns a `Finding`, which is true if the table is as expected, and else says how many rows
aren't and shows a few of them. NaN is a value, not a null. A column that the table doesn't have
raises KeyError.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import ge, gt, le, lt
from typing import Any, cast
from weakref import WeakKeyDictionary

import pyarrow as pa
import pyarrow.compute as pc
from zerrow._errors import did_you_mean
from zerrow._findings import Finding

__all__ = [
    "Finding",
    "expect_column_accepted_values",
    "expect_column_all_null",
    "expect_column_all_unique",
    "expect_column_equal_concatenation",
    "expect_column_mean_greater_or_equal_than",
    "expect_column_mean_greater_than",
    "expect_column_mean_smaller_or_equal_than",
    "expect_column_mean_smaller_than",
    "expect_column_no_nulls",
    "expect_column_not_unique",
    "expect_column_references",
    "expect_column_some_null",
    "expect_column_values_between",
    "expect_row_count_between",
]

Table = Any  # whatever `zerrow._worker.convert` knows

_SHOWN_ROWS = 5


def expect_column_no_nulls(table: Table, column_name: str) -> bool:
    """No row has a null. True for a table without rows."""
    rows = _table(table)
    nulls = pc.is_null(_column(rows, column_name))
    return _of_rows("expect_column_no_nulls", rows, nulls, f"have a null in {column_name!r}")


def expect_column_all_null(table: Table, column_name: str) -> bool:
    """Each row has a null. True for a table without rows."""
    rows = _table(table)
    values = pc.is_valid(_column(rows, column_name))
    return _of_rows("expect_column_all_null", rows, values, f"have a value in {column_name!r}")


def expect_column_some_null(table: Table, column_name: str) -> bool:
    """At least one row has a null."""
    met = _column(_table(table), column_name).null_count > 0
    return _of_all("expect_column_some_null", met, f"no row has a null in {column_name!r}")


def expect_column_all_unique(table: Table, column_name: str) -> bool:
    """No value is there twice; nulls are not compared, as in a UNIQUE constraint of SQL."""
    check, rows = "expect_column_all_unique", _table(table)
    column = _column(rows, column_name)
    if _is_unique(column):
        return _found(check, met=True)
    counts = pc.value_counts(column)
    values = counts.field("values").filter(pc.greater(counts.field("counts"), 1)).drop_null()
    again = pc.is_in(column, value_set=pa.chunked_array([values]))
    return _of_rows(check, rows, again, f"have a value in {column_name!r} that is there again")


def expect_column_not_unique(table: Table, column_name: str) -> bool:
    """At least one value is there twice; nulls are not compared."""
    met = not _is_unique(_column(_table(table), column_name))
    return _of_all("expect_column_not_unique", met, f"no value of {column_name!r} is there twice")


def expect_column_accepted_values(
    table: Table, column_name: str, accepted_values: Sequence[Any]
) -> bool:
    """Each row has one of the values; a null only passes if None is one of them."""
    rows = _table(table)
    column = _column(rows, column_name)
    accepted = pa.array(list(accepted_values), type=column.type)
    others = pc.invert(pc.is_in(column, value_set=accepted))
    what = f"have another value in {column_name!r} than is accepted"
    return _of_rows("expect_column_accepted_values", rows, others, what)


def expect_column_values_between(
    table: Table,
    column_name: str,
    least: Any = None,  # noqa: ANN401
    most: Any = None,  # noqa: ANN401
) -> bool:
    """Each value is `least` or above and `most` or below; None sets no bound.

    Nulls pass, as in a CHECK constraint of SQL; NaN doesn't.
    """
    if least is None and most is None:
        raise ValueError("expect_column_values_between() needs least or most")
    rows = _table(table)
    column = _column(rows, column_name)
    inside = pc.is_valid(column)
    for bound, compare in ((least, pc.greater_equal), (most, pc.less_equal)):
        if bound is not None:
            inside = pc.and_(inside, pc.fill_null(compare(column, pa.scalar(bound)), False))
    outside = pc.and_not(pc.is_valid(column), inside)
    bounds = " and ".join(
        f"{word} {bound!r}"
        for word, bound in (("at least", least), ("at most", most))
        if bound is not None
    )
    what = f"have a value in {column_name!r} that isn't {bounds}"
    return _of_rows("expect_column_values_between", rows, outside, what)


def expect_column_references(
    table: Table, column_name: str, other_table: Table, other_column_name: str | None = None
) -> bool:
    """Each value is one of the other table's column, which is called alike if it isn't named.

    Nulls pass, as in a FOREIGN KEY constraint of SQL.
    """
    rows, name = _table(table), other_column_name or column_name
    column, others = _column(rows, column_name), _column(_table(other_table), name)
    if others.type != column.type:
        try:
            others = others.cast(column.type)
        except pa.ArrowInvalid:  # a narrower type
            column = column.cast(others.type)
    known = pc.is_in(column, value_set=others, skip_nulls=True)
    missing = pc.and_not(pc.is_valid(column), known)
    what = f"have a value in {column_name!r} that isn't among {name!r} of the other table"
    return _of_rows("expect_column_references", rows, missing, what)


def expect_row_count_between(table: Table, least: int = 0, most: int | None = None) -> bool:
    """The table has at least and at most so many rows; None sets no bound."""
    count = _table(table).num_rows
    met = count >= least and (most is None or count <= most)
    wanted = f"at least {least:,}" + ("" if most is None else f" and at most {most:,}")
    why = f"there are {count:,} rows, where {wanted} are expected"
    return _of_all("expect_row_count_between", met, why)


def expect_column_mean_greater_than(table: Table, column_name: str, value: float) -> bool:
    """The mean of the values is above `value`. False if there is none."""
    return _of_mean("expect_column_mean_greater_than", table, column_name, gt, value)


def expect_column_mean_greater_or_equal_than(table: Table, column_name: str, value: float) -> bool:
    """The mean of the values is `value` or above. False if there is none."""
    return _of_mean("expect_column_mean_greater_or_equal_than", table, column_name, ge, value)


def expect_column_mean_smaller_than(table: Table, column_name: str, value: float) -> bool:
    """The mean of the values is below `value`. False if there is none."""
    return _of_mean("expect_column_mean_smaller_than", table, column_name, lt, value)


def expect_column_mean_smaller_or_equal_than(table: Table, column_name: str, value: float) -> bool:
    """The mean of the values is `value` or below. False if there is none."""
    return _of_mean("expect_column_mean_smaller_or_equal_than", table, column_name, le, value)


def expect_column_equal_concatenation(
    table: Table, target_column: str, columns: Sequence[str], separator: str = ""
) -> bool:
    """Each row's target is the texts of its `columns`, joined; null where one of them is null."""
    if not columns:
        raise ValueError("expect_column_equal_concatenation() needs columns to concatenate")
    rows = _table(table)
    text = pa.large_string()
    parts = [_column(rows, name).cast(text) for name in columns]
    joined = pc.binary_join_element_wise(*parts, pa.scalar(separator, text))
    target = _column(rows, target_column).cast(text)
    equal = pc.fill_null(pc.equal(target, joined), False)
    both_null = pc.and_(pc.is_null(target), pc.is_null(joined))
    others = pc.invert(pc.or_(equal, both_null))
    names = ", ".join(map(repr, columns))
    what = f"have something else in {target_column!r} than {names} joined"
    return _of_rows("expect_column_equal_concatenation", rows, others, what)


# A reader can be read once, but an expectation may check it twice.
_read: WeakKeyDictionary[Any, pa.Table] = WeakKeyDictionary()


def _table(table: Table) -> pa.Table:
    if isinstance(table, pa.Table):
        return table
    if isinstance(table, Mapping):  # arrays by column
        return pa.table({name: pa.array(values) for name, values in table.items()})
    from zerrow._worker.convert import to_table

    if not isinstance(table, pa.RecordBatchReader):
        return to_table(table, "expectation")
    known = _read.get(table)
    if known is None:
        known = _read[table] = table.read_all()
    return known


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    """The column with its encoding taken off: Arrow has more functions for plain ones.

    A dictionary may hold nulls of its own, too.
    """
    index = table.schema.get_field_index(name)
    if index < 0:
        raise KeyError(f"there is no column {name!r}{did_you_mean(name, table.column_names)}")
    column = table.column(index)
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    if pa.types.is_run_end_encoded(column.type):
        return pc.run_end_decode(column)
    return column.cast(pa.large_string()) if column.type == pa.string_view() else column


def _is_unique(column: pa.ChunkedArray) -> bool:
    distinct: int = pc.count_distinct(column, mode="only_valid").as_py()
    return distinct == len(column) - int(column.null_count)


def _found(
    check: str,
    met: bool,
    message: str = "",
    count: int | None = None,
    rows: pa.Table | None = None,
) -> bool:
    """A finding; for type checkers a bool, as which an expectation may be declared."""
    return cast("bool", Finding(check, met, message, count, rows))


def _of_all(check: str, met: bool, why: str) -> bool:
    return _found(check, met, "" if met else why)


def _of_rows(check: str, table: pa.Table, wrong: pa.ChunkedArray, what: str) -> bool:
    """`wrong`: which rows aren't as expected."""
    indices = pc.indices_nonzero(wrong)
    count = len(indices)
    if count == 0:
        return _found(check, met=True, count=0)
    # Slices, as not all types of Arrow can be taken by index.
    first = [table.slice(index.as_py(), 1) for index in indices.slice(0, _SHOWN_ROWS)]
    rows = pa.concat_tables(first)
    return _found(check, False, f"{count:,} of {table.num_rows:,} rows {what}", count, rows)


_MEANS: dict[Callable[[float, float], bool], str] = {
    gt: "above {!r}",
    ge: "{!r} or above",
    lt: "below {!r}",
    le: "{!r} or below",
}


def _of_mean(
    check: str, table: Table, name: str, holds: Callable[[float, float], bool], value: float
) -> bool:
    mean = pc.mean(_column(_table(table), name)).as_py()
    if mean is None:
        return _found(check, False, f"{name!r} has no values, and so no mean")
    why = f"the mean of {name!r} is {float(mean)!r}, not {_MEANS[holds].format(value)}"
    return _of_all(check, holds(float(mean), value), why)
