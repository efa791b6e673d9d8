"""Checks on columns for `@zerrow.expectation`s: each returns whether a pyarrow table passes.

    @zerrow.expectation()
    def carriers_are_known(flights=zerrow.Model("flights", columns=["carrier"])):
        return expect_column_no_nulls(flights, "carrier")

NaN is a value, not a null. A column that the table doesn't have raises KeyError.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zerrow._errors import did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa


def expect_column_no_nulls(table: "pa.Table", column_name: str) -> bool:
    """No row has a null. True for a table without rows."""
    return _null_count(_column(table, column_name)) == 0


def expect_column_all_null(table: "pa.Table", column_name: str) -> bool:
    """Each row has a null. True for a table without rows."""
    column = _column(table, column_name)
    return _null_count(column) == len(column)


def expect_column_some_null(table: "pa.Table", column_name: str) -> bool:
    """At least one row has a null."""
    return _null_count(_column(table, column_name)) > 0


def expect_column_all_unique(table: "pa.Table", column_name: str) -> bool:
    """No value is there twice; nulls are not compared, as in a UNIQUE constraint of SQL."""
    import pyarrow.compute as pc

    column = _column(table, column_name)
    distinct: int = pc.count_distinct(column, mode="only_valid").as_py()
    return distinct == len(column) - _null_count(column)


def expect_column_not_unique(table: "pa.Table", column_name: str) -> bool:
    """At least one value is there twice; nulls are not compared."""
    return not expect_column_all_unique(table, column_name)


def expect_column_accepted_values(
    table: "pa.Table", column_name: str, accepted_values: Sequence[Any]
) -> bool:
    """Each row has one of the values; a null only passes if None is one of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = _column(table, column_name)
    accepted = pa.array(list(accepted_values), type=column.type)
    return bool(pc.all(pc.is_in(column, value_set=accepted), min_count=0).as_py())


def expect_column_mean_greater_than(table: "pa.Table", column_name: str, value: float) -> bool:
    """The mean of the values is above `value`. False if there is none."""
    mean = _mean(table, column_name)
    return mean is not None and mean > value


def expect_column_mean_greater_or_equal_than(
    table: "pa.Table", column_name: str, value: float
) -> bool:
    """The mean of the values is `value` or above. False if there is none."""
    mean = _mean(table, column_name)
    return mean is not None and mean >= value


def expect_column_mean_smaller_than(table: "pa.Table", column_name: str, value: float) -> bool:
    """The mean of the values is below `value`. False if there is none."""
    mean = _mean(table, column_name)
    return mean is not None and mean < value


def expect_column_mean_smaller_or_equal_than(
    table: "pa.Table", column_name: str, value: float
) -> bool:
    """The mean of the values is `value` or below. False if there is none."""
    mean = _mean(table, column_name)
    return mean is not None and mean <= value


def expect_column_equal_concatenation(
    table: "pa.Table", target_column: str, columns: Sequence[str], separator: str = ""
) -> bool:
    """Each row's target is the texts of its `columns`, joined; null where one of them is null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not columns:
        raise ValueError("expect_column_equal_concatenation() needs columns to concatenate")
    text = pa.large_string()
    parts = [_column(table, name).cast(text) for name in columns]
    joined = pc.binary_join_element_wise(*parts, pa.scalar(separator, text))
    target = _column(table, target_column).cast(text)
    equal = pc.fill_null(pc.equal(target, joined), False)
    both_null = pc.and_(pc.is_null(target), pc.is_null(joined))
    return bool(pc.all(pc.or_(equal, both_null), min_count=0).as_py())


def _column(table: "pa.Table", name: str) -> "pa.ChunkedArray":
    """The column with its encoding taken off: Arrow has more functions for plain ones.

    A dictionary may hold nulls of its own, too.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    index = table.schema.get_field_index(name)
    if index < 0:
        raise KeyError(f"there is no column {name!r}{did_you_mean(name, table.column_names)}")
    column = table.column(index)
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    if pa.types.is_run_end_encoded(column.type):
        return pc.run_end_decode(column)
    return column.cast(pa.large_string()) if column.type == pa.string_view() else column


def _null_count(column: "pa.ChunkedArray") -> int:
    return int(column.null_count)


def _mean(table: "pa.Table", name: str) -> float | None:
    import pyarrow.compute as pc

    mean = pc.mean(_column(table, name)).as_py()
    return None if mean is None else float(mean)
