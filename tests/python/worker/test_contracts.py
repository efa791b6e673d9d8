"""Tables against their schemas: what a fault is, and how it is told."""

from typing import Annotated

import pyarrow as pa
import pytest
import zerrow
from zerrow._schemas import columns_of
from zerrow._worker.contracts import keep_contract, null_count
from zerrow._worker.tasks import TaskError


class Flights(zerrow.TableSchema):
    carrier: zerrow.String
    delay: zerrow.Float64 | None


GOOD = {"carrier": ["AA", "UA"], "delay": [1.5, None]}


def keep(table):
    return keep_contract(table, columns_of(Flights), "the output of 'late'")


def test_a_table_as_declared_stays_what_it_is():
    table = pa.table(GOOD)
    assert keep(table) is table


def test_columns_come_in_the_order_of_the_schema():
    table = pa.table(GOOD).select(["delay", "carrier"])
    assert keep(table).equals(pa.table(GOOD))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"carrier": None}, "column 'carrier' should be string without nulls, but is missing"),
        ({"delay": [1, 2]}, "column 'delay' should be double, but is int64"),
        ({"carrier": ["AA", None]}, "should be string without nulls, but has 1 null"),
        ({"more": [1, 2]}, "it has 'more' besides"),
        (
            {"carrier": [1, 2], "delay": ["x", "y"]},
            "column 'carrier' should be string without nulls, but is int64; column 'delay' "
            "should be double, but is string",
        ),
    ],
)
def test_what_is_not_as_declared_is_told(change, fault):
    columns = {name: values for name, values in {**GOOD, **change}.items() if values is not None}
    with pytest.raises(TaskError) as caught:
        keep(pa.table(columns))
    assert str(caught.value).startswith("the output of 'late' isn't as its schema says: ")
    assert str(caught.value).endswith(fault)


def test_a_column_that_is_there_twice_is_a_fault():
    table = pa.table([["AA"], ["UA"], [1.5]], names=["carrier", "carrier", "delay"])
    with pytest.raises(TaskError, match=r"'carrier' should be .*, but is there 2 times"):
        keep(table)


def test_many_faults_are_cut():
    names = [f"c{i}" for i in range(20)]
    body = {"__annotations__": dict.fromkeys(names, zerrow.Int64)}
    schema = type(zerrow.TableSchema)("Many", (zerrow.TableSchema,), body)
    with pytest.raises(TaskError, match=r"'c7' .*; and 12 more$"):
        keep_contract(pa.table({}), columns_of(schema), "it")


def test_a_null_may_stand_in_a_dictionary():
    values = pa.array(["AA", None])
    array = pa.DictionaryArray.from_arrays(pa.array([0, 1, 1, None]), values)
    assert null_count(pa.chunked_array([array])) == 3
    with pytest.raises(TaskError, match=r"'carrier' .* but has 3 nulls"):
        keep(pa.table({"carrier": array, "delay": [1.0] * 4}))


def test_a_dictionary_that_nobody_asked_for_counts_as_its_values():
    class Exact(zerrow.TableSchema):
        s: Annotated[zerrow.Arrow, pa.string()]

    kind = pa.dictionary(pa.int32(), pa.string())
    array = pa.array(["x", "y", "x"]).dictionary_encode()
    marked = pa.field("s", kind, metadata={"zerrow:dictionary": "auto"})
    table = pa.table([array], schema=pa.schema([marked]))
    assert keep_contract(table, columns_of(Exact), "it") is table
    with pytest.raises(TaskError, match="should be string without nulls, but is dictionary"):
        keep_contract(pa.table({"s": array}), columns_of(Exact), "it")
