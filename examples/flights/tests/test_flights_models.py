"""The flights models, called as the plain functions that they are: no engine, no files."""

import airports
import carriers
import departures
import duckdb
import expectations
import fleet
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest


@pytest.fixture
def left_the_ground() -> pa.Table:
    return pa.table(
        {
            "carrier": ["AA", "AA", "UA"],
            "flight": [1, 2, 3],
            "dep_delay": [-3.0, 15.0, 16.0],
        }
    )


def test_departures_hands_its_input_on(left_the_ground):
    assert departures.departures(left_the_ground) is left_the_ground


def test_a_departure_is_late_only_after_the_limit(left_the_ground):
    flagged = departures.punctuality_by_flight(left_the_ground, late_after=15)
    assert flagged["late"].to_pylist() == [False, False, True]
    assert flagged.column_names == [*left_the_ground.column_names, "late"]


def test_carrier_league_ranks_the_punctual_first_and_leaves_out_the_small():
    flights = pl.DataFrame(
        {
            "carrier": ["AA"] * 1000 + ["UA"] * 1000 + ["OO"] * 3,
            "dep_delay": [20.0] * 1000 + [0.0] * 1000 + [-1.0] * 3,
            "late": [True] * 1000 + [False] * 1000 + [False] * 3,
        }
    )
    airlines = pl.DataFrame(
        {"carrier": ["AA", "UA", "OO"], "name": ["American", "United", "SkyWest"]}
    )
    league = carriers.carrier_league(flights, airlines)
    assert league.to_dicts() == [
        {"rank": 1, "airline": "United", "flights": 1000, "late_percent": 0.0, "median_delay": 0.0},
        {
            "rank": 2,
            "airline": "American",
            "flights": 1000,
            "late_percent": 100.0,
            "median_delay": 20.0,
        },
    ]


def test_plane_age_counts_each_plane_once():
    flights = pd.DataFrame({"tailnum": ["N1", "N1", "N2", "N9"], "dep_delay": [2.0, 4.0, 9.0, 1.0]})
    planes = pd.DataFrame({"tailnum": ["N1", "N2"], "year": [2010, 1990], "seats": [100, 50]})
    ages = fleet.delay_by_plane_age(flights, planes).set_index("age")
    assert ages.loc["0-5", ["flights", "mean_delay", "planes"]].tolist() == [2, 3.0, 1]
    assert ages.loc["21 and more", ["flights", "mean_delay", "planes"]].tolist() == [1, 9.0, 1]
    assert ages["flights"].sum() == 3


def test_departure_board_counts_by_hour():
    flights = pa.table(
        {
            "origin": ["JFK", "JFK", "JFK"],
            "hour": [7, 6, 7],
            "dep_delay": [1.0, 2.0, 3.0],
            "late": [False, True, True],
        }
    )
    board = airports.departure_board(duckdb.from_arrow(flights))
    assert board.fetchall() == [(6, 1, 1, 2.0), (7, 2, 1, 2.0)]


def test_headlines_name_the_worst_hour():
    facts = airports.headlines(
        punctuality=pa.table({"dep_delay": [1.0, 20.0], "late": [False, True]}),
        carriers=pa.table({"airline": ["United"], "rank": [1]}),
        routes=pa.table({"origin": ["JFK"], "dest": ["LAX"]}),
        board=pa.table({"hour": [6, 20], "flights": [10, 10], "late": [1, 5]}),
        origin="JFK",
    )
    values = {fact["what"]: fact["value"] for fact in facts}
    assert values["late"] == "50.0 %"
    assert values["hour to avoid at JFK"] == "20:00"
    assert values["busiest route"] == "JFK-LAX"


@pytest.mark.parametrize(("known", "answer"), [(["AA", "UA"], True), (["AA"], False)])
def test_unknown_carriers_are_noticed(left_the_ground, known, answer):
    airlines = pa.table({"carrier": known})
    assert expectations.every_departure_has_a_known_carrier(left_the_ground, airlines) is answer


@pytest.mark.parametrize(("counts", "answer"), [([2, 1], True), ([2], False)])
def test_lost_departures_are_noticed(left_the_ground, counts, answer):
    daily = pa.table({"flights": counts})
    assert expectations.no_departure_is_lost(left_the_ground, daily) is answer
