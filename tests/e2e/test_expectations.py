"""Expectations on tables of all libraries: what isn't as expected is counted and shown."""

import json
import re

import pytest

MODELS = """\
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import zerrow
from zerrow.standard_expectations import *


@zerrow.model()
def orders():
    return pa.table({
        "id": list(range(999)) + [5],
        "item": [None if i % 2 else "nut" for i in range(1000)],
        "n": list(range(1000)),
    })


@zerrow.model()
def items():
    return [{"item": "nut"}, {"item": "bolt"}]


@zerrow.expectation()
def no_nulls(orders: FORM = zerrow.Model("orders")):
    return expect_column_no_nulls(orders, "item")


@zerrow.expectation()
def unique(orders: FORM = zerrow.Model("orders")):
    assert expect_column_all_unique(orders, "id")
    return True


@zerrow.expectation()
def few(orders: FORM = zerrow.Model("orders")):
    return expect_row_count_between(orders, most=10)


@zerrow.expectation()
def known(orders: FORM = zerrow.Model("orders"), items: FORM = zerrow.Model("items")):
    return expect_column_references(orders, "item", items)


@zerrow.expectation()
def small(orders: FORM = zerrow.Model("orders", columns=["n"])):
    return expect_column_values_between(orders, "n", 0, 989)
"""
FORMS = {
    "pyarrow": "pa.Table",
    "reader": "pa.RecordBatchReader",
    "pandas": "pd.DataFrame",
    "polars": "pl.DataFrame",
    "lazy": "pl.LazyFrame",
    "duckdb": "duckdb.DuckDBPyRelation",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_what_isnt_as_expected_is_counted_and_shown(zerrow, project, form):
    folder = project({"models.py": MODELS.replace("FORM", form)})
    outcome = zerrow("run", "-p", folder, "-O", "json")
    assert outcome.code == 0, outcome
    models = outcome.models
    unmet = {name for name, model in models.items() if model.get("expectation") is False}
    assert unmet == {"no_nulls", "unique", "few", "small"}
    nulls = models["no_nulls"]
    assert nulls["warning"]["message"] == "500 of 1,000 rows have a null in 'item'"
    assert nulls["offending"]["total_rows"] == 500
    assert nulls["offending"]["rows"] == [[i, None, i] for i in (1, 3, 5, 7, 9)]
    assert models["unique"]["offending"]["rows"] == [[5, None, 5], [5, None, 999]]
    assert models["small"]["offending"]["columns"] == [{"name": "n", "type": "int64"}]
    assert models["small"]["offending"]["total_rows"] == 10
    assert models["few"]["warning"]["message"].startswith("there are 1,000 rows")
    assert all("offending" not in models[name] for name in ("few", "known", "orders"))


def test_rows_are_printed_and_strict_gates(zerrow, project, tmp_path):
    folder, out = project({"models.py": MODELS.replace("FORM", "pl.DataFrame")}), tmp_path / "out"
    shown = zerrow("run", "-p", folder)
    assert shown.code == 0, shown
    assert "warning: " in shown.err
    assert "small: 10 of 1,000 rows have a value in 'n' that isn't at least 0 and at most 989" in (
        shown.err
    )
    lines = [line.split() for line in shown.err.splitlines()]
    at = lines.index(["id", "item", "n"])
    assert lines[at + 1] == ["int64", "string_view", "int64"]
    assert lines[at + 2] == ["1", "null", "1"]
    strict = zerrow("run", "-p", folder, "--strict", "--output", out, "-O", "json")
    assert strict.code == 1, strict
    assert strict.models["no_nulls"]["error"]["message"].startswith("500 of 1,000 rows")
    assert strict.models["no_nulls"]["offending"]["total_rows"] == 500
    assert list(out.iterdir()) == []


def test_show_says_whether_an_expectation_is_met(zerrow, project):
    folder = project({"models.py": MODELS.replace("FORM", "pl.DataFrame")})
    met = zerrow("show", "known", "-p", folder, "-O", "json")
    assert (met.code, met.models["known"]["expectation"]) == (0, True)
    unmet = zerrow("show", "small", "-p", folder)
    assert unmet.code == 0, unmet
    assert re.search(r"^small +not met ", unmet.out, re.MULTILINE)
    assert "10 of 1,000 rows" in unmet.err
    document = json.loads(zerrow("show", "small", "-p", folder, "-O", "json").out)
    assert [model["name"] for model in document["models"]] == ["orders", "small"]
