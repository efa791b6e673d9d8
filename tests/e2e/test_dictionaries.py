"""Texts that the cache has as dictionaries: every library gets what it would read from the file."""

import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zerrow

ROWS = 1200
TEXTS = ["b", None, "", "a", "ä", "longer than twelve bytes", "a", "c"]
TABLE = pa.table(
    {
        "n": range(ROWS),
        "s": pa.array([TEXTS[i % 8] for i in range(ROWS)]),
        "large": pa.array([TEXTS[i % 7] for i in range(ROWS)], pa.large_string()),
        "bin": pa.array([(TEXTS[i % 5] or "").encode() for i in range(ROWS)]),
        "own": pa.array([TEXTS[i % 3] for i in range(ROWS)]).dictionary_encode(),
        "note": [f"a note about row {i}" for i in range(ROWS)],
    }
)
TEXT_COLUMNS = ("s", "large", "bin")
YML = """
name: texts
sources:
  t: data/*.parquet
models:
  - {name: kept, input: t, operator: filter, filter: {condition: "s > 'a'"}}
  - {name: sorted, input: kept, operator: sort, sort: {by: [s desc, n]}}
"""
MODELS = """
import pandas as pd
import polars as pl
import duckdb
import pyarrow as pa
import zerrow

@zerrow.model()
def arrow(t=zerrow.Model("t")):
    return t

@zerrow.model()
def some(t=zerrow.Model("t", columns=["n", "s"], filter="s = 'a'")):
    return t

@zerrow.model()
def in_polars(t: pl.DataFrame = zerrow.Model("t")):
    return t

@zerrow.model()
def in_pandas(t: pd.DataFrame = zerrow.Model("t")):
    return t

@zerrow.model()
def in_duckdb(t: duckdb.DuckDBPyRelation = zerrow.Model("t")):
    return t.select("n, s, large, bin, note").order("n")

def types(table):
    return pa.table({"name": table.column_names, "type": [str(f.type) for f in table.schema]})

@zerrow.model()
def never(t=zerrow.Model("t")):
    return types(t)

@zerrow.model()
def auto(t=zerrow.Model("t", dictionary="auto")):
    return types(t)

@zerrow.model()
def always(t=zerrow.Model("t", dictionary="always")):
    return types(t)

@zerrow.model()
def handed_on(t=zerrow.Model("t", dictionary="auto")):
    return t

@zerrow.model()
def after_sql(passed=zerrow.Model("passed"), flat=zerrow.Model("flat")):
    return pa.concat_tables([types(passed), types(flat)])

@zerrow.model()
def after_native(sorted=zerrow.Model("sorted")):
    return sorted

@zerrow.model()
def after_auto(handed_on=zerrow.Model("handed_on")):
    return types(handed_on)

@zerrow.expectation()
def few_texts(passed=zerrow.Model("passed")):
    return passed["s"].type == pa.string() and len(set(passed["s"].to_pylist())) == 7
"""
FILES = {
    "zerrow_project.yml": YML,
    "models.py": MODELS,
    "passed.sql": "SELECT * FROM t ORDER BY n",
    "counted.sql": "SELECT s, own, count(*) AS c, max(large) AS m FROM t GROUP BY s, own",
    "flat.sql": "-- zerrow: engine=duckdb\nSELECT * FROM t WHERE large <> 'c' ORDER BY n",
}


@pytest.fixture
def texts(project):
    folder = project(FILES)
    (folder / "data").mkdir(exist_ok=True)
    for i, part in enumerate((TABLE.slice(0, 700), TABLE.slice(700))):
        pq.write_table(part, folder / "data" / f"{i}.parquet", row_group_size=200)
    time.sleep(0.06)  # so that their times tell changes, and the cache keeps them
    return folder


def types_of(table):
    return dict(zip(*table.to_pydict().values(), strict=True))


def check(table):
    """What all models are promised, by name."""
    plain = {field.name: str(field.type) for field in TABLE.schema}
    for name in ("arrow", "passed", "handed_on", "in_pandas"):
        found = table(name)
        if name == "in_pandas":
            assert found.schema.field("s").type == pa.string()
        else:
            assert found.schema.types == TABLE.schema.types, name
        assert found.to_pylist() == TABLE.to_pylist(), name
    assert table("in_polars").to_pylist() == TABLE.to_pylist()
    assert table("in_duckdb").to_pylist() == TABLE.drop_columns(["own"]).to_pylist()
    rows = TABLE.to_pylist()
    assert table("flat").to_pylist() == [row for row in rows if row["large"] not in (None, "c")]
    assert table("some").to_pylist() == [
        {"n": row["n"], "s": "a"} for row in rows if row["s"] == "a"
    ]
    kept = sorted((row for row in rows if (row["s"] or "") > "a"), key=lambda row: row["n"])
    kept.sort(key=lambda row: row["s"].encode(), reverse=True)
    for name in ("sorted", "after_native"):
        assert table(name).to_pylist() == kept
        assert table(name).schema.types == TABLE.schema.types
    expected = TABLE.group_by(["s", "own"]).aggregate([("n", "count"), ("large", "max")])
    counted = table("counted")
    assert counted.schema.field("s").type == pa.string()
    assert sorted(map(str, (tuple(row.values()) for row in counted.to_pylist()))) == sorted(
        map(str, (tuple(row.values()) for row in expected.to_pylist()))
    )
    assert types_of(table("never")) == types_of(table("after_auto")) == plain
    assert table("after_sql").slice(0, 6).to_pydict()["type"] == list(plain.values())
    coded = {name: f"dictionary<values={plain[name]}, indices=int32, ordered=0>" for name in plain}
    assert types_of(table("auto")) == plain | {name: coded[name] for name in TEXT_COLUMNS}
    assert types_of(table("always")) == plain | {
        name: coded[name] for name in (*TEXT_COLUMNS, "note")
    }


@pytest.mark.parametrize("backend", ["memfd", "copy", "full-copy"])
def test_every_library_gets_what_the_file_has(texts, backend):
    caches = []
    for cache in (True, True, False):
        run = zerrow.run(texts, backend=backend, cache=cache)
        check(run.table)
        use = run.models["t"].cache
        caches.append((use.hits > 0, use.misses > 0))
    assert caches == [(False, True), (True, False), (False, True)]


def test_what_is_written_and_shown_is_plain(start, texts, tmp_path):
    out = tmp_path / "out"
    words = ["run", "-p", texts, "--select", "passed", "--select", "sorted", "-O", "json"]
    outcome = start(*words, "--output", out, "--preview", "3").finish()
    assert outcome.code == 0, outcome
    for name in ("passed", "sorted"):
        assert pq.read_schema(out / f"{name}.parquet").types == TABLE.schema.types
    (passed,) = (p for p in outcome.report["previews"] if p["model"] == "passed")
    shown = {column["name"]: column["type"] for column in passed["columns"]}
    assert shown == {field.name: str(field.type) for field in TABLE.schema}
    assert passed["rows"][0][1] == "b"
