"""The flights demo gives what a plain computation with pandas gives, with every backend."""

import pandas as pd
import pyarrow.parquet as pq
import pytest
import zerrow as zerrow_package

BACKENDS = ["memfd", "copy", "full-copy"]
LATE_AFTER = 15


@pytest.fixture(scope="module")
def departed(flights):
    table = pq.read_table(flights / "data" / "flights").to_pandas()
    departed = table[table["dep_delay"].notna()].copy()
    departed["late"] = departed["dep_delay"] > LATE_AFTER
    return departed


@pytest.fixture(scope="module", params=BACKENDS)
def results(request, flights):
    """Every model's table, from one run."""
    return zerrow_package.run(flights, backend=request.param)


def read(results, name):
    return results.table(name).to_pandas()


def test_carrier_league(results, departed, flights):
    airlines = pq.read_table(flights / "data" / "airlines.parquet").to_pandas()
    expected = departed.groupby("carrier").agg(
        flights=("late", "size"), late=("late", "mean"), median=("dep_delay", "median")
    )
    expected = expected[expected["flights"] >= 1000].join(airlines.set_index("carrier"))
    league = read(results, "carrier_league").set_index("airline")
    assert sorted(league["rank"]) == list(range(1, len(expected) + 1))
    assert league["late_percent"].is_monotonic_increasing
    for row in expected.itertuples():
        got = league.loc[row.name]
        assert got["flights"] == row.flights
        assert got["late_percent"] == pytest.approx(row.late * 100, abs=0.051)
        assert got["median_delay"] == row.median


def test_delays_by_weather(results, departed, flights):
    weather = pq.read_table(flights / "data" / "weather.parquet").to_pandas()
    joined = departed.merge(weather, on=["origin", "time_hour"], suffixes=("", "_w"))
    fog = joined["visib"] < 1
    storm = ~fog & (joined["wind_speed"] > 25)
    got = read(results, "delays_by_weather").set_index("weather")
    assert got["flights"].sum() == len(joined)
    for name, rows in {"1 fog": joined[fog], "2 storm": joined[storm]}.items():
        assert got.loc[name, "flights"] == len(rows)
        assert got.loc[name, "mean_delay"] == pytest.approx(rows["dep_delay"].mean())
        assert got.loc[name, "late_percent"] == pytest.approx(100 * rows["late"].mean())


def test_busiest_routes(results, departed):
    counts = departed.groupby(["origin", "dest"]).agg(
        flights=("dest", "size"), median=("arr_delay", "median"), carriers=("carrier", "nunique")
    )
    got = read(results, "busiest_routes")
    assert len(got) == 20
    assert list(got["flights"]) == sorted(counts["flights"], reverse=True)[:20]
    for row in got.itertuples():
        expected = counts.loc[(row.origin, row.dest)]
        assert (row.flights, row.median_arrival_delay, row.carriers) == tuple(expected)


def test_delay_by_plane_age(results, departed, flights):
    planes = pq.read_table(flights / "data" / "planes.parquet").to_pandas().dropna(subset="year")
    joined = departed.merge(planes, on="tailnum", suffixes=("", "_plane"))
    age = 2013 - joined["year_plane"]
    got = read(results, "delay_by_plane_age").set_index("age")
    assert got["flights"].sum() == len(joined)
    old = joined[age > 20]
    assert got.loc["21 and more", "planes"] == old["tailnum"].nunique()
    assert got.loc["21 and more", "mean_delay"] == pytest.approx(old["dep_delay"].mean())


def test_departure_board(results, departed):
    expected = (
        departed[departed["origin"] == "JFK"]
        .groupby("hour")
        .agg(flights=("late", "size"), late=("late", "sum"), median_delay=("dep_delay", "median"))
        .reset_index()
    )
    pd.testing.assert_frame_equal(
        read(results, "departure_board"), expected, check_dtype=False, check_names=False
    )


def test_worst_days(results, departed):
    days = departed.groupby(["origin", "month", "day"])["dep_delay"].agg(["size", "mean", "max"])
    expected = days[days["mean"] > 40].sort_values("mean", ascending=False)
    got = read(results, "worst_days").set_index(["origin", "month", "day"])
    assert list(got["mean_delay"]) == pytest.approx(list(expected["mean"]))
    assert got["flights"].to_dict() == expected["size"].to_dict()
    assert got["worst_delay"].to_dict() == expected["max"].to_dict()


def test_headlines(results, departed):
    facts = read(results, "headlines").set_index("what")["value"]
    assert facts["departures"] == str(len(departed))
    assert facts["late"] == f"{100 * departed['late'].mean():.1f} %"


def test_only_final_models_are_written(zerrow, flights, tmp_path):
    outcome = zerrow("run", "-p", flights, "--output", tmp_path / "out")
    assert outcome.code == 0, outcome
    names = {path.name.removesuffix(".parquet") for path in (tmp_path / "out").iterdir()}
    assert names == {"delay_by_plane_age", "delays_by_weather", "headlines", "worst_days"}


def test_a_parameter_changes_what_depends_on_it(zerrow, flights, departed, tmp_path):
    outcome = zerrow(
        "run", "-p", flights, "--select", "departure_board", "--output", tmp_path / "out",
        "--param", "origin=LGA",
    )  # fmt: skip
    assert outcome.code == 0, outcome
    board = pq.read_table(tmp_path / "out" / "departure_board.parquet").to_pandas()
    assert board["flights"].sum() == (departed["origin"] == "LGA").sum()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_report_accounts_for_every_byte(zerrow, flights, backend):
    outcome = zerrow("run", "-p", flights, "--backend", backend, "-O", "json")
    assert outcome.code == 0, outcome
    report = outcome.report
    assert set(report) >= {
        "run_id",
        "status",
        "wall_s",
        "peak_memory_bytes",
        "backend",
        "models",
    }
    assert (report["status"], report["backend"]) == ("success", backend)
    assert report["peak_memory_bytes"] > 0
    kinds = {model["kind"] for model in report["models"]}
    assert kinds == {"source", "filter", "python", "sql", "native", "expectation"}
    for model in report["models"]:
        assert set(model) >= {
            "name", "kind", "status", "rows", "bytes", "new_bytes", "reshared_bytes",
            "copied_bytes", "content_reshared_bytes", "duplicate_bytes", "wall_s", "cpu_s",
            "peak_memory_bytes", "error",
        }  # fmt: skip
        assert model["status"] == "success", model
        assert model["error"] is None
        assert model["duplicate_bytes"] is None
        parts = model["new_bytes"] + model["reshared_bytes"] + model["copied_bytes"]
        assert model["bytes"] == parts, model


def test_passing_data_on_costs_no_bytes(zerrow, flights):
    models = zerrow("run", "-p", flights, "--backend", "memfd", "-O", "json").models
    passed = models["departures"]
    assert passed["new_bytes"] == 0
    assert passed["copied_bytes"] < 0.03 * passed["bytes"], "small buffers only"
    added = models["punctuality_by_flight"]
    assert added["new_bytes"] < 0.05 * added["reshared_bytes"]


def test_tpch_answers_are_those_of_plain_datafusion(zerrow, tpch, tmp_path):
    outcome = zerrow("run", "-p", tpch, "--output", tmp_path / "out")
    assert outcome.code == 0, outcome
    import datafusion

    context = datafusion.SessionContext()
    for path in (tpch / "data").glob("*.parquet"):
        context.from_arrow(pq.read_table(path), path.stem)
    for path in (tpch / "models").glob("q*.sql"):
        text = path.read_text()
        for name, value in {
            "segment": "BUILDING",
            "region": "ASIA",
            "shipped_before": "1998-09-02",
        }.items():
            text = text.replace(f"${name}", f"'{value}'")
        expected = context.sql(text).to_pandas()
        got = pq.read_table(tmp_path / "out" / path.name.replace("sql", "parquet")).to_pandas()
        pd.testing.assert_frame_equal(got, expected, check_dtype=False, rtol=1e-9)
