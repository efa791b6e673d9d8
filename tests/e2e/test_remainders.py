"""A table that keeps a small part of a large one doesn't keep the rest."""

import json
import os

import pytest

MODELS = """\
import numpy as np, pyarrow as pa, time, zerrow

ROWS = 25_000_000  # 200 MB


@zerrow.model()
def large():
    return pa.table({"n": np.arange(ROWS)})


@zerrow.model()
def part(large: pa.Table = zerrow.Model("large")):
    return large.slice(ROWS // 2, ROWS // 100)


@zerrow.model()
def another(part: pa.Table = zerrow.Model("part")):
    time.sleep(0.3)
    return pa.table({"m": np.arange(ROWS)})


@zerrow.expectation()
def is_kept(part: pa.Table = zerrow.Model("part"), another: pa.Table = zerrow.Model("another")):
    expected = np.arange(ROWS // 2, ROWS // 2 + ROWS // 100)
    return (part["n"].to_numpy() == expected).all() and another.num_rows == ROWS
"""


@pytest.fixture
def in_pages(zerrow):
    """Chunks are files that can be given back in part; sealed memfds can't."""
    backends = json.loads(zerrow("info", "-O", "json").out)["backends"]
    memfd = next(backend for backend in backends if backend["name"] == "memfd")
    if "tmpfs" not in memfd["detail"]:
        pytest.skip("chunks are memfds here")
    if os.environ.get("ZERROW_TEST_ENGINE") == "resident":
        pytest.skip("a resident engine keeps memory for the next worker, and that of other runs")


def test_what_nobody_reads_of_a_large_table_goes(zerrow, project, in_pages):
    folder = project({"models.py": MODELS})
    outcome = zerrow("run", "-p", folder, "-O", "json", "--strict", "--backend", "memfd")
    assert outcome.code == 0, outcome
    assert outcome.models["part"]["reshared_bytes"] == 8 * 25_000_000 // 100
    # Two large tables were never there at once, though one of them is still read in part.
    assert outcome.report["peak_memory_bytes"] < 350_000_000
