"""Many workers from one zygote, of functions that start processes and threads of their own.

ZERROW_TEST_FORKS sets how many models run (40; the long form takes 1000).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

MODELS = Path(__file__).with_name("forking_models.py")
FORKS = int(os.environ.get("ZERROW_TEST_FORKS", "40"))
LIBRARIES = ("numpy", "pyarrow", "pandas", "polars", "duckdb", "datafusion")
PROCESSES = ("subprocess", "multiprocessing", "threads", "daemon")


def test_many_forks_give_what_plain_processes_give(zerrow, project):
    folder = project({})
    rounds = range(-(-FORKS // len(LIBRARIES + PROCESSES)))
    files = [shutil.copy(MODELS, folder / f"models_{i}.py") for i in rounds]
    environment = {**os.environ, "DAEMON_S": "0"}
    for file in files[:2]:  # of both variants
        subprocess.run([sys.executable, file], env=environment, check=True, timeout=120)

    # The fixture fails on a hang, and if a process is left: a daemon least of all may be.
    words = ("run", "-p", folder, "--strict", "--backend", "memfd", "-O", "json")
    outcome = zerrow(*words, timeout=120 + 2 * FORKS)

    # The values and that nobody can change them are what the project's expectations look at.
    assert outcome.code == 0, outcome
    models = outcome.models
    assert {f"right_and_immutable_{i}" for i in rounds} <= set(models)
    for kind in LIBRARIES + PROCESSES:
        outputs = [models[f"with_{kind}_{i}"] for i in rounds]
        assert all(output["bytes"] > 4e6 for output in outputs), kind
        if kind in LIBRARIES:
            copied = {o["name"]: o["copied_bytes"] for o in outputs}
            assert all(o["copied_bytes"] <= 0.02 * o["bytes"] for o in outputs), copied


WRITES_AFTER_A_FORK = """\
import os
import numpy as np, pyarrow as pa, zerrow


@zerrow.model()
def pair() -> pa.Table:
    # Small enough to lie in one chunk
    kept, changed = np.arange(500_000), np.arange(500_000)
    if os.fork() == 0:
        os._exit(0)
    os.wait()
    changed[250_000] = -1
    return pa.table({"kept": kept, "changed": changed})


@zerrow.model()
def seen(pair: pa.Table = zerrow.Model("pair")) -> pa.Table:
    kept, at = (pair[name][250_000].as_py() for name in ("kept", "changed"))
    return pa.table({"at": [at], "kept": [kept]})
"""


def test_what_is_written_after_a_fork_is_copied_and_the_rest_is_not(zerrow, project):
    folder = project({"models.py": WRITES_AFTER_A_FORK})
    words = ("run", "-p", folder, "--backend", "memfd", "--output", folder / "out", "-O", "json")
    outcome = zerrow(*words)
    assert outcome.code == 0, outcome
    pair = outcome.models["pair"]
    assert pair["new_bytes"] == 4_000_000
    assert 4_000_000 <= pair["copied_bytes"] < 4_001_000
    assert pq.read_table(folder / "out" / "seen.parquet").to_pylist() == [
        {"at": -1, "kept": 250_000}
    ]
