"""What libraries copy without changing it is stored once, and what they change is kept changed."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROWS = 400_000
NUMBERS = 8 * ROWS  # bytes of a column of 64-bit values

MODELS = """\
import duckdb, numpy as np, pandas as pd, polars as pl, pyarrow as pa, zerrow


@zerrow.model()
def numpy_copies(table: pa.Table = zerrow.Model("table")):
    numbers = table["number"].to_numpy().copy()
    shares = table["share"].to_numpy().copy()
    shares[7] = -1
    return pa.table({"number": numbers, "share": shares})


@zerrow.model()
def pandas_in_numpy(table: pa.Table = zerrow.Model("table")):
    frame = table.select(["number", "share"]).to_pandas()
    frame["double"] = frame["number"] * 2
    return frame


@zerrow.model()
def polars_in_one_chunk(table: pl.DataFrame = zerrow.Model("table")):
    return table.select("number", "share", pl.lit(1).alias("one")).rechunk()


@zerrow.model()
def duckdb_projection(table: duckdb.DuckDBPyRelation = zerrow.Model("table")):
    return table.project("number, name, share, number + 1 AS next")


@zerrow.model()
def pyarrow_in_one_chunk(table: pa.Table = zerrow.Model("table")):
    return pa.concat_tables([table]).select(["number"]).combine_chunks()
"""
QUERY = '-- zerrow: name=duckdb_query engine=duckdb\nSELECT share, number FROM "table"\n'


def outputs(zerrow, folder, tmp_path, name, *options):
    """The models of a report, and their tables."""
    out = tmp_path / f"out-{name}"
    outcome = zerrow("run", "-p", folder, "-O", "json", "--output", out, *options)
    assert outcome.code == 0, outcome
    return outcome.models, {path.stem: pq.read_table(path) for path in out.iterdir()}


@pytest.fixture
def table():
    return pa.table(
        {
            "number": np.arange(ROWS),
            "share": np.random.default_rng(1).random(ROWS),
            "name": [f"name {i % 1000}" for i in range(ROWS)],
        }
    )


@pytest.mark.parametrize("row_group", [ROWS, 60_000])
def test_libraries_copies_are_their_inputs(zerrow, project, tmp_path, table, row_group):
    settings = "name: p\nsources: {table: t.parquet}\n"
    models = {"models/m.py": MODELS, "models/duckdb_query.sql": QUERY}
    folder = project({"zerrow_project.yml": settings, **models})
    pq.write_table(table, folder / "t.parquet", row_group_size=row_group)
    found, tables = outputs(zerrow, folder, tmp_path, "found", "--backend", "memfd")
    stored, again = outputs(
        zerrow, folder, tmp_path, "stored", "--backend", "memfd", "--no-content-reshare"
    )
    _, copied = outputs(zerrow, folder, tmp_path, "copied", "--backend", "copy")
    assert tables == again == copied
    changed = table["share"].to_numpy().copy()
    changed[7] = -1
    assert tables["numpy_copies"]["share"].to_numpy().tolist() == changed.tolist()
    assert tables["duckdb_projection"].select(["number", "name"]) == table.select(
        ["number", "name"]
    )
    at_least = {
        "pandas_in_numpy": 2 * NUMBERS,
        "polars_in_one_chunk": 0 if row_group == ROWS else 2 * NUMBERS,  # else it copies nothing
        "duckdb_projection": 2 * NUMBERS,
        "duckdb_query": 2 * NUMBERS,
    }
    if row_group == ROWS:
        at_least["numpy_copies"] = NUMBERS
    for name, wanted in at_least.items():
        model = found[name]
        assert model["content_reshared_bytes"] >= 0.98 * wanted, name
        assert model["reshared_bytes"] >= model["content_reshared_bytes"]
    assert not any(model["content_reshared_bytes"] for model in stored.values())
    # Who makes a table of one chunk gets one.
    assert row_group == ROWS or found["pyarrow_in_one_chunk"]["content_reshared_bytes"] == 0


def test_an_input_that_is_copied_and_changed_in_one_value_keeps_its_own(zerrow, project, tmp_path):
    source = """\
import numpy as np, pyarrow as pa, zerrow


@zerrow.model()
def numbers():
    return pa.table({"n": np.arange(1_000_000)})


@zerrow.model()
def changed(numbers: pa.Table = zerrow.Model("numbers")):
    values = numbers["n"].to_numpy().copy()
    values[333_333] = -5
    return pa.table({"n": values})
"""
    folder = project({"models.py": source})
    _, tables = outputs(zerrow, folder, tmp_path, "changed", "--backend", "memfd")
    expected = np.arange(1_000_000)
    expected[333_333] = -5
    assert (tables["changed"]["n"].to_numpy() == expected).all()


def test_a_thousand_small_columns_are_stored_once(zerrow, project, tmp_path):
    source = """\
import numpy as np, pandas as pd, polars as pl, pyarrow as pa, zerrow


@zerrow.model()
def made():
    numbers = {f"n{i}": np.arange(640) + i for i in range(1000)}
    return pa.table({**numbers, "small": pa.array([7] * 640, pa.int8())})


@zerrow.model()
def passed_on(made: pa.Table = zerrow.Model("made")):
    return made


@zerrow.model()
def passed_by_polars(passed_on: pl.DataFrame = zerrow.Model("passed_on")):
    return passed_on


@zerrow.model()
def copied_by_pandas(passed_by_polars: pa.Table = zerrow.Model("passed_by_polars")):
    return passed_by_polars.to_pandas()
"""
    folder = project({"models.py": source})
    models, tables = outputs(zerrow, folder, tmp_path, "many", "--backend", "memfd")
    for name in ("passed_on", "passed_by_polars", "copied_by_pandas"):
        assert models[name]["new_bytes"] + models[name]["copied_bytes"] < 100_000, name
        assert models[name]["reshared_bytes"] >= 5_000_000, name
    expected = pa.table({f"n{i}": np.arange(640) + i for i in range(1000)})
    assert tables["copied_by_pandas"].drop_columns("small") == expected
