"""Tables against what schemas say of them: columns, types, and where there may be nulls."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.types as pt
from zerrow._schemas import Column
from zerrow._worker.dictionaries import is_marked
from zerrow._worker.tasks import TaskError

_MOST_SHOWN = 8  # faults of one table


def keep_contract(table: pa.Table, contract: Sequence[Column], what: str) -> pa.Table:
    """The table with the contract's columns in their order.

    TaskError that names each column which isn't as it should be, where `what` says what the table
    is, such as "the output of 'late'".
    """
    faults = list(filter(None, (_fault(table, column) for column in contract)))
    names = [column.name for column in contract]
    surplus = [name for name in table.column_names if name not in names]
    if surplus:
        faults.append(f"it has {', '.join(map(repr, surplus))} besides")
    if len(faults) > _MOST_SHOWN:
        faults[_MOST_SHOWN:] = [f"and {len(faults) - _MOST_SHOWN} more"]
    if faults:
        raise TaskError(f"{what} isn't as its schema says: {'; '.join(faults)}")
    return table if table.column_names == names else table.select(names)


def _fault(table: pa.Table, column: Column) -> str | None:
    """What is wrong with one column, None if it is as it should be."""
    found = table.schema.get_all_field_indices(column.name)
    wanted = f"column {column.name!r} should be {_wanted(column)}"
    if len(found) != 1:
        return f"{wanted}, but {'is missing' if not found else f'is there {len(found)} times'}"
    field = table.schema.field(found[0])
    promised = field.type.value_type if is_marked(field) else field.type
    if not column.accepts(promised):
        return f"{wanted}, but is {promised}"
    nulls = 0 if column.nullable else null_count(table.column(found[0]))
    if nulls:
        return f"{wanted}, but has {nulls:,} null{'s' if nulls > 1 else ''}"
    return None


def _wanted(column: Column) -> str:
    kind = column.type
    return f"{'any type' if kind is None else kind}{'' if column.nullable else ' without nulls'}"


def null_count(column: pa.ChunkedArray) -> int:
    """How many rows are null: by themselves, or because their dictionary's value is."""
    if pt.is_dictionary(column.type) and any(
        chunk.dictionary.null_count for chunk in column.chunks
    ):
        return sum(chunk.dictionary_decode().null_count for chunk in column.chunks)
    return int(column.null_count)
