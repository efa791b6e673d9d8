"""Standard expectations over all kinds of columns, with nulls, and empty."""

import datetime
import decimal
import math

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from zerrow import standard_expectations as expect

SOME = [1, None, 2]
FULL = [1, 2, 3]
NONE = [None, None]
TWICE = [1, 1, None, None]


def forms(values, type_=None):
    """The same values in each way in which Arrow can hold them."""
    plain = pa.array(values, type_ or pa.int64())
    yield pa.chunked_array([plain])
    yield pa.chunked_array([plain.slice(0, 1), plain.slice(1)], plain.type)
    yield pa.chunked_array([plain.dictionary_encode()])
    yield pa.chunked_array([pc.run_end_encode(plain)])


def answers(check, values, *arguments):
    found = {check(pa.table({"c": column}), "c", *arguments).met for column in forms(values)}
    assert len(found) == 1
    return found.pop()


@pytest.mark.parametrize(
    ("values", "none", "some", "all_", "unique"),
    [
        (FULL, True, False, False, True),
        (SOME, False, True, False, True),
        (NONE, False, True, True, True),
        (TWICE, False, True, False, False),
        ([], True, False, True, True),
    ],
)
def test_nulls_and_uniqueness(values, none, some, all_, unique):
    assert answers(expect.expect_column_no_nulls, values) is none
    assert answers(expect.expect_column_some_null, values) is some
    assert answers(expect.expect_column_all_null, values) is all_
    assert answers(expect.expect_column_all_unique, values) is unique
    assert answers(expect.expect_column_not_unique, values) is not unique


def test_a_null_inside_a_dictionary_is_a_null():
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["a", None]))
    table = pa.table({"c": column})
    assert not expect.expect_column_no_nulls(table, "c")
    assert expect.expect_column_some_null(table, "c")


@pytest.mark.parametrize(
    ("values", "accepted", "answer"),
    [
        (FULL, [1, 2, 3, 4], True),
        (FULL, [1, 2], False),
        (SOME, [1, 2], False),
        (SOME, [1, 2, None], True),
        (SOME, (1, 2, None), True),
        ([], [1], True),
        ([], [], True),
        (FULL, [], False),
    ],
)
def test_accepted_values(values, accepted, answer):
    assert answers(expect.expect_column_accepted_values, values, accepted) is answer


def test_accepted_values_of_other_types():
    table = pa.table(
        {
            "text": ["a", "b"],
            "view": pa.array(["a", "b"], pa.string_view()),
            "large": pa.array(["a", "b"], pa.large_string()),
            "day": [datetime.date(2020, 1, 1)] * 2,
            "price": pa.array([decimal.Decimal("1.5")] * 2, pa.decimal128(9, 2)),
            "small": pa.array([1, 2], pa.int8()),
        }
    )
    for column, accepted in {
        "text": ["a", "b"],
        "view": ["b", "a"],
        "large": ["a", "b", "c"],
        "day": [datetime.date(2020, 1, 1)],
        "price": [decimal.Decimal("1.50")],
        "small": [1, 2],
    }.items():
        assert expect.expect_column_accepted_values(table, column, accepted)
        assert not expect.expect_column_accepted_values(table, column, [])


def test_means():
    for values, mean in ((FULL, 2), (SOME, 1.5)):
        assert answers(expect.expect_column_mean_greater_than, values, mean) is False
        assert answers(expect.expect_column_mean_greater_than, values, mean - 1) is True
        assert answers(expect.expect_column_mean_greater_or_equal_than, values, mean) is True
        assert answers(expect.expect_column_mean_greater_or_equal_than, values, mean + 1) is False
        assert answers(expect.expect_column_mean_smaller_than, values, mean) is False
        assert answers(expect.expect_column_mean_smaller_than, values, mean + 1) is True
        assert answers(expect.expect_column_mean_smaller_or_equal_than, values, mean) is True
        assert answers(expect.expect_column_mean_smaller_or_equal_than, values, mean - 1) is False


def test_there_is_no_mean_of_nothing():
    for check in (
        expect.expect_column_mean_greater_than,
        expect.expect_column_mean_greater_or_equal_than,
        expect.expect_column_mean_smaller_than,
        expect.expect_column_mean_smaller_or_equal_than,
    ):
        assert answers(check, [], 0) is False
        assert answers(check, NONE, 0) is False


@pytest.mark.parametrize(
    ("target", "separator", "answer"),
    [
        (["a-1", "b-2"], "-", True),
        (["a1", "b2"], "", True),
        (["a1", "b3"], "", False),
        (["a1", None], "", False),
    ],
)
def test_concatenation(target, separator, answer):
    table = pa.table({"t": target, "s": ["a", "b"], "n": [1, 2]})
    found = expect.expect_column_equal_concatenation(table, "t", ["s", "n"], separator)
    assert found.met is answer


def test_concatenation_with_nulls_is_null():
    view = pa.array(["ab", None, None], pa.string_view())
    table = pa.table({"t": view, "s": ["a", None, "x"], "u": pa.array(["b", "c", None])})
    assert expect.expect_column_equal_concatenation(table, "t", ["s", "u"])
    assert expect.expect_column_equal_concatenation(table.slice(0, 0), "t", ["s", "u"])
    with pytest.raises(ValueError, match="needs columns"):
        expect.expect_column_equal_concatenation(table, "t", [])


def test_a_missing_column_is_an_error_with_a_suggestion():
    with pytest.raises(KeyError, match="there is no column 'crrier'; did you mean 'carrier'"):
        expect.expect_column_no_nulls(pa.table({"carrier": [1]}), "crrier")


@pytest.mark.parametrize(
    ("values", "least", "most", "answer"),
    [
        (FULL, 1, 3, True),
        (FULL, 2, None, False),
        (FULL, None, 2, False),
        (FULL, None, 3, True),
        (SOME, 1, 2, True),
        (NONE, 1, 2, True),
        ([], 1, 2, True),
    ],
)
def test_ranges(values, least, most, answer):
    assert answers(expect.expect_column_values_between, values, least, most) is answer


def test_ranges_of_other_types():
    day = datetime.date
    table = pa.table(
        {"x": [1.5, math.nan], "d": [day(2020, 1, 1), day(2021, 1, 1)], "t": ["b", "c"]}
    )
    assert expect.expect_column_values_between(table, "x", 0).count == 1
    assert expect.expect_column_values_between(table, "x", most=2).count == 1
    assert expect.expect_column_values_between(table, "d", day(2020, 1, 1), day(2021, 1, 1))
    assert not expect.expect_column_values_between(table, "d", day(2020, 1, 2))
    assert expect.expect_column_values_between(table, "t", "a", "c")
    with pytest.raises(ValueError, match="needs least or most"):
        expect.expect_column_values_between(table, "x")


def test_references():
    keys = pa.table({"c": pa.array([1, 2, 3, None], pa.int8()), "id": [1, 2, 2, 2]})
    for column in forms([1, None, 3, 3]):
        table = pa.table({"c": column})
        assert expect.expect_column_references(table, "c", keys)
        assert expect.expect_column_references(table, "c", keys, "id").count == 2
    far = pa.table({"c": [1, 1000]})
    assert expect.expect_column_references(far, "c", keys).rows.to_pylist() == [{"c": 1000}]
    assert expect.expect_column_references(keys, "c", far).count == 2
    with pytest.raises(KeyError, match="there is no column 'nr'"):
        expect.expect_column_references(far, "c", keys, "nr")


def test_row_counts():
    table = pa.table({"c": FULL})
    assert expect.expect_row_count_between(table, 3, 3)
    assert expect.expect_row_count_between(table)
    assert expect.expect_row_count_between(table, 4).message == (
        "there are 3 rows, where at least 4 are expected"
    )
    assert not expect.expect_row_count_between(table, most=2)


def test_a_finding_says_how_many_and_which():
    table = pa.table({"c": [None if i % 3 else i for i in range(1000)], "row": range(1000)})
    found = expect.expect_column_no_nulls(table, "c")
    assert not found
    assert found.message == "666 of 1,000 rows have a null in 'c'"
    assert found.count == 666
    assert found.rows.column("row").to_pylist() == [1, 2, 4, 5, 7]
    again = expect.expect_column_all_unique(pa.table({"c": [1, 2, 1, None, None]}), "c")
    assert (again.count, again.rows.to_pylist()) == (2, [{"c": 1}, {"c": 1}])
    mean = expect.expect_column_mean_greater_than(pa.table({"c": [1, 2]}), "c", 2)
    assert mean.message == "the mean of 'c' is 1.5, not above 2"
    assert (mean.count, mean.rows) == (None, None)
    assert expect.expect_column_no_nulls(table, "row").message == ""


def test_tables_of_all_libraries():
    import duckdb
    import numpy as np
    import pandas as pd
    import polars as pl

    table = pa.table({"c": [1, 2, 2], "t": ["a", "b", None]})
    reader = table.to_reader()
    given = {
        "polars": pl.from_arrow(table),
        "polars_lazy": pl.from_arrow(table).lazy(),
        "pandas": table.to_pandas(types_mapper=pd.ArrowDtype),
        "duckdb": duckdb.from_arrow(table),
        "batch": table.to_batches()[0],
        "reader": reader,
        "rows": table.to_pylist(),
        "arrays": {"c": np.array([1, 2, 2]), "t": np.array(["a", "b", None], dtype=object)},
    }
    for name, kind in given.items():
        assert expect.expect_column_no_nulls(kind, "c"), name
        assert expect.expect_column_no_nulls(kind, "t").count == 1, name
        found = expect.expect_column_all_unique(kind, "c")
        assert (found.count, found.rows.column("c").to_pylist()) == (2, [2, 2]), name
    assert expect.expect_column_references(given["polars"], "c", given["reader"])
