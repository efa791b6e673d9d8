"""Tables of all types as JSON values: docs/formats/rows.md."""

import datetime
import decimal
import json
import uuid

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from zerrow._worker.json_rows import few_rows, json_rows, json_values

NAN, INFINITY = float("nan"), float("inf")
NOON = datetime.datetime(2013, 1, 31, 12)


def ticks(type_, *values):
    bits = pa.int32() if type_.bit_width == 32 else pa.int64()
    return pa.array(values, bits).cast(type_)


def nested(levels):
    array = pa.array([1])
    for _ in range(levels):
        array = pa.ListArray.from_arrays([0, 1], array)
    return array


CASES = [
    (pa.array([True, None]), [True, None]),
    (pa.nulls(2), [None, None]),
    (pa.array([2**63 - 1, None, -(2**63)]), [2**63 - 1, None, -(2**63)]),
    (pa.array([2**64 - 1], pa.uint64()), [2**64 - 1]),
    (pa.array([1.5, None, NAN, INFINITY, -INFINITY]), [1.5, None, "NaN", "Infinity", "-Infinity"]),
    (pa.array([1.5], pa.float16()), [1.5]),
    (pa.array([decimal.Decimal("1E+3"), None], pa.decimal128(9, 2)), ["1000.00", None]),
    (pa.array(["é" * 500, None, ""], pa.string_view()), ["é" * 500, None, ""]),
    (pa.array([b"\xff\x00", None]), ["/wA=", None]),
    (pa.array([b"ab"], pa.binary(2)), ["YWI="]),
    (pa.array([datetime.date(2013, 1, 31), None]), ["2013-01-31", None]),
    (ticks(pa.time32("ms"), 18_900_250), ["05:15:00.25"]),
    (ticks(pa.time64("ns"), 1), ["00:00:00.000000001"]),
    (pa.array([NOON, None]), ["2013-01-31T12:00:00", None]),
    (pa.array([NOON], pa.timestamp("ns", "UTC")), ["2013-01-31T12:00:00Z"]),
    (pa.array([NOON], pa.timestamp("s", "America/New_York")), ["2013-01-31T07:00:00-05:00"]),
    (pa.array([NOON], pa.timestamp("s", "Nowhere/At_All")), ["2013-01-31T12:00:00Z"]),
    (ticks(pa.timestamp("ns"), -1), ["1969-12-31T23:59:59.999999999"]),
    (ticks(pa.timestamp("ms"), 100, 20_000), ["1970-01-01T00:00:00.1", "1970-01-01T00:00:20"]),
    (ticks(pa.duration("ms"), 5_400_000, -250), ["PT5400S", "-PT0.25S"]),
    (
        pa.array([pa.MonthDayNano([1, -2, 3])]),
        [{"months": 1, "days": -2, "nanoseconds": 3}],
    ),
    (pa.array([[NAN, None], None, []]), [["NaN", None], None, []]),
    (pa.array([[1, 2], None], pa.list_(pa.int8(), 2)), [[1, 2], None]),
    (pa.array([[1], None], pa.large_list(pa.int8())), [[1], None]),
    (pa.array([[1], None], pa.list_view(pa.int8())), [[1], None]),
    (pa.array([{"a": [{"b": b"\xff"}]}, None]), [{"a": [{"b": "/w=="}]}, None]),
    (pa.array([{}, None], pa.struct([])), [{}, None]),
    (
        pa.array([[("k", 1.5)], None], pa.map_(pa.string(), pa.float64())),
        [[{"key": "k", "value": 1.5}], None],
    ),
    (pa.array(["a", None, "a"]).dictionary_encode(), ["a", None, "a"]),
    (pc.run_end_encode(pa.array([1, 1, None])), [1, 1, None]),
    (pa.array([uuid.UUID(int=5).bytes], pa.uuid()), [str(uuid.UUID(int=5))]),
    (
        pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array("xy")]),
        [1, "y"],
    ),
]


@pytest.mark.parametrize(("array", "values"), CASES, ids=lambda case: str(case)[:30])
def test_values_are_json_of_their_type(array, values):
    assert json_values(array) == values
    assert json_values(array.slice(1)) == values[1:]
    assert json.loads(json.dumps(json_values(array), allow_nan=False)) == values


def test_bytes_that_arent_text_are_replaced():
    offsets = pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0")
    array = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"\xffa")])
    assert json_values(array) == ["\ufffd", "a"]


def test_what_is_too_deep_is_text():
    assert json_values(nested(20)) == json.loads("[" * 21 + "1" + "]" * 21)
    text = json.dumps(json_values(nested(200)))
    assert text.count("[") - text.split('"')[1].count("[") < 50


def test_rows_go_across_the_columns():
    columns = {"a": pa.chunked_array([[1, 2], [3]]), "b": pa.chunked_array([["x"], ["y", None]])}
    assert list(json_rows(pa.table(columns))) == [[1, "x"], [2, "y"], [3, None]]
    assert list(json_rows(pa.table({"a": list(range(2500))}))) == [[i] for i in range(2500)]
    assert list(json_rows(pa.table({"a": [1, 2]}).select([]))) == []


def test_few_rows_are_bounded():
    wide = pa.table({f"c{i}": [["x" * 300]] for i in range(50)} | {"z": ["y" * 300]})
    shown = few_rows(wide, 7)
    assert (len(shown["columns"]), len(shown["rows"][0]), shown["total_rows"]) == (20, 20, 7)
    assert all(isinstance(cell, str) and len(cell) == 200 for cell in shown["rows"][0])
