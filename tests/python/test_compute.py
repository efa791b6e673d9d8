"""`zerrow.compute` against pyarrow on plain columns, and what it leaves where it is."""

import random

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import zerrow
import zerrow.compute as zc

TEXTS = ["b ", None, "Ab", "ab", "", "É a", " a text that is longer than a view"]


def dictionary(values, indices, index_type=None):
    return pa.DictionaryArray.from_arrays(pa.array(indices, index_type or pa.int32()), values)


def forms(texts):
    """The texts in each form that Arrow has for them."""
    plain = pa.array(texts, pa.string())
    return {
        "string": plain,
        "large": plain.cast(pa.large_string()),
        "view": plain.cast(pa.string_view()),
        "dictionary": plain.dictionary_encode(),
        "nulls in a dictionary": dictionary(plain, range(len(texts))),
        "chunks": pa.chunked_array([plain[:2], plain[2:]]),
        "dictionaries": pa.chunked_array(
            [plain[:3].dictionary_encode(), plain[3:].dictionary_encode()]
        ),
    }


def addresses(array):
    return [None if buffer is None else buffer.address for buffer in array.buffers()]


@pytest.mark.parametrize("form", forms([]))
def test_tables_of_any_form(form):
    column = forms(TEXTS * 3)[form]
    table = pa.table({"x": column, "row": range(len(column))})
    plain = pa.table({"x": TEXTS * 3, "row": range(len(column))})
    rows = random.Random(form).sample(range(len(column)), 9)
    assert zc.take(table, rows).to_pylist() == plain.take(rows).to_pylist()
    for by in ("x", ["x desc", "row"], [("x", "descending"), ("row", "ascending")]):
        wanted = [("x", "ascending" if by == "x" else "descending"), ("row", "ascending")]
        assert zc.sort(table, by).to_pylist() == plain.sort_by(wanted).to_pylist()
    mask = pc.equal(pc.bit_wise_and(plain["row"], 1), 1)
    for condition in (mask, mask.combine_chunks(), pc.field("row") >= 5, "row % 2 = 1"):
        assert (
            zc.filter(table, condition).to_pylist()
            == plain.filter(
                pc.field("row") >= 5 if isinstance(condition, pc.Expression) else mask
            ).to_pylist()
        )
    both = zc.concat([table, plain, table.slice(2)])
    assert both.to_pylist() == [*table.to_pylist(), *plain.to_pylist(), *table.to_pylist()[2:]]
    encoded = zc.dictionary_encode(table, "x")
    assert pa.types.is_dictionary(encoded.schema.field("x").type)
    assert encoded.to_pylist() == plain.to_pylist()


TEXT_FUNCTIONS = {
    "upper": (zc.upper, str.upper),
    "lower": (zc.lower, str.lower),
    "trim": (zc.trim, str.strip),
    "ltrim": (zc.ltrim, str.lstrip),
    "rtrim": (zc.rtrim, str.rstrip),
    "trim of characters": (lambda x: zc.trim(x, "ab"), lambda x: x.strip("ab")),
    "replace": (lambda x: zc.replace(x, "a", "xy"), lambda x: x.replace("a", "xy")),
    "substring": (lambda x: zc.substring(x, 1, 3), lambda x: x[1:3]),
    "substring from the end": (lambda x: zc.substring(x, -3), lambda x: x[-3:]),
    "length": (zc.length, len),
}


@pytest.mark.parametrize("function", TEXT_FUNCTIONS)
@pytest.mark.parametrize("form", forms([]))
def test_texts_of_any_form(form, function):
    values = forms(TEXTS)[form]
    ours, pythons = TEXT_FUNCTIONS[function]
    result = ours(values)
    assert result.to_pylist() == [None if text is None else pythons(text) for text in TEXTS]
    assert isinstance(result, pa.ChunkedArray) is isinstance(values, pa.ChunkedArray)
    assert result.type == (pa.int32() if function == "length" else values.type)


def test_sorting_and_filtering_keep_the_dictionary():
    column = pa.array(["b", "a", None, "c"] * 5).dictionary_encode()
    table = pa.table({"x": pa.chunked_array([column, column[3:]])})
    for result in (
        zc.sort(table, "x"),
        zc.take(table, [0, 30, 2]),
        zc.filter(table, "x > 'a'"),
        zc.concat([table, table]),
    ):
        for chunk in result["x"].chunks:
            assert addresses(chunk.dictionary) == addresses(column.dictionary)


def test_case_keeps_what_it_does_not_change():
    plain = pa.array(["b", None, "Ab"] * 10)
    assert addresses(zc.upper(plain))[:2] == addresses(plain)[:2]
    column = plain.dictionary_encode()
    assert addresses(zc.lower(column))[:2] == addresses(column)[:2]
    assert addresses(zc.upper(zc.upper(plain)))[:2] == addresses(plain)[:2]


def test_values_that_become_equal_are_one_for_every_library():
    """pandas refuses a dictionary with equal values, pyarrow would group by indices."""
    upper = zc.upper(pa.array(["a", "A", "b", None]).dictionary_encode())
    assert upper.dictionary.to_pylist() == ["A", "B"]
    assert list(upper.to_pandas().cat.categories) == ["A", "B"]
    table = pa.table({"x": upper})
    counted = table.group_by("x").aggregate([([], "count_all")]).to_pylist()
    assert {row["x"]: row["count_all"] for row in counted} == {"A": 2, "B": 1, None: 1}
    assert pl.from_arrow(table)["x"].to_list() == ["A", "A", "B", None]
    assert isinstance(table.to_pandas()["x"].dtype, pd.CategoricalDtype)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda t: zc.filter(t, "nope > 1"), ValueError, "no column 'nope'"),
        (lambda t: zc.filter(t, "n"), ValueError, "non-boolean predicate 'n'"),
        (lambda t: zc.filter(t, pc.field("n")), TypeError, "must be true or false"),
        (lambda t: zc.filter(t, pa.array([True])), ValueError, "1 values for 2 rows"),
        (lambda t: zc.filter(t, pa.array([1, 2])), TypeError, "must be true or false"),
        (lambda t: zc.filter(t, 1), TypeError, "a condition is"),
        (lambda t: zc.take(t, [2]), IndexError, "2"),
        (lambda t: zc.take(t, pa.array(["a"])), TypeError, "by integers"),
        (lambda t: zc.sort(t, "nope"), KeyError, "no column 'nope'"),
        (lambda t: zc.sort(t, []), ValueError, "at least one"),
        (lambda t: zc.sort(t, [("n", "up")]), ValueError, "'up'"),
        (lambda t: zc.concat([]), ValueError, "no table"),
        (lambda t: zc.concat([t, t.select(["n"])]), ValueError, "column 'x' of 'table 0'"),
        (lambda t: zc.concat([t, t.select(["x", "x"])]), ValueError, "column 'n' of 'table 0'"),
        (
            lambda t: zc.concat([t, t.set_column(0, "n", pa.array(["a", "b"]))]),
            TypeError,
            "column 'n' is int64 in 'table 0' and string in 'table 1'",
        ),
        (lambda t: zc.dictionary_encode(t, ["nope"]), KeyError, "no column 'nope'"),
        (lambda t: zc.dictionary_encode(t, ["l"]), NotImplementedError, "list"),
        (lambda t: zc.upper(t["n"]), TypeError, "int64 has no texts"),
        (lambda t: zc.upper(t["n"].dictionary_encode()), TypeError, "has no texts"),
        (lambda t: zc.upper("text"), TypeError, "an array"),
        (lambda t: zc.replace(t["x"], "", "a"), ValueError, "empty"),
    ],
)
def test_what_can_not_be_done_is_said(call, error, message):
    table = pa.table({"n": [1, 2], "x": ["a", "b"], "l": [[1], [2]]})
    with pytest.raises(error) as caught:
        call(table)
    assert message in str(caught.value)


def test_the_module_is_part_of_the_package():
    assert zerrow.compute is zc
