"""Models are plain functions: a test calls them, without engine or files. Run it with `pytest`."""

import pyarrow as pa
from models.trips import fares_are_paid, priced


def test_a_fare_is_divided_by_the_distance() -> None:
    trips = pa.table({"fare": [10.0, 9.0], "km": [4.0, 2.0]})
    assert priced(trips)["fare_per_km"].to_pylist() == [2.5, 4.5]


def test_a_trip_for_nothing_is_noticed() -> None:
    assert fares_are_paid(pa.table({"fare": [7.5]}))
    assert not fares_are_paid(pa.table({"fare": [7.5, 0.0]}))
