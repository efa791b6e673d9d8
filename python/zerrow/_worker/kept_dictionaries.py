"""Text columns of a query's output with the inputs' own dictionaries, where these have all values.

Engines make new dictionaries of the same values: one per batch, several joined into one with
duplicates, one value per row. What is stored then is text that an input has already. Only
dictionaries' values are looked up, and no more of them than there are rows; rows get new indices.
"""

import sys
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from zerrow._worker.dictionaries import is_text

_MOST_CANDIDATES = 4  # inputs' dictionaries that are looked into, of the same name first

Key = tuple[int, ...]


def keep_dictionaries(output: pa.Table, inputs: Mapping[str, pa.Table]) -> pa.Table:
    """The same values; chunks refer to an input's dictionary, else all of a column to one new.

    Dictionaries in nested columns, ordered ones and those of other values than text stay as they
    are, and so does a column that would need more bytes of new indices than it has text.
    """
    if any(_is_rewritten(type_) for type_ in output.schema.types):
        given = _Inputs(inputs)
        for i, field in enumerate(output.schema):
            if _is_rewritten(field.type):
                column = output.column(i)
                kept = _kept(column, field.name, given)
                if kept is not column:
                    output = output.set_column(i, field, kept)
    return output


def _is_rewritten(type_: pa.DataType) -> bool:
    return pt.is_dictionary(type_) and not type_.ordered and is_text(type_.value_type)


def _key(values: pa.Array) -> Key:
    """What is equal where two arrays of a type are the same memory."""
    validity, *buffers = values.buffers()
    if values.null_count:
        buffers.append(validity)
    addresses = (buffer.address if buffer else 0 for buffer in buffers)
    return (len(values), values.offset, values.null_count, *addresses)


@dataclass
class _Own:
    """An input's dictionary, and the names of the columns that have it."""

    values: pa.Array
    names: set[str]


class _Inputs:
    """The dictionaries that an output can refer to, and the memory of their indices."""

    def __init__(self, tables: Mapping[str, pa.Table]) -> None:
        self._own: dict[pa.DataType, dict[Key, _Own]] = {}
        self._indices: list[tuple[int, int]] = []
        for table in tables.values():
            for field, column in zip(table.schema, table.columns, strict=True):
                if _is_rewritten(field.type):
                    self._add(field.name, column)
        self._indices.sort()

    def _add(self, name: str, column: pa.ChunkedArray) -> None:
        own = self._own.setdefault(column.type.value_type, {})
        for chunk in column.chunks:
            values = chunk.dictionary
            own.setdefault(_key(values), _Own(values, set())).names.add(name)
            if buffer := chunk.indices.buffers()[1]:
                self._indices.append((buffer.address, buffer.address + buffer.size))

    def has_dictionary(self, values: pa.Array) -> bool:
        """Whether it is one of them."""
        return _key(values) in self._own.get(values.type, ())

    def has_indices(self, indices: pa.Array) -> bool:
        """Whether they lie where an input's lie, so that they will be a reference."""
        buffer = indices.buffers()[1]
        if buffer is None:
            return False
        at = bisect_right(self._indices, (buffer.address, sys.maxsize)) - 1
        return at >= 0 and buffer.address < self._indices[at][1]

    def that_has(self, values: pa.Array, name: str, most: int) -> tuple[pa.Array, pa.Array] | None:
        """A dictionary of at most so many values that has all of these, and where."""
        own = self._own.get(values.type, {}).values() if len(values) else ()
        candidates = [one for one in own if len(one.values) <= most]
        candidates.sort(key=lambda one: name not in one.names)
        for candidate in candidates[:_MOST_CANDIDATES]:
            # Looking for one value costs a tenth of making the table that all are looked up in.
            if pc.index(candidate.values, values[0]).as_py() >= 0:
                places = pc.index_in(values, value_set=candidate.values, skip_nulls=True)
                if not places.null_count:
                    return candidate.values, places
        return None


def _kept(column: pa.ChunkedArray, name: str, inputs: _Inputs) -> pa.ChunkedArray:
    """The column itself if nothing is gained, or if an array can't hold what it would have to."""
    chunks = column.chunks
    foreign = [i for i, chunk in enumerate(chunks) if not inputs.has_dictionary(chunk.dictionary)]
    if not foreign:
        return column
    old = [chunks[i] for i in foreign]
    try:
        new = _with_one_dictionary(old, name, inputs)
    except pa.ArrowException:
        return column
    text = sum({_key(chunk.dictionary): chunk.dictionary.nbytes for chunk in old}.values())
    if text < sum(
        before.indices.nbytes
        for before, after in zip(old, new, strict=True)
        if inputs.has_indices(before.indices) and not inputs.has_indices(after.indices)
    ):
        return column
    for i, chunk in zip(foreign, new, strict=True):
        chunks[i] = chunk
    return pa.chunked_array(chunks, column.type)


def _with_one_dictionary(
    chunks: list[pa.DictionaryArray], name: str, inputs: _Inputs
) -> list[pa.DictionaryArray]:
    chunks = list(_without_surplus(chunks))
    different = {_key(chunk.dictionary): chunk.dictionary for chunk in chunks}
    # Equal values become one here, and a null among them a null of the rows.
    encoded = pa.concat_arrays(list(different.values())).dictionary_encode()
    values, places, index_type = encoded.dictionary, encoded.indices, chunks[0].type.index_type
    most = min(sum(map(len, chunks)), 2 ** (index_type.bit_width - 1))
    if found := inputs.that_has(values, name, most):
        values, places = found[0], found[1].take(places)
    elif len(different) == 1:
        return chunks
    places = places.cast(index_type)
    first, places_of = 0, {}
    for key, dictionary in different.items():
        places_of[key] = places.slice(first, len(dictionary))
        first += len(dictionary)
    return [
        pa.DictionaryArray.from_arrays(
            _moved(chunk.indices, places_of[_key(chunk.dictionary)]), values
        )
        for chunk in chunks
    ]


def _without_surplus(chunks: list[pa.DictionaryArray]) -> Iterator[pa.DictionaryArray]:
    """With no dictionary of more values than rows that refer to it."""
    rows: dict[Key, int] = {}
    for chunk in chunks:
        key = _key(chunk.dictionary)
        rows[key] = rows.get(key, 0) + len(chunk)
    for chunk in chunks:
        if len(chunk.dictionary) <= rows[_key(chunk.dictionary)]:
            yield chunk
            continue
        encoded = chunk.dictionary.take(chunk.indices).dictionary_encode()
        indices = encoded.indices.cast(chunk.type.index_type)
        yield pa.DictionaryArray.from_arrays(indices, encoded.dictionary)


def _moved(indices: pa.Array, places: pa.Array) -> pa.Array:
    """Indices of what stands at these places now; the same object if all stay."""
    if places.equals(pa.arange(0, len(places)).cast(places.type)):
        return indices
    return places.take(indices)
