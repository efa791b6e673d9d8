"""Many workers from one zygote, of functions that start processes and threads of their own.

ZERROW_TEST_FORKS sets how many models run (40; the long form takes 1000).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

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
