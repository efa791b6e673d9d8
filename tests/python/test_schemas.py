"""TableSchema: which columns a class declares, and which declarations are refused."""

import typing
from typing import Annotated

import pyarrow as pa
import pytest
import zerrow
from zerrow import Arrow, Int64, String, TableField, TableSchema
from zerrow._schemas import columns_of, contract_of_text, contract_to_text

HERE = __file__


class Flights(TableSchema):
    """One row for each departure."""

    carrier: String
    delay: zerrow.Float64 | None
    fare: Annotated[Arrow | None, pa.decimal128(15, 2)]
    anything: Arrow
    stops: Annotated[
        Annotated[Arrow, pa.list_(pa.string())],
        TableField(name="stops on the way", doc="In order."),
    ]


def test_columns_have_names_types_and_say_whether_there_are_nulls():
    assert [(c.name, c.type, c.nullable) for c in columns_of(Flights)] == [
        ("carrier", pa.string(), False),
        ("delay", pa.float64(), True),
        ("fare", pa.decimal128(15, 2), True),
        ("anything", None, False),
        ("stops on the way", pa.list_(pa.string()), False),
    ]
    assert columns_of(Flights)[4].doc == "In order."


def test_lineage_names_a_column_of_another_schema():
    class Late(TableSchema):
        carrier: Annotated[String, TableField(lineage=Flights["carrier"])]
        fare: Annotated[Int64, TableField(lineage="the fare, in cents")]

    assert [str(column.lineage) for column in columns_of(Late)] == [
        "Flights.carrier",
        "the fare, in cents",
    ]
    with pytest.raises(KeyError, match="Flights has no column 'carier'"):
        Flights["carier"]


def test_a_schema_has_the_columns_of_its_bases_first():
    class Later(Flights):
        minutes: Int64
        delay: zerrow.Float64  # of another type than the base's, in its place

    assert [column.name for column in columns_of(Later)][1::4] == ["delay", "minutes"]
    assert not columns_of(Later)[1].nullable


def test_annotations_may_be_texts():
    class Local:
        Type = Int64

    class Texts(TableSchema):
        a: "Int64 | None"
        b: "Annotated[Arrow, pa.float16()]"
        c: "Local.Type"

    assert [(c.name, c.type, c.nullable) for c in columns_of(Texts)] == [
        ("a", pa.int64(), True),
        ("b", pa.float16(), False),
        ("c", pa.int64(), False),
    ]


TYPES = {
    "Bool": pa.bool_(),
    "Int8": pa.int8(),
    "Int16": pa.int16(),
    "Int32": pa.int32(),
    "Int64": pa.int64(),
    "UInt8": pa.uint8(),
    "UInt16": pa.uint16(),
    "UInt32": pa.uint32(),
    "UInt64": pa.uint64(),
    "Float32": pa.float32(),
    "Float64": pa.float64(),
    "String": pa.string(),
    "Binary": pa.binary(),
    "Date32": pa.date32(),
    "Date64": pa.date64(),
    "TimestampMicro": pa.timestamp("us"),
    "TimestampNano": pa.timestamp("ns"),
    "TimestampMicroUTC": pa.timestamp("us", "UTC"),
    "TimestampNanoUTC": pa.timestamp("ns", "UTC"),
}


def test_each_type_is_arrows():
    body = {"__annotations__": {name: getattr(zerrow, name) for name in TYPES}}
    schema = type(TableSchema)("All", (TableSchema,), body)
    assert {column.name: column.type for column in columns_of(schema)} == TYPES


def test_texts_and_bytes_have_any_layout_and_other_types_are_exact():
    carrier, delay, fare, anything, _ = columns_of(Flights)
    for layout in (pa.string(), pa.large_string(), pa.string_view()):
        assert carrier.accepts(layout)
        assert carrier.accepts(pa.dictionary(pa.int8(), layout))
        assert anything.accepts(layout)
    for other in (pa.binary(), pa.int64(), pa.dictionary(pa.int8(), pa.int64()), pa.null()):
        assert not carrier.accepts(other)
    assert not delay.accepts(pa.float32())
    assert fare.accepts(pa.decimal128(15, 2))
    assert not fare.accepts(pa.decimal128(15, 3))


def test_a_contract_goes_through_text():
    contract = columns_of(Flights)
    again = contract_of_text(contract_to_text(contract))
    assert [column.to_json() for column in again] == [column.to_json() for column in contract]
    assert again[0].accepts(pa.string_view())
    assert not again[2].accepts(pa.decimal128(15, 3))


def test_a_text_of_one_layout_is_written_beside_arrow():
    class Exact(TableSchema):
        s: Annotated[Arrow, pa.string()]

    assert not columns_of(Exact)[0].accepts(pa.large_string())


REFUSED = {
    "no column's type": {"x": int},
    "no column's type: use zerrow.Int64": {"x": pa.int64},
    "None": {"x": None},
    "name 'nowhere' is not defined|no column's type": {"x": "nowhere.Int64"},
    "one type": {"x": Int64 | String},
    "beside zerrow.Arrow, not Int64": {"x": Annotated[Int64, pa.int64()]},
    "one TableField and one type": {"x": Annotated[Arrow, pa.int64(), pa.int32()]},
    "write TableField": {"x": Annotated[Int64, TableField]},
    "lineage is a column": {"x": Annotated[Int64, TableField(lineage=Flights)]},  # type: ignore
    "two columns have this name": {"x": Int64, "y": Annotated[Int64, TableField(name="x")]},
}


@pytest.mark.parametrize("problem", REFUSED)
def test_what_declares_no_column_is_refused_with_its_place(problem):
    with pytest.raises(zerrow.ProjectError, match=problem) as caught:
        type(TableSchema)("Wrong", (TableSchema,), {"__annotations__": REFUSED[problem]})
    assert caught.value.file == HERE
    assert caught.value.message.startswith("Wrong.x: ")


def test_a_column_without_a_colon_and_one_with_a_value_are_refused():
    with pytest.raises(zerrow.ProjectError, match=r"Wrong.x: write x: Int64"):

        class Wrong(TableSchema):
            x = Int64

    with pytest.raises(zerrow.ProjectError, match=r"Wrong.x: a column has no value"):

        class Wrong(TableSchema):
            x: Int64 = 3  # type: ignore


def test_a_default_for_type_checkers():
    assert typing.get_type_hints(zerrow.Model)["return"] is typing.Any
