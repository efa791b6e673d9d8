"""A folder that gets more files: its texts stay in one dictionary, to which only new ones come."""

import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zerrow

ROWS = 3000
YML = """
name: growing
sources:
  t: data/*.parquet
models:
  - {name: kept, input: t, operator: filter, filter: {condition: "n >= 0 AND s <> 'none'"}}
"""
MODELS = """
import pyarrow as pa
import zerrow

def dictionaries(column):
    values = [chunk.dictionary for chunk in column.chunks]
    addresses = [array.buffers()[2].address for array in values]
    return pa.table({"address": addresses, "values": [len(array) for array in values]})

@zerrow.model()
def of_source(t=zerrow.Model("t", dictionary="auto")):
    return dictionaries(t["s"])

@zerrow.model()
def of_native(kept=zerrow.Model("kept", dictionary="auto")):
    return dictionaries(kept["s"])

@zerrow.model()
def of_sql(selected=zerrow.Model("selected", dictionary="auto")):
    return dictionaries(selected["s"])

@zerrow.model()
def plain(t=zerrow.Model("t")):
    return t
"""
FILES = {
    "zerrow_project.yml": YML,
    "models.py": MODELS,
    "selected.sql": "SELECT s, n FROM t WHERE n >= 0",
    "counted.sql": "SELECT s, count(*) AS c FROM t GROUP BY s ORDER BY s",
}
DAYS = [["north", "south", None], ["west", "south", ""], ["north", "west"], ["east", "ä", "west"]]


class Folder:
    """A project whose source has a file for each day."""

    def __init__(self, path):
        self.path = path
        (path / "data").mkdir(exist_ok=True)

    def add(self, day):
        texts = [DAYS[day][i % len(DAYS[day])] for i in range(ROWS)]
        table = pa.table({"n": range(ROWS), "s": texts})
        pq.write_table(table, self.path / "data" / f"{day}.parquet")
        time.sleep(0.06)  # so that its times tell changes, and the cache keeps it

    def check(self, run):
        """Tables are what the files have; the number of the source's dictionaries, and values."""
        expected = pq.read_table(self.path / "data")
        assert run.table("plain").equals(expected)
        assert run.table("selected").sort_by("n")["n"].equals(expected.sort_by("n")["n"])
        kept = [row for row in expected.to_pylist() if row["s"] is not None]
        assert run.table("kept").select(["n", "s"]).to_pylist() == kept
        counts = expected.group_by("s").aggregate([([], "count_all")]).to_pylist()
        assert {(row["s"], row["c"]) for row in run.table("counted").to_pylist()} == {
            (row["s"], row["count_all"]) for row in counts
        }
        found = run.table("of_source").to_pydict()
        for name in ("of_native", "of_sql"):
            assert set(run.table(name)["values"].to_pylist()) == set(found["values"]), name
        assert len(set(run.table("of_native")["address"].to_pylist())) == len(set(found["address"]))
        assert len(found["address"]) == len(list((self.path / "data").iterdir()))
        return len(set(found["address"])), set(found["values"])


def use_of_cache(run):
    cache = run.models["t"].cache
    return cache.hits, cache.misses


@pytest.fixture
def folder(project):
    return Folder(project(FILES))


@pytest.mark.parametrize("backend", ["memfd", "copy", "full-copy"])
def test_the_dictionary_of_a_folder_grows_with_it(folder, backend):
    values = 0
    for day, texts in enumerate(DAYS):
        folder.add(day)
        run = zerrow.run(folder.path, backend=backend)
        # n, s as indices and s as plain texts.
        assert use_of_cache(run) == (3 * day, 3)
        seen = {text for texts in DAYS[: day + 1] for text in texts if text is not None}
        assert folder.check(run) == (1, {len(seen)})
        assert len(seen) > values or texts == DAYS[2]
        values = len(seen)
    again = zerrow.run(folder.path, backend=backend)
    assert use_of_cache(again) == (3 * len(DAYS), 0)
    assert folder.check(again) == (1, {values})


def test_tables_of_earlier_runs_stay_as_they_are(folder):
    folder.add(0)
    earlier = zerrow.run(folder.path)
    held = earlier.table("selected")
    rows = held.to_pylist()
    for day in (1, 2, 3):
        folder.add(day)
        zerrow.run(folder.path)
    assert held.to_pylist() == rows == earlier.table("selected").to_pylist()


def test_without_the_cache_nothing_is_extended(folder):
    folder.add(0)
    zerrow.run(folder.path)
    folder.add(3)
    run = zerrow.run(folder.path, cache=False)
    assert use_of_cache(run) == (0, 6)
    assert folder.check(run) == (1, {5})
    assert folder.check(zerrow.run(folder.path)) == (1, {5})
