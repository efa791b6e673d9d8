"""Keeps the rows of a table for which a condition is true, whatever its columns' types are.

Arrow has no filter kernel for views and run-end encoded columns. A string view is 16 bytes that
point into buffers: those of the rows that stay are picked, and the buffers are kept as they are.
"""

from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from zerrow._filters import columns_of, compile_condition

_VIEWS = (pa.string_view(), pa.binary_view())


def filter_table(table: pa.Table, condition: str) -> pa.Table:
    """The rows for which the condition is true, in their order; raises FilterError."""
    expression = compile_condition(condition, table.schema)
    # A scan needs a column, also for a condition that reads none.
    names = columns_of(condition) or table.column_names[:1]
    if not names:
        return table
    scanner = ds.dataset(table.select(names)).scanner(columns={"keep": expression})
    mask = pc.fill_null(scanner.to_table().column("keep").combine_chunks(), False)
    columns = [_filtered(column, mask) for column in table.columns]
    return pa.Table.from_arrays(columns, schema=table.schema)


def _filtered(column: pa.ChunkedArray, mask: pa.BooleanArray) -> pa.ChunkedArray:
    if column.type not in _VIEWS:
        try:
            return column.filter(mask)
        except pa.ArrowNotImplementedError:
            return _filter_by_slices(column, mask)
    chunks, start = [], 0
    for chunk in column.chunks:
        chunks.append(_filter_views(chunk, mask.slice(start, len(chunk))))
        start += len(chunk)
    return pa.chunked_array(chunks, column.type)


def _filter_views(array: pa.Array, mask: pa.BooleanArray) -> pa.Array:
    validity, views, *data = array.buffers()
    fixed = pa.Array.from_buffers(pa.binary(16), len(array), [validity, views], offset=array.offset)
    kept = fixed.filter(mask)
    buffers = [*kept.buffers(), *data]
    return pa.Array.from_buffers(array.type, len(kept), buffers, offset=kept.offset)


def _filter_by_slices(column: pa.ChunkedArray, mask: pa.BooleanArray) -> pa.ChunkedArray:
    """Out of the runs of rows that stay: types that hold views or runs can be concatenated."""
    encoded = pc.run_end_encode(mask)
    pieces: list[pa.Array] = []
    start = 0
    for end, keep in zip(encoded.run_ends.to_pylist(), encoded.values.to_pylist(), strict=True):
        if keep:
            pieces.extend(column.slice(start, end - start).chunks)
        start = end
    if not pieces:
        return cast("pa.ChunkedArray", column.slice(0, 0))
    return pa.chunked_array([pa.concat_arrays(pieces)], column.type)
