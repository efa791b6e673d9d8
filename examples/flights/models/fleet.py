"""Are old planes late planes?"""

import pandas as pd
import zerrow

BANDS = {"0-5": 5, "6-10": 10, "11-15": 15, "16-20": 20, "21 and more": 200}


@zerrow.model()
def delay_by_plane_age(
    departures: pd.DataFrame = zerrow.Model("departures", columns=["tailnum", "dep_delay"]),
    planes: pd.DataFrame = zerrow.Model(
        "planes", columns=["tailnum", "year", "seats"], filter="year IS NOT NULL"
    ),
) -> pd.DataFrame:
    """Departures by the age that their plane had in 2013; planes of unknown age are left out."""
    joined = departures.merge(planes, on="tailnum")
    age = 2013 - joined["year"].astype("int64")
    joined["age"] = pd.cut(age, [-1, *BANDS.values()], labels=list(BANDS))
    table = joined.groupby("age", observed=False).agg(
        flights=("dep_delay", "size"),
        mean_delay=("dep_delay", "mean"),
        planes=("tailnum", "nunique"),
        mean_seats=("seats", "mean"),
    )
    return table.reset_index().astype({"age": "str"})
