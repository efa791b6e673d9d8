"""The preloaded allocator shim under Python: workers forked from one process that has everything.

ZERROW_TEST_FORKS sets how many workers each test forks (50; the long form takes 1000).
"""

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import zerrow

HERE = Path(__file__).resolve().parent
SHIM = Path(zerrow.__file__).parent / "_bin" / "libzerrow_shim.so"
FORKS = int(os.environ.get("ZERROW_TEST_FORKS", "50"))


def run_workers(kind: str, count: int, preload: bool):
    # As the engine starts its zygote.
    environment = dict(
        os.environ,
        ARROW_DEFAULT_MEMORY_POOL="system",
        MIMALLOC_ARENA_RESERVE="32MiB",
        _RJEM_MALLOC_CONF="retain:false",
    )
    if preload:
        environment["LD_PRELOAD"] = str(SHIM)
    command = [sys.executable, str(HERE / "forking_main.py"), kind, str(count)]
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, check=True, timeout=60 + 10 * count
    )
    return json.loads(done.stdout)


def test_large_buffers_of_every_library_are_shareable():
    results = run_workers("share", FORKS, preload=True)
    totals = defaultdict(lambda: [0, 0])
    for result in results:
        assert result["status"] == 0, result
        assert result["consistent"]
        totals[result["name"]][0] += result["shared"]
        totals[result["name"]][1] += result["bytes"]
    assert len(totals) == min(6, FORKS)
    shares = {name: shared / total for name, (shared, total) in totals.items()}
    assert all(value >= 0.98 for value in shares.values()), shares


def test_processes_and_threads_get_what_plain_malloc_gives():
    shimmed = run_workers("behave", FORKS, preload=True)
    plain = {r["name"]: r for r in run_workers("behave", 5, preload=False)}
    for result in shimmed:
        assert result["status"] == 0, result
        assert result["answer"] == plain[result["name"]]["answer"]
    retired = {r["name"]: r["retired"] for r in shimmed}
    assert retired["in_fork"] > 0


def test_the_shim_sleeps_until_it_is_started():
    code = (
        "import ctypes, numpy; x = numpy.ones(1 << 22); lib = ctypes.CDLL(None);"
        "lib.zerrow_shim_ranges.restype = ctypes.c_size_t;"
        "assert lib.zerrow_shim_ranges(None, 0) == 0"
    )
    environment = dict(os.environ, LD_PRELOAD=str(SHIM))
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


@pytest.mark.parametrize("name", ["malloc", "mmap64", "zerrow_shim_start"])
def test_the_shim_exports_what_it_must(name):
    import ctypes

    assert hasattr(ctypes.CDLL(str(SHIM)), name)
