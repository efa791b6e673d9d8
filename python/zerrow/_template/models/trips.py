"""What is added to the trips, which of them are looked at, and what must hold."""

import pyarrow as pa
import pyarrow.compute as pc
import zerrow


@zerrow.model()
def priced(trips: pa.Table = zerrow.Model("trips")) -> pa.Table:
    """Adds a column. The others aren't copied: they are handed on as references."""
    return trips.append_column("fare_per_km", pc.divide(trips["fare"], trips["km"]))


@zerrow.model()
def tipped(priced: pa.Table = zerrow.Model("priced")) -> pa.Table:
    """Adds another one."""
    share = pc.divide(priced["tip"], priced["fare"])
    return priced.append_column("tip_share", share)


@zerrow.model()
def long_trips(
    tipped: pa.Table = zerrow.Model("tipped", filter="km >= $long_from"),
) -> pa.Table:
    """The engine applies the filter: what a function gets is already filtered."""
    print(f"{tipped.num_rows:,} trips are long")
    return tipped.drop_columns(["passengers"])


@zerrow.expectation()
def fares_are_paid(trips: pa.Table = zerrow.Model("trips", columns=["fare"])) -> bool:
    """An expectation answers whether something holds; with --strict it fails the run."""
    return bool(pc.min(trips["fare"]).as_py() > 0)
