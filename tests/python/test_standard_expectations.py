"""Standard expectations over all kinds of columns, with nulls, and empty."""

import datetime
import decimal

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
    found = {check(pa.table({"c": column}), "c", *arguments) for column in forms(values)}
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
        assert expect.expect_column_accepted_values(table, column, accepted) is True
        assert expect.expect_column_accepted_values(table, column, []) is False


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
    assert found is answer


def test_concatenation_with_nulls_is_null():
    view = pa.array(["ab", None, None], pa.string_view())
    table = pa.table({"t": view, "s": ["a", None, "x"], "u": pa.array(["b", "c", None])})
    assert expect.expect_column_equal_concatenation(table, "t", ["s", "u"]) is True
    assert expect.expect_column_equal_concatenation(table.slice(0, 0), "t", ["s", "u"]) is True
    with pytest.raises(ValueError, match="needs columns"):
        expect.expect_column_equal_concatenation(table, "t", [])


def test_a_missing_column_is_an_error_with_a_suggestion():
    with pytest.raises(KeyError, match="there is no column 'crrier'; did you mean 'carrier'"):
        expect.expect_column_no_nulls(pa.table({"carrier": [1]}), "crrier")
