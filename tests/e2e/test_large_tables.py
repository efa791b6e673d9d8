"""Tables of hundreds of MB: what small ones never reach."""

import pytest

MODELS = """\
import numpy as np
import pyarrow as pa
import zerrow


@zerrow.model()
def large():
    '''Frees as much as it returns.'''
    rows = 20_000_000
    scratch = np.arange(rows)
    return pa.table({"a": scratch * 2, "b": scratch * 3})


@zerrow.model()
def half(large: pa.Table = zerrow.Model("large", columns=["b"])):
    return large.slice(5_000_000, 10_000_000)


@zerrow.expectation()
def is_right(half: pa.Table = zerrow.Model("half")):
    values = half["b"].to_numpy()
    return bool((values == np.arange(5_000_000, 15_000_000) * 3).all())
"""


@pytest.mark.parametrize("backend", ["memfd", "copy"])
def test_what_is_returned_is_still_there_when_it_is_published(zerrow, project, backend):
    folder = project({"models.py": MODELS})
    outcome = zerrow("run", "-p", folder, "--strict", "--backend", backend, "-O", "json")
    assert outcome.code == 0, outcome
    large, half = outcome.models["large"], outcome.models["half"]
    assert large["bytes"] >= 320_000_000
    if backend == "memfd":
        assert large["copied_bytes"] < 4096, "padding at most"
        assert half["new_bytes"] == 0
        assert half["copied_bytes"] < 4096
