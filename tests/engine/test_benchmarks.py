"""Benchmarks of shared inputs in their short forms: all arms do the same work, and what they count.

Nothing is said about time here.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture
def bench(tmp_path):
    def run(name, *options):
        file = tmp_path / "figures.json"
        words = [*options, "--repeats", "1", "--warmup", "0", "--json", str(file)]
        done = subprocess.run(
            [sys.executable, str(BENCH / f"{name}.py"), *words],
            # Its engines are its own: whichever the tests use isn't asked.
            env={key: value for key, value in os.environ.items() if key != "ZERROW_ENGINE"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(file.read_text())

    return run


def only(arms):
    """The one sample of each arm."""
    assert all(len(samples) == 1 for samples in arms.values())
    return {name: samples[0] for name, samples in arms.items()}


def test_dags_over_overlapping_columns_decode_each_once(bench):
    options = ("--rows", "20000", "--dags", "2", "--columns", "overlapping", "--work", "light")
    (part,) = bench("shared_inputs", *options)["parts"].values()
    arms = only(part["arms"])
    assert len(arms) == 7
    assert len({arm["rows"] for arm in arms.values()}) == 1
    first, again, without = arms["first"], arms["again"], arms["copy, no cache"]
    assert 0 < first["decoded_bytes"] < without["decoded_bytes"]
    assert first["decoded_bytes"] + first["cached_bytes"] == without["decoded_bytes"]
    assert again["decoded_bytes"] == 0
    assert again["cached_bytes"] == without["decoded_bytes"]
    assert without["cached_bytes"] == 0
    assert {"plain pyarrow / first", "plain polars / again"} < set(part["ratios"])


def test_the_second_run_finds_all_columns(bench):
    arms = only(bench("decache", "--only", "again", "--rows", "20000")["arms"])
    assert (arms["first"]["hits"], arms["first"]["misses"]) == (0, 16)
    assert (arms["second"]["hits"], arms["second"]["misses"]) == (16, 0)
    assert arms["first"]["table_bytes"] == arms["second"]["table_bytes"] > 0
    assert arms["second"]["source_cpu_s"] == 0


def test_a_hit_costs_the_engine_a_descriptor_for_each_entry_and_readers_none(bench):
    options = ("--only", "hits", "--largest", "1", "--entries", "100", "--hits", "1")
    arms = only(bench("decache", *options)["arms"])
    assert [arm["hits"] for arm in arms.values()] == [1, 10, 100]
    hundred = arms["100 columns x 1 blocks"]
    assert 90 < hundred["engine_descriptors"] < 110
    assert hundred["reader_descriptors"] < 10
    assert hundred["engine_cpu_s"] > 0


def test_the_first_read_is_compared_with_read_table(bench):
    arms = only(bench("decache", "--only", "first", "--rows", "100000")["arms"])
    assert set(arms["source"]) == set(arms["read_table"])
    assert arms["source"]["source_cpu_s"] > 0
    assert arms["read_table"]["user_s"] > 0


@pytest.mark.parametrize("variant", ["native", "sql"])
def test_chains_over_dictionaries_give_as_many_rows_and_store_less(bench, variant):
    arms = ("--arms", "dictionary", "--arms", "plain", "--arms", "copy, plain, no cache")
    options = ("--rows", "20000", "--chains", "2", "--variant", variant, *arms)
    (part,) = bench("dictionaries", *options)["parts"].values()
    arms = only(part)
    assert len({arm["rows"] for arm in arms.values()}) == 1
    stored = {name: arm["new_bytes"] + arm["copied_bytes"] for name, arm in arms.items()}
    assert arms["dictionary"]["referenced_bytes"] > 0
    assert arms["copy, plain, no cache"]["referenced_bytes"] == 0
    if variant == "native":
        assert stored["dictionary"] < stored["plain"]


def test_sql_operators_store_fewer_bytes_of_dictionaries(bench):
    words = ("--query", "sort by number", "--query", "top rows", "--query", "case")
    parts = bench("sql_operators", "--rows", "200000", *words)["parts"]
    for name, arms in ((name, only(arms)) for name, arms in parts.items()):
        assert len({arm["rows"] for arm in arms.values()}) == 1
        stored = {form: arm["new_bytes"] for form, arm in arms.items()}
        assert 0 < stored["kept"] < 0.7 * min(stored["plain"], stored["DataFusion"]), name
