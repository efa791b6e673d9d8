"""Tables through the backends that copy, and by reference: what comes out is what went in."""

import os
import random

import pyarrow as pa
import pytest
from zerrow import _native

FORMATS = ["arrow_file", "arrow_file_heap", "sipc"]


def handed_over(table, format_):
    """The table as another worker would open it; by reference all of it is in the message."""
    backend = "memfd" if format_ == "sipc" else "copy"
    _, (fd, *more) = _native.Handover().publish(table, backend=backend)
    assert not more
    try:
        return _native.Handover().open(format_, fd, [])
    finally:
        os.close(fd)


def encoded(indices, values):
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int8()), values)


class Dictionaries:
    """Random columns whose chunks have dictionaries of their own, with nulls in any place."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def dictionary(self, rows):
        values = [self.random.choice(["a", "b", "c", None, "ä"]) for _ in range(4)]
        indices = [self.random.choice([None, 0, 1, 2, 3]) for _ in range(rows)]
        return encoded(indices, pa.array(values, pa.string()))

    def array(self, kind, rows):
        if kind == "plain":
            return self.dictionary(rows)
        if kind == "list":
            lengths = [self.random.randrange(3) for _ in range(rows)]
            offsets = [sum(lengths[:n]) for n in range(rows + 1)]
            return pa.ListArray.from_arrays(offsets, self.dictionary(sum(lengths)))
        if kind == "struct":
            fields = [self.dictionary(rows), self.array("list", rows)]
            return pa.StructArray.from_arrays(fields, ["d", "l"])
        # A dictionary whose values hold another one.
        values = self.array("list", 3)
        return encoded([self.random.randrange(3) for _ in range(rows)], values)

    def table(self):
        rows = [self.random.choice([0, 1, 5]) for _ in range(self.random.randrange(4))]
        columns = {}
        for kind in ("plain", "list", "struct", "nested"):
            type_ = self.array(kind, 0).type
            columns[kind] = pa.chunked_array([self.array(kind, n) for n in rows], type_)
        table = pa.table(columns)
        return table.slice(self.random.randrange(2), self.random.choice([None, 3]))


@pytest.mark.parametrize("format_", FORMATS)
def test_dictionaries_that_differ_from_chunk_to_chunk(format_):
    for seed in range(60):
        table = Dictionaries(seed).table()
        opened = handed_over(table, format_)
        opened.validate(full=True)
        assert opened.schema.equals(table.schema), seed
        assert opened.to_pydict() == table.to_pydict(), seed


@pytest.mark.parametrize("format_", FORMATS)
def test_dictionaries_that_are_too_large_for_their_indices_together(format_):
    chunks = [
        encoded(range(127), pa.array([f"{part}-{n}" for n in range(127)])) for part in range(3)
    ]
    table = pa.table({"d": pa.chunked_array(chunks)})
    assert handed_over(table, format_).equals(table)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize(
    "table",
    [
        pa.table({"x": pa.nulls(7)}).select([]),
        pa.table({}),
        pa.table({"d": pa.chunked_array([], pa.dictionary(pa.int8(), pa.string()))}),
        pa.table({"d": encoded([], pa.array([], pa.string()))}),
        pa.table({"d": encoded([0, None], pa.array([None], pa.string())), "x": [1, 2]}),
        pa.table({"x": pa.chunked_array([[1], [], [2, 3]]), "y": pa.chunked_array([[1, 2], [3]])}),
    ],
    ids=["rows only", "nothing", "no chunks", "no rows", "null in dictionary", "other chunks"],
)
def test_little_tables(format_, table):
    opened = handed_over(table, format_)
    assert opened.equals(table)
    assert opened.num_rows == table.num_rows
