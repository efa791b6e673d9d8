"""Arrow functions for models that keep in its memory what need not change, so that it is reshared.

    import zerrow.compute as zc

    @zerrow.model()
    def late(flights=zerrow.Model("flights")):
        late = zc.sort(zc.filter(flights, "dep_delay > 60"), "carrier")
        return late.set_column(0, "carrier", zc.upper(late["carrier"]))

Dictionary columns keep their dictionary and get new indices only; string and binary views (of
`pyarrow.string_view()` and `binary_view()`) keep their text and get 16 new bytes a row. The text
functions compute each value of a dictionary once and keep its indices; upper and lower case of
plain ASCII keep offsets and validity, `trim` and `substring` of views the text. What a function
changed nothing of is the input itself.

They take and return pyarrow's objects, never change what they are given, and work in and outside of
a run. `table.slice()`, `select()` and `rename_columns()` of pyarrow keep everything already.
"""

from collections.abc import Sequence
from typing import TypeAlias, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from zerrow._native import concat_tables, encode_columns, filter_table, sort_table, take_table
from zerrow._sql.operator_text import parse_order

Texts = TypeVar("Texts", pa.Array, pa.ChunkedArray)
Rows: TypeAlias = pa.Array | pa.ChunkedArray | Sequence[int | None]
Mask: TypeAlias = pa.Array | pa.ChunkedArray | pc.Expression | str


def filter(table: pa.Table, condition: Mask) -> pa.Table:
    """The rows for which the condition is true, not null, in their order.

    Args:
        table: of any columns.
        condition: as in SQL (`"dep_delay > 60 AND carrier IN ('AA', 'UA')"`, as for
            `zerrow.Model`), a `pyarrow.compute` expression over the table's columns, or a boolean
            array or chunked array with one value per row.

    Returns:
        A table of the same schema. Where one piece of a chunk is kept, it is a slice of it.

    Raises:
        ValueError: the condition isn't one, names columns that aren't there, or doesn't have as
            many values as the table has rows.
        TypeError: the condition is of another type, or not boolean.
    """
    from zerrow._sql import filters

    if isinstance(condition, str):
        return filters.filter_table(table, condition)
    if isinstance(condition, pc.Expression):
        return filter_table(table, filters.serialize(condition))
    if not isinstance(condition, pa.Array | pa.ChunkedArray):
        raise TypeError(f"a condition is a text, expression or array, not {type(condition)}")
    if len(condition) != table.num_rows:
        raise ValueError(f"{len(condition)} values for {table.num_rows} rows")
    return filters.masked(table, condition)


def take(table: pa.Table, rows: Rows) -> pa.Table:
    """The rows of these numbers, counted from 0, in the order in which they are given.

    Args:
        table: of any columns.
        rows: integers (array, chunked array or sequence); null or None makes a row of nulls.

    Returns:
        A table with one row per number and the same schema, but that indices of a dictionary which
        are too narrow for the values of all chunks become int32.

    Raises:
        IndexError: there is no such row.
        TypeError: the rows aren't integers.
    """
    if not isinstance(rows, pa.Array | pa.ChunkedArray):
        rows = pa.array(rows, pa.int64())
    chunked = rows if isinstance(rows, pa.ChunkedArray) else pa.chunked_array([rows])
    return take_table(table, chunked)


def sort(table: pa.Table, by: str | Sequence[str | tuple[str, str]]) -> pa.Table:
    """The rows in order; those that are equal keep theirs, nulls come last.

    A dictionary column sorts by its values, as a plain one does: they are ranked once, and no row's
    text is read.

    Args:
        table: of any columns.
        by: a column or some: `"carrier"`, `"dep_delay desc"`, or as pyarrow has it
            `("dep_delay", "descending")`.

    Returns:
        A table with the same rows; of the schema see `take`.

    Raises:
        KeyError: there is no such column.
        ValueError: `by` is empty, or an order is neither "ascending" nor "descending".
    """
    given = [by] if isinstance(by, str) else list(by)
    if not given:
        raise ValueError("by must name at least one column")
    return sort_table(table, [_order(entry) for entry in given])


def concat(tables: Sequence[pa.Table]) -> pa.Table:
    """All rows of all tables, one after the other; nothing is copied that has the right type.

    Args:
        tables: at least one. Columns are matched by name. They must be of one type, or of the same
            values as dictionaries, views or plainly: then dictionaries win, else views, else large
            offsets. Each table's dictionaries stay those of its chunks.

    Returns:
        A table with the first one's columns, in their order.

    Raises:
        ValueError: no table is given, or a column is missing, surplus or there twice.
        TypeError: a column's types don't agree.
    """
    named = [(f"table {number}", table) for number, table in enumerate(tables)]
    return concat_tables(named)


def dictionary_encode(table: pa.Table, columns: str | Sequence[str]) -> pa.Table:
    """The table with these columns as dictionaries, one for all chunks, with int32 indices.

    Args:
        table: of any columns.
        columns: names of those to encode. One that is a dictionary already stays as it is.

    Returns:
        A table of the same rows. The dictionary of a view is of plain strings or bytes.

    Raises:
        KeyError: there is no such column.
        NotImplementedError: Arrow can't encode a column's type, such as a list.
    """
    return encode_columns(table, [columns] if isinstance(columns, str) else list(columns))


def upper(values: Texts) -> Texts:
    """Each text in upper case, letters that aren't ASCII too.

    Args:
        values: array or chunked array of strings, large strings, string views, or a dictionary of
            one of these.

    Returns:
        An array of the same type, length and chunks. A dictionary has each value once: those that
        have become equal are one. So it is with all text functions.

    Raises:
        TypeError: the values aren't texts. So it is with all text functions.
    """
    return _call("upper", values)


def lower(values: Texts) -> Texts:
    """Each text in lower case, letters that aren't ASCII too; see `upper`."""
    return _call("lower", values)


def trim(values: Texts, characters: str | None = None) -> Texts:
    """Each text without these characters at both ends, without white space if none are given."""
    return _call("trim", values, pa.scalar(characters, pa.string()))


def ltrim(values: Texts, characters: str | None = None) -> Texts:
    """Each text without these characters at its beginning; see `trim`."""
    return _call("ltrim", values, pa.scalar(characters, pa.string()))


def rtrim(values: Texts, characters: str | None = None) -> Texts:
    """Each text without these characters at its end; see `trim`."""
    return _call("rtrim", values, pa.scalar(characters, pa.string()))


def replace(values: Texts, pattern: str, replacement: str) -> Texts:
    """Each text with `replacement` wherever it has `pattern`, which is no regular expression.

    Raises:
        ValueError: the pattern is empty.
    """
    if not pattern:
        raise ValueError("the pattern is empty")
    return _call("replace", values, pa.scalar(pattern), pa.scalar(replacement))


def substring(values: Texts, start: int = 0, stop: int | None = None) -> Texts:
    """The characters of each text from `start` (counted from 0) to `stop`: `text[start:stop]`.

    Args:
        values: as for `upper`.
        start: the first character; negative numbers count from the end.
        stop: the first one that is left out; the text's end if not given.
    """
    return _call("substring", values, pa.scalar(start, pa.int64()), pa.scalar(stop, pa.int64()))


def length(values: Texts) -> Texts:
    """The number of characters of each text, as int32; see `upper` for the values."""
    return _call("length", values)


def _call(name: str, values: Texts, *arguments: pa.Scalar) -> Texts:
    if not isinstance(values, pa.Array | pa.ChunkedArray):
        raise TypeError(f"texts are an array or a chunked array, not {type(values)}")
    type_ = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if type_ not in (pa.string(), pa.large_string(), pa.string_view()):
        raise TypeError(f"{values.type} has no texts")
    return pc.call_function(f"zerrow_{name}", [values, *arguments])


def _order(entry: str | tuple[str, str]) -> tuple[str, bool]:
    if isinstance(entry, str):
        return parse_order(entry)
    column, order = entry
    if order not in ("ascending", "descending"):
        raise ValueError(f"an order is 'ascending' or 'descending', not {order!r}")
    return column, order == "descending"
