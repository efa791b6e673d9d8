"""The commands beside `run`, and the same from Python."""

import gc
import json
import subprocess
import sys

import pyarrow.parquet as pq
import pytest


def test_a_new_project_runs(zerrow, tmp_path):
    made = zerrow("init", "fresh", cwd=tmp_path)
    assert made.code == 0, made
    assert zerrow("run", "-p", tmp_path / "fresh").code == 0


def test_show_prints_rows_with_their_types(zerrow, flights):
    outcome = zerrow("show", "carrier_league", "-p", flights)
    assert outcome.code == 0, outcome
    for word in ("late_percent", "double", "airline", "string", "rank", "int64"):
        assert word in outcome.out, outcome


def test_explain_shows_what_is_pushed_down(zerrow, flights):
    outcome = zerrow("explain", "-p", flights)
    assert outcome.code == 0, outcome
    assert "dep_delay IS NOT NULL" in outcome.out, outcome
    for name in ("departures", "carrier_league", "worst_days", "busiest_routes"):
        assert name in outcome.out, outcome


def test_explain_substitutes_parameters(zerrow, flights):
    outcome = zerrow("explain", "-p", flights, "--param", "origin=LGA")
    assert "LGA" in outcome.out, outcome


def test_info_tells_that_it_is_no_security_boundary(zerrow):
    outcome = zerrow("info")
    assert outcome.code == 0, outcome
    assert "security boundary" in outcome.out.lower(), outcome
    assert json.loads(zerrow("info", "-O", "json").out)


def test_version(zerrow):
    import zerrow as package

    assert package.__version__ in zerrow("version").out


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["show", "--help"]])
def test_help_helps(zerrow, words):
    outcome = zerrow(*words)
    assert outcome.code == 0, outcome
    assert "usage" in outcome.out.lower(), outcome


@pytest.mark.parametrize(
    "words", [["run", "--nonsense"], ["nonsense"], ["run", "--jobs", "many"], ["run", "-O", "xml"]]
)
def test_wrong_usage_is_exit_code_2(zerrow, words):
    assert zerrow(*words).code == 2


def test_select_runs_only_what_is_needed(zerrow, flights):
    models = zerrow("run", "-p", flights, "--select", "delay_by_plane_age", "-O", "json").models
    assert set(models) == {
        "flights", "flights#2", "planes", "planes#2", "departures", "delay_by_plane_age"
    }  # fmt: skip


def test_output_is_replaced_as_a_whole(zerrow, flights, tmp_path):
    out = tmp_path / "out"
    for airport in ("JFK", "LGA"):
        run = zerrow(
            "run", "-p", flights, "--select", "departure_board", "--output", out,
            "--param", f"origin={airport}",
        )  # fmt: skip
        assert run.code == 0, run
    assert [path.name for path in out.iterdir()] == ["departure_board.parquet"]


def test_run_from_python(flights):
    import zerrow

    result = zerrow.run(str(flights), parameters={"origin": "LGA"})
    table = result.table("departure_board")
    total = sum(table["flights"].to_pylist())
    del result
    gc.collect()
    assert sum(table["flights"].to_pylist()) == total, "a table stays valid while it is held"
    flown = pq.read_table(flights / "data" / "flights", columns=["origin", "dep_delay"]).to_pandas()
    assert total == flown[flown["origin"] == "LGA"]["dep_delay"].notna().sum()


def test_importing_the_package_is_light():
    code = "import sys, zerrow; print(sorted({'pyarrow', 'pandas', 'polars'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
