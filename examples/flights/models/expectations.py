"""What must hold for the results to be worth reading."""

import pyarrow as pa
import pyarrow.compute as pc
import zerrow


@zerrow.expectation()
def every_departure_has_a_known_carrier(
    departures: pa.Table = zerrow.Model("departures", columns=["carrier"]),
    airlines: pa.Table = zerrow.Model("airlines", columns=["carrier"]),
) -> bool:
    known = pc.is_in(departures["carrier"], value_set=airlines["carrier"].combine_chunks())
    return bool(pc.all(known).as_py())


@zerrow.expectation()
def no_departure_is_lost(
    departures: pa.Table = zerrow.Model("departures", columns=["flight"]),
    daily_traffic: pa.Table = zerrow.Model("daily_traffic", columns=["flights"]),
) -> bool:
    return bool(departures.num_rows == pc.sum(daily_traffic["flights"]).as_py())
