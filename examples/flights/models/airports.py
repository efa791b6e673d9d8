"""One airport's day, hour by hour, and what is worth telling of the whole year."""

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import zerrow
from punctuality import percent


@zerrow.model()
def departure_board(
    board: duckdb.DuckDBPyRelation = zerrow.Model(
        "punctuality_by_flight",
        columns=["origin", "hour", "dep_delay", "late"],
        filter="origin = $origin",
    ),
) -> duckdb.DuckDBPyRelation:
    """Departures of the airport `origin` by the hour that the timetable gives."""
    return board.aggregate(
        """hour, count(*) AS flights, sum(late::INT)::BIGINT AS late,
           median(dep_delay) AS median_delay""",
        "hour",
    ).order("hour")


@zerrow.model()
@zerrow.resources(timeout=120)
def headlines(
    punctuality: pa.Table = zerrow.Model("punctuality_by_flight", columns=["dep_delay", "late"]),
    carriers: pa.Table = zerrow.Model("carrier_league", columns=["airline", "rank"]),
    routes: pa.Table = zerrow.Model("busiest_routes"),
    board: pa.Table = zerrow.Model("departure_board"),
    origin: str = zerrow.Parameter("origin"),
) -> list[dict[str, str]]:
    """A few sentences' worth of facts."""
    late = pc.sum(punctuality["late"]).as_py() or 0
    route = routes.slice(0, 1).to_pylist()[0]
    hour = max(board.to_pylist(), key=lambda row: percent(row["late"], row["flights"]))
    return [
        {"what": "departures", "value": f"{punctuality.num_rows}"},
        {"what": "late", "value": f"{percent(late, punctuality.num_rows)} %"},
        {"what": "most punctual airline", "value": carriers["airline"][0].as_py()},
        {"what": "busiest route", "value": f"{route['origin']}-{route['dest']}"},
        {"what": f"hour to avoid at {origin}", "value": f"{hour['hour']}:00"},
    ]
