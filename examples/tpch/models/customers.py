"""What the queries leave open: who hasn't ordered for long, and how late the goods arrive."""

import datetime

import pandas as pd
import polars as pl
import zerrow


@zerrow.model(columns=["c_custkey", "c_name", "orders", "last_order", "days_silent"])
def silent_customers(
    customer: pl.DataFrame = zerrow.Model("customer", columns=["c_custkey", "c_name"]),
    orders: pl.DataFrame = zerrow.Model("orders_per_customer"),
) -> pl.DataFrame:
    """Good customers (fifteen orders and more), those longest without an order first."""
    today = datetime.date(1998, 8, 2)
    return (
        orders.filter(pl.col("orders") >= 15)
        .join(customer, left_on="o_custkey", right_on="c_custkey")
        .select(
            pl.col("o_custkey").alias("c_custkey"),
            "c_name",
            "orders",
            "last_order",
            (pl.lit(today) - pl.col("last_order")).dt.total_days().alias("days_silent"),
        )
        .sort(["days_silent", "c_custkey"], descending=[True, False])
    )


@zerrow.model()
def delivery_times(
    lineitem: pd.DataFrame = zerrow.Model(
        "lineitem",
        columns=["l_shipmode", "l_shipdate", "l_receiptdate"],
        filter="l_shipdate >= DATE '1998-01-01'",
    ),
) -> pd.DataFrame:
    """Days on the road for each way of shipping, of what was shipped in 1998."""
    shipped = pd.to_datetime(lineitem["l_shipdate"])
    received = pd.to_datetime(lineitem["l_receiptdate"])
    days = pd.DataFrame(
        {"l_shipmode": lineitem["l_shipmode"], "days": (received - shipped).dt.days}
    )
    table = days.groupby("l_shipmode").agg(items=("days", "size"), mean_days=("days", "mean"))
    return table.reset_index()


@zerrow.expectation()
def nobody_orders_from_the_future(
    orders: pl.DataFrame = zerrow.Model("orders_per_customer", columns=["last_order"]),
) -> bool:
    return bool((orders["last_order"] <= datetime.date(1998, 8, 2)).all())
