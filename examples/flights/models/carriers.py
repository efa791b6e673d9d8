"""Which airline keeps its timetable?"""

import polars as pl
import zerrow


@zerrow.model(columns=["rank", "airline", "flights", "late_percent", "median_delay"])
def carrier_league(
    punctuality: pl.DataFrame = zerrow.Model(
        "punctuality_by_flight", columns=["carrier", "dep_delay", "late"]
    ),
    airlines: pl.DataFrame = zerrow.Model("airlines"),
) -> pl.DataFrame:
    """Airlines with at least a thousand departures, the most punctual first."""
    return (
        punctuality.group_by("carrier")
        .agg(
            pl.len().cast(pl.Int64).alias("flights"),
            (pl.col("late").mean() * 100).round(1).alias("late_percent"),
            pl.col("dep_delay").median().alias("median_delay"),
        )
        .filter(pl.col("flights") >= 1000)
        .join(airlines, on="carrier")
        .sort(["late_percent", "name"])
        .select(
            pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("rank"),
            pl.col("name").alias("airline"),
            "flights",
            "late_percent",
            "median_delay",
        )
    )
