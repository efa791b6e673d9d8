"""Allocators do as they are told for kernelzero: large buffers begin with a page.

A library of another version may have another allocator, or one that doesn't know these options.
"""

import json
import os
import subprocess
import sys

import pytest

# As the engine sets them (src/engine/zygote.cc).
POLICY = {
    "ARROW_DEFAULT_MEMORY_POOL": "mimalloc",
    "_RJEM_MALLOC_CONF": "cache_oblivious:false,thp:always",
}
PROGRAM = """
import json, sys
import polars as pl, pyarrow as pa, pyarrow.compute as pc
addresses = []
for size in (40_000, 100_000, 1_000_000, 10_000_000):
    if sys.argv[1] == "polars":
        array = (pl.select(x=pl.int_range(size // 8)).to_series() * 3).to_arrow()
    else:
        array = pc.multiply(pa.array(range(size // 8)), 3)
    addresses.append(array.buffers()[1].address)
print(json.dumps(addresses))
"""


@pytest.mark.parametrize("library", ["pyarrow", "polars"])
def test_large_buffers_begin_with_a_page(library):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, library],
        env={**os.environ, **POLICY},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert [address % 4096 for address in json.loads(done.stdout)] == [0, 0, 0, 0]
    assert done.stderr == ""
