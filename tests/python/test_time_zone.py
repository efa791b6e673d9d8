"""DuckDB on a machine whose own zone isn't UTC."""

import os
import subprocess
import sys

import pytest

# What a worker does with a SQL model, and with a relation for a function.
BEGIN = """
import datetime, duckdb, pyarrow as pa
from zerrow._worker.convert import from_table
from zerrow._worker.tasks_sql import _duckdb
made = datetime.datetime(2024, 6, 1, 15, tzinfo=datetime.timezone.utc)
table = pa.table({"seen": pa.array([made], pa.timestamp("us", "Europe/Berlin"))})
day = "CAST(CAST(seen AS DATE) AS VARCHAR)"
"""


def printed(zone, code):
    command = [sys.executable, "-c", BEGIN + code]
    env = {**os.environ, "TZ": zone}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York", "UTC"])
def test_instants_are_read_in_utc(zone):
    of_model = """
found = _duckdb({"t": table}, f"SELECT {day} AS day, seen, date_part('hour', seen) AS h FROM t")
print(found["day"][0], found["h"][0], found["seen"].type.tz, found["seen"][0].value)
"""
    assert printed(zone, of_model) == ["2024-06-01", "15", "UTC", "1717254000000000"]
    of_relation = """
relation = from_table(table, "duckdb")
print(relation.project(day).fetchall()[0][0], relation.to_arrow_table()["seen"].type.tz)
print(duckdb.sql(f"SELECT {day} FROM relation").fetchall()[0][0])
"""
    assert printed(zone, of_relation) == ["2024-06-01", "UTC", "2024-06-01"]


def test_a_zone_that_the_user_has_set_stays():
    code = """
duckdb.sql("SET TimeZone = 'Asia/Tokyo'")
print(from_table(table, "duckdb").project(day).fetchall()[0][0])
"""
    assert printed("UTC", code) == ["2024-06-02"]
