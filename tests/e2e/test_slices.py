"""Slices of nested columns: their readers get the slice's rows, whatever library reads them."""

import pyarrow.parquet as pq
import pytest

MODELS = """\
import numpy as np, pandas as pd, pyarrow as pa, zerrow

ROWS = {rows}
FIRST, LAST = ROWS // 2 + 37, ROWS // 2 + 137
offsets = pa.array(np.arange(ROWS + 1), pa.int32())
keys = pa.array([f"key{{i}}" for i in range(ROWS)])
numbers = pa.array(np.arange(ROWS))
pairs = pa.StructArray.from_arrays([keys, numbers], ["key", "number"])
maps = pa.MapArray.from_arrays(offsets, keys, pairs)


@zerrow.model()
def made():
    columns = {{
        "maps": pa.MapArray.from_arrays(offsets, keys, numbers),
        "lists": pa.ListArray.from_arrays(offsets, pairs),
        "large": pa.LargeListArray.from_arrays(offsets.cast(pa.int64()), pairs),
        "plain": pairs,
        "fixed": pa.FixedSizeListArray.from_arrays(pairs, 1),
        "nested": pa.StructArray.from_arrays([maps], ["m"]),
        "number": numbers,
    }}
    return pa.table(columns).slice(FIRST, LAST - FIRST)


@zerrow.model()
def by_pandas(made: pd.DataFrame = zerrow.Model("made")):
    keys = [row[0][0] for row in made["maps"]]
    assert [row["key"] for row in made["plain"]] == keys
    assert [row[0]["key"] for row in made["fixed"]] == keys
    assert [row["m"][0][1]["key"] for row in made["nested"]] == keys
    return pa.table({{"key": keys, "number": made["number"]}})


@zerrow.model()
def by_python(made=zerrow.Model("made")):
    return pa.table({{
        "key": [row[0][0] for row in made["maps"].to_pylist()],
        "number": [row[0]["number"] for row in made["lists"].to_pylist()],
    }})
"""
DUCKDB = """\
-- zerrow: engine=duckdb
SELECT lists[1].key AS key, large[1].number AS number, map_keys(maps)[1] AS same FROM made
WHERE plain.key = fixed[1].key AND map_values(nested.m)[1].key = lists[1].key
"""


@pytest.mark.parametrize("rows", [300, 5_000, 300_000])
@pytest.mark.parametrize("backend", ["copy", "memfd"])
def test_readers_of_a_slice_get_its_rows(zerrow, project, tmp_path, rows, backend):
    folder = project({"models.py": MODELS.format(rows=rows), "by_duckdb.sql": DUCKDB})
    outcome = zerrow("run", "-p", folder, "--backend", backend, "--output", tmp_path / "out")
    assert outcome.code == 0, outcome
    numbers = list(range(rows // 2 + 37, rows // 2 + 137))
    expected = {"key": [f"key{n}" for n in numbers], "number": numbers}
    for name in ("by_pandas", "by_python", "by_duckdb"):
        found = pq.read_table(tmp_path / "out" / f"{name}.parquet").to_pydict()
        assert found.pop("same", expected["key"]) == expected["key"]
        assert found == expected, name
