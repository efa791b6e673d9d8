"""The flights that left the ground, and which of them were late."""

import pyarrow as pa
import zerrow
from punctuality import is_late


@zerrow.model()
def departures(
    flights: pa.Table = zerrow.Model(
        "flights",
        columns=[
            "month",
            "day",
            "hour",
            "time_hour",
            "carrier",
            "flight",
            "tailnum",
            "origin",
            "dest",
            "distance",
            "dep_delay",
            "arr_delay",
        ],
        filter="dep_delay IS NOT NULL",
    ),
) -> pa.Table:
    """A passthrough: columns and filter are done by the Parquet read, nothing is left to do."""
    return flights


@zerrow.model()
def punctuality_by_flight(
    departures: pa.Table = zerrow.Model("departures"),
    late_after: int = zerrow.Parameter("late_after"),
) -> pa.Table:
    """Adds a column; the twelve others are handed on as they are."""
    return departures.append_column("late", is_late(departures["dep_delay"], late_after))
