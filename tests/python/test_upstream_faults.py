"""Faults of engines that docs/sdk.md tells of: where a test fails one is gone, to be said there."""

import pyarrow as pa
import pytest
from zerrow._worker.tasks_sql import datafusion_query


def test_not_in_a_subquery_with_null_is_true():
    tables = {"t": pa.table({"x": [1, 2]}), "n": pa.table({"v": pa.array([1, None])})}
    sql = "SELECT x FROM t WHERE 3 NOT IN (SELECT v FROM n)"
    assert datafusion_query(tables, sql).num_rows == 2  # SQL: unknown, so none


def test_sums_of_integers_wrap():
    table = pa.table({"i": [2**63 - 1, 1]})
    assert datafusion_query({"t": table}, "SELECT sum(i) AS s FROM t")["s"].to_pylist() == [
        -(2**63)
    ]
    small = pa.table({"i": pa.array([127], pa.int8())})
    assert datafusion_query({"t": small}, "SELECT i + i AS s FROM t")["s"].to_pylist() == [-2]


def count(table, condition):
    (found,) = datafusion_query({"t": table}, f"SELECT count(*) AS n FROM t WHERE {condition}")["n"]
    return found.as_py()


def test_literals_are_cut_to_the_unit_of_the_column():
    table = pa.table({"at": pa.array([0], pa.timestamp("s"))})
    assert count(table, "at >= TIMESTAMP '1970-01-01 00:00:00.5'") == 1  # it is before


def test_literals_end_in_2262():
    table = pa.table({"at": pa.array([0], pa.timestamp("us"))})
    with pytest.raises(Exception, match="Overflow converting 2262-12-31"):
        count(table, "at < '2262-12-31'")
    assert count(table, "at < '2262-12-31'::timestamp(6)") == 1


def test_literals_are_in_the_zone_of_the_column():
    column = pa.array([0], pa.timestamp("us", "Europe/Berlin"))  # 01:00 there
    table = pa.table({"at": column})
    assert count(table, "at >= TIMESTAMP '1970-01-01 00:30:00'") == 1
    # Even what says its zone itself.
    assert count(table, "at >= TIMESTAMPTZ '1970-01-01 00:30:00+00'") == 1
    assert count(table, "at >= '1970-01-01T00:30:00Z'") == 0
