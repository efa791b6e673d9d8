"""Inputs in the libraries' forms and what functions return, with what is shared on the way."""

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import zerrow
from zerrow._schemas import columns_of
from zerrow._worker import convert
from zerrow._worker.tasks import TaskError

ROWS = 10_000
WHOLE = pa.table(
    {
        "n": np.arange(ROWS),
        "x": np.linspace(0, 1, ROWS),
        "nullable": pa.array([None if i % 7 == 0 else i for i in range(ROWS)]),
        "s": [f"text number {i} of all of them" for i in range(ROWS)],
        "d": pa.array([f"c{i % 10}" for i in range(ROWS)]).dictionary_encode(),
    }
)
# As inputs come: in several chunks, here of different lengths.
TABLE = pa.concat_tables([WHOLE.slice(0, 3000), WHOLE.slice(3000)])


def buffers(table):
    found = set()
    for column in table.columns:
        for chunk in column.chunks:
            arrays = [chunk, chunk.dictionary] if pa.types.is_dictionary(chunk.type) else [chunk]
            for array in arrays:
                found |= {(b.address, b.size) for b in array.buffers() if b is not None}
    return found


def shared(output, column, table=TABLE):
    """The part of a column's bytes in the output that are the input's own."""
    known = sorted((a, a + size) for a, size in buffers(table))
    mine = buffers(output.select([column]))
    inside = sum(
        size
        for address, size in mine
        if any(a <= address and address + size <= b for a, b in known)
    )
    return inside / sum(size for _, size in mine)


@pytest.mark.parametrize(
    "form", ["pyarrow", "pyarrow_reader", "pandas", "polars", "polars_lazy", "duckdb"]
)
def test_there_and_back(form):
    frame = convert.from_table(TABLE, form)
    table = convert.to_table(frame, "f")
    assert table.column_names == TABLE.column_names
    for name in TABLE.column_names:
        assert (
            table[name].cast(pa.string()).to_pylist() == TABLE[name].cast(pa.string()).to_pylist()
        )


def test_pandas_shares_every_column():
    frame = convert.from_table(TABLE, "pandas")
    frame["new"] = frame["n"] + 1
    table = convert.to_table(frame, "f")
    for name in TABLE.column_names:
        assert table.schema.field(name).type == TABLE.schema.field(name).type
        assert shared(table, name) == 1
    assert shared(table, "new") == 0


def test_polars_shares_numbers_and_text():
    frame = convert.from_table(TABLE, "polars").with_columns(new=pl.col("n") + 1)
    table = convert.to_table(frame, "f")
    assert shared(table, "n") == shared(table, "x") == 1
    assert shared(table, "nullable") > 0.98  # bitmaps that don't begin at a byte are written anew
    assert shared(table, "s") > 0.5  # the views are new, the text isn't
    assert shared(table, "new") == 0


def test_polars_frames_of_every_kind():
    frame = pl.DataFrame({"s": ["a", "b", None], "n": [1, 2, 3]}).with_columns(
        c=pl.col("s").cast(pl.Categorical),
        e=pl.col("s").cast(pl.Enum(["b", "a"])),
        st=pl.struct("n", "s"),
        li=pl.concat_list("n", "n"),
        nul=pl.lit(None),
        dec=pl.lit("1.5").str.to_decimal(scale=1),
        when=pl.lit("2020-01-01").str.to_datetime(),
    )
    for given in (frame, frame.clear(), pl.concat([frame, frame], rechunk=False), pl.DataFrame()):
        table = convert.to_table(given, "f")
        table.validate(full=True)
        assert table.schema.equals(pa.table(given).schema, check_metadata=True)
        assert pl.DataFrame(table).equals(given)


@pytest.mark.parametrize(
    "result",
    [
        WHOLE.select(["n"]).to_batches()[0],
        pa.RecordBatchReader.from_batches(
            TABLE.select(["n"]).schema, TABLE.select(["n"]).to_batches(max_chunksize=1000)
        ),
        [{"n": i} for i in range(ROWS)],
        pd.DataFrame({"n": np.arange(ROWS)}),
        pl.DataFrame({"n": np.arange(ROWS)}),
        pl.LazyFrame({"n": np.arange(ROWS)}),
    ],
    ids=lambda value: type(value).__module__.split(".")[0] + "." + type(value).__name__,
)
def test_what_functions_may_return(result):
    assert convert.to_table(result, "f").equals(TABLE.select(["n"]))


def test_relation():
    relation = duckdb.from_arrow(TABLE).project("n, s")
    assert convert.to_table(relation, "f").to_pydict() == TABLE.select(["n", "s"]).to_pydict()


def test_rows_with_different_keys():
    table = convert.to_table([{"a": 1}, {"b": "x", "a": None}], "f")
    assert table.to_pydict() == {"a": [1, None], "b": [None, "x"]}
    assert convert.to_table([], "f").num_columns == 0


def test_a_pandas_index_with_a_name_becomes_a_column():
    frame = pd.DataFrame({"k": ["a", "b", "a"], "v": [1, 2, 3]})
    assert convert.to_table(frame.groupby("k").sum(), "f").to_pydict() == {
        "v": [4, 2],
        "k": ["a", "b"],
    }
    table = convert.to_table(frame[frame["v"] > 1], "f")
    assert table.to_pydict() == {"k": ["b", "a"], "v": [2, 3]}
    assert not table.schema.metadata


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "f() returned None; a model returns"),
        ({1, 2}, "f() returned set; a model returns"),
        ({"a": 1}, "f() returned dicts that don't make a table: column 'a'"),
        ({"a": np.ones((2, 2))}, "f() returned dicts that don't make a table: column 'a'"),
        ({"a": [1], "b": [1, 2]}, "f() returned arrays of different lengths: 'a' 1, 'b' 2"),
        ({1: [1]}, "f() returned dicts whose keys aren't texts: 1"),
        (pd.Series([1]), "f() returned pandas.Series; a model returns"),
        ([1, 2], "f() returned a list whose item 0 is int, not a dict"),
        ([{"a": 1}, {"a": "x"}], "f() returned dicts that don't make a table"),
        (pd.DataFrame({"a": [1, "x"]}), "f() returned a pandas frame that Arrow can't hold"),
    ],
)
def test_what_functions_may_not_return(result, message):
    with pytest.raises(TaskError) as caught:
        convert.to_table(result, "f")
    assert str(caught.value).startswith(message)


def test_an_array_for_each_column():
    arrays = convert.from_table(WHOLE.drop_columns(["nullable"]), "numpy")
    assert {name: array.dtype.kind for name, array in arrays.items()} == {
        "n": "i", "x": "f", "s": "O", "d": "O",
    }  # fmt: skip
    assert not any(array.flags.writeable for array in arrays.values())
    table = convert.to_table(arrays, "f")
    assert table.equals(
        convert.to_table({name: WHOLE[name] for name in arrays}, "f").cast(table.schema)
    )
    assert shared(table, "n", WHOLE) == shared(table, "x", WHOLE) == 1
    chunks = convert.from_table(TABLE.select(["n"]), "numpy")["n"]
    assert chunks.tolist() == list(range(ROWS))


def test_nulls_that_an_array_cannot_hold_are_refused():
    with pytest.raises(TaskError, match="column 'nullable' of int64 has 1,429 nulls"):
        convert.from_table(TABLE, "numpy")
    floats = convert.from_table(pa.table({"x": pa.array([1.5, None])}), "numpy")["x"]
    assert np.isnan(floats).tolist() == [False, True]


def test_columns_of_one_name_are_not_made_one_array():
    table = pa.table([[1], ["x"], [2]], names=["a", "b", "a"])
    with pytest.raises(TaskError, match="column 'a' is there 2 times, and a dict of arrays"):
        convert.from_table(table, "numpy")


def test_rows_become_columns_of_the_types_that_are_declared():
    class Declared(zerrow.TableSchema):
        a: zerrow.Int32 | None
        b: zerrow.Arrow

    contract = columns_of(Declared)
    rows = convert.to_table([{"a": None, "b": 1}, {"a": 2}], "f", contract)
    assert rows.schema == pa.schema({"a": pa.int32(), "b": pa.int64()})
    assert convert.to_table({"a": [1]}, "f", contract).schema == pa.schema({"a": pa.int32()})
    assert convert.to_table([], "f", contract).schema == pa.schema(
        {"a": pa.int32(), "b": pa.null()}
    )


def test_rows_without_columns_stay():
    rows = TABLE.select([])
    for form in ("pyarrow", "pyarrow_reader", "pandas", "polars", "polars_lazy"):
        table = convert.to_table(convert.from_table(rows, form), "f")
        assert (table.num_rows, table.num_columns) == (ROWS, 0), form
    made = [
        pd.DataFrame(index=range(3)),
        pd.DataFrame({"x": [1, 2, 3]})[[]],
        pl.DataFrame({"x": [1, 2, 3]}).select([]).clear(),
        pl.DataFrame(height=3),
        pl.LazyFrame(height=3),
        [{}, {}, {}],
        rows.slice(0, 3).to_batches()[0],
    ]
    counts = [convert.to_table(result, "f").num_rows for result in made]
    assert counts == [3, 3, 0, 3, 3, 3, 3]
    named = pd.DataFrame(index=pd.Index([1, 2], name="i"))
    assert convert.to_table(named, "f").to_pydict() == {"i": [1, 2]}


def test_rows_without_columns_are_refused_where_they_would_be_lost(monkeypatch):
    with pytest.raises(TaskError, match="DuckDB can't hold rows without columns: ask for a col"):
        convert.from_table(TABLE.select([]), "duckdb")
    monkeypatch.setattr(pl, "from_arrow", lambda *_, **__: pl.DataFrame())
    with pytest.raises(TaskError, match="polars can't hold rows without columns"):
        convert.from_table(TABLE.select([]), "polars")
