"""The TPC-H Python models, called as plain functions."""

import datetime

import customers
import pandas as pd
import polars as pl


def test_silent_customers_are_good_customers():
    names = pl.DataFrame({"c_custkey": [1, 2, 3], "c_name": ["a", "b", "c"]})
    day = datetime.date(1998, 8, 1)
    orders = pl.DataFrame(
        {
            "o_custkey": [1, 2, 3],
            "orders": [15, 14, 20],
            "last_order": [day, day, day - datetime.timedelta(days=9)],
        }
    )
    silent = customers.silent_customers(names, orders)
    assert silent["c_custkey"].to_list() == [3, 1]
    assert silent["days_silent"].to_list() == [10, 1]


def test_delivery_times_are_means_by_mode():
    day = datetime.date(1998, 1, 1)
    lines = pd.DataFrame(
        {
            "l_shipmode": ["AIR", "AIR", "MAIL"],
            "l_shipdate": [day] * 3,
            "l_receiptdate": [day + datetime.timedelta(days=n) for n in (1, 4, 7)],
        }
    )
    times = customers.delivery_times(lines).set_index("l_shipmode")
    assert times.loc["AIR"].tolist() == [2, 2.5]
    assert times.loc["MAIL"].tolist() == [1, 7.0]


def test_orders_from_the_future_are_noticed():
    late = pl.DataFrame({"last_order": [datetime.date(1999, 1, 1)]})
    assert customers.nobody_orders_from_the_future(late) is False
