"""Declared schemas: what is read, what is refused before anything runs, what ends a model."""

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

SCHEMAS = """from typing import Annotated
import pyarrow as pa
import zerrow

class Narrow(zerrow.TableSchema):
    carrier: zerrow.String
    delay: zerrow.Float64 | None

class Late(zerrow.TableSchema):
    carrier: Annotated[zerrow.String, zerrow.TableField(lineage=Narrow["carrier"])]
    minutes: zerrow.Int64
"""
SUMS = """SELECT late.carrier, sum(minutes) + max(delay) AS total, count(*) AS n
FROM late JOIN Flights USING (carrier) GROUP BY late.carrier
"""
MODELS = """from __future__ import annotations
from typing import TYPE_CHECKING, Annotated
import numpy as np
import pyarrow as pa
import zerrow
from schemas import Late, Narrow

if TYPE_CHECKING:
    import pandas as pd

@zerrow.model()
def late(
    flights: Annotated[
        pd.DataFrame, zerrow.Model("flights", projection_schema=Narrow, filter="delay > $least")
    ],
    least: Annotated[float, zerrow.Parameter("least")],
) -> Annotated[pd.DataFrame, Late]:
    assert list(flights.columns) == ["carrier", "delay"]
    return flights.assign(minutes=(flights["delay"] - least).astype("int64[pyarrow]"))[
        ["minutes", "carrier"]
    ]

@zerrow.model()
def arrays(
    late: Annotated[dict[str, np.ndarray], zerrow.Model("late", columns=["minutes"])],
) -> dict[str, np.ndarray]:
    return {"twice": late["minutes"] * 2}

@zerrow.expectation()
def all_late(late: Annotated[pa.Table, zerrow.Model("late", projection_schema=Late)]) -> bool:
    return late.num_rows > 0
"""
WRONG_TYPE = MODELS.replace('.astype("int64[pyarrow]")', "")
PROJECT = (
    "name: typed\nparameters: {least: {type: int, default: 10}}\nsources: {flights: f.parquet}\n"
)
FLIGHTS = {
    "carrier": ["AA", "UA", "DL"],
    "delay": [30.0, None, 12.0],
    "unread": pa.array([None] * 3, pa.int64()),
}


@pytest.fixture
def typed(project):
    def make(models=MODELS, flights=FLIGHTS, **files):
        texts = {"zerrow_project.yml": PROJECT, "schemas.py": SCHEMAS, "models.py": models}
        folder = project({**texts, **files})
        pq.write_table(pa.table(flights), folder / "f.parquet")
        return folder

    return make


def test_typed_models_run(zerrow, typed):
    outcome = zerrow("show", "arrays", "-p", typed())
    assert outcome.code == 0, outcome
    lines = [line.split() for line in outcome.out.splitlines()]
    assert ["40"] in lines, outcome
    assert ["4"] in lines, outcome
    assert zerrow("run", "-p", typed(), "--strict").code == 0


def test_explain_shows_columns_and_what_they_stem_from(zerrow, typed):
    folder = typed(**{"sums.sql": SUMS})
    outcome = zerrow("explain", "-p", folder)
    for line in (
        "    makes carrier string not null (from Narrow.carrier), minutes int64 not null\n",
        "    makes carrier string not null (from late.carrier), "
        "total double (from late.minutes, flights.delay), n int64 not null\n",
    ):
        assert line in outcome.out, outcome
    nodes = {
        node["name"]: node for node in zerrow("explain", "-p", folder, "-O", "json").report["nodes"]
    }
    assert nodes["late"]["columns"] == [
        {"name": "carrier", "type": "string", "nullable": False, "lineage": ["Narrow.carrier"]},
        {"name": "minutes", "type": "int64", "nullable": False, "lineage": None},
    ]
    lineage = [column["lineage"] for column in nodes["sums"]["columns"]]
    assert lineage == [["late.carrier"], ["late.minutes", "flights.delay"], []]
    assert nodes["arrays"]["columns"] is None
    assert {*map(tuple, (read["columns"] for read in nodes["flights"]["reads"]))} == {
        ("carrier", "delay")
    }


def test_a_type_that_the_source_does_not_have_ends_nothing_since_nothing_runs(zerrow, typed):
    folder = typed(flights={**FLIGHTS, "delay": ["x", "y", "z"]})
    outcome = zerrow("run", "-p", folder)
    line = MODELS.splitlines().index("def late(") + 1
    assert outcome.code == 1
    assert (
        f"models.py:{line}: late: column 'delay' of 'flights' should be double, but is string"
        in (outcome.err)
    ), outcome


def test_a_null_where_none_may_be_ends_the_model_before_it_is_called(zerrow, typed):
    folder = typed(flights={**FLIGHTS, "carrier": ["AA", "UA", None]})
    outcome = zerrow("run", "-p", folder, "-O", "json")
    assert outcome.models["late"]["status"] == "failed", outcome
    assert outcome.models["late"]["error"]["message"] == (
        "the input 'flights' of 'late' isn't as its schema says: column 'carrier' should be "
        "string without nulls, but has 1 null"
    )


def test_an_output_of_another_type_ends_the_model(zerrow, typed):
    outcome = zerrow(
        "run", "-p", typed(MODELS.replace('.astype("int64[pyarrow]")', "")), "-O", "json"
    )
    assert outcome.models["late"]["error"]["message"] == (
        "the output of 'late' isn't as its schema says: column 'minutes' should be int64 "
        "without nulls, but is double"
    ), outcome
    assert outcome.models["arrays"]["status"] == "skipped"


# What is said of it: what is replaced by what.
WRONG = {
    "'least' is annotated as str, but the project's parameter 'least' is of type int": (
        "Annotated[float,",
        "Annotated[str,",
    ),
    "'least' stands for one thing": (
        'zerrow.Parameter("least")],',
        'zerrow.Parameter("least")] = zerrow.Parameter("other"),',
    ),
    "write -> Annotated[..., Late]": ("-> Annotated[pd.DataFrame, Late]", "-> Late"),
    "did you mean 'dict[str, numpy.ndarray]'": (
        "late: Annotated[dict[str, np.ndarray],",
        "late: Annotated[np.ndarray,",
    ),
    "an expectation returns a bool": ("-> bool", "-> Annotated[bool, Late]"),
    "columns= are what Late says": ("model()\ndef late", 'model(columns=["a"])\ndef late'),
    "columns and projection_schema say the same": (
        '"late", projection_schema',
        '"late", columns=["a"], projection_schema',
    ),
    'unknown column "minute" of "late"; did you mean "minutes"?': (
        'columns=["minutes"]',
        'columns=["minute"]',
    ),
}


@pytest.mark.parametrize("problem", WRONG)
def test_declarations_that_contradict_each_other_are_refused(zerrow, typed, problem):
    before, after = WRONG[problem]
    assert before in MODELS
    outcome = zerrow("run", "-p", typed(MODELS.replace(before, after)))
    assert outcome.code == 1, outcome
    assert problem in outcome.err, outcome
    assert "models.py:" in outcome.err


def test_inline_checks_too(zerrow, typed):
    outcome = zerrow("run", "-p", typed(), "--inline", "late")
    assert outcome.code == 0, outcome
    assert re.search(r"^ok +late +2 rows", outcome.out, re.MULTILINE)
    outcome = zerrow("run", "-p", typed(WRONG_TYPE), "--inline", "late")
    assert outcome.code == 1
    assert "should be int64 without nulls, but is double" in outcome.err
