"""Functions that make another table when they run again: one run never mixes two versions."""

import subprocess
import sys

import pyarrow.parquet as pq
import pytest

MIB = 1 << 20
# What "room" declares doesn't fit beside the table of "big".
LIMIT_BYTES = 420 * MIB
ROWS = 13 << 20

# "before" reads "big" before the table has to make room, "after" asks for it again.
DIAMOND = """
import os
import uuid

import numpy as np
import pyarrow as pa
import zerrow

ROWS = {rows}

def token(table):
    return [table["x"][0].as_py()]

{big}

@zerrow.model()
def before(t=zerrow.Model("big")):
    {fails}
    return pa.table({{"token": token(t)}})

@zerrow.model()
def child(t=zerrow.Model("before")):
    return pa.table({{"token": t["token"]}})

@zerrow.resources(memory="300MB")
@zerrow.model()
def room():
    return pa.table({{"x": [1]}})

@zerrow.model()
def after(t=zerrow.Model("big"), r=zerrow.Model("room")):
    return pa.table({{"token": token(t)}})
"""

RANDOM = """
@zerrow.model({arguments})
def big():
    return pa.table({{"x": np.full(ROWS, uuid.uuid4().int % 2**62)}})
"""
SHUFFLED = """
@zerrow.model()
def big():
    rows = np.arange(ROWS)
    return pa.table({"x": np.roll(rows, uuid.uuid4().int % 2**20)})
"""
HONEST = """
@zerrow.model()
def big():
    return pa.table({"x": np.arange(ROWS)})
"""
FAILS_AGAIN = """
    path = os.path.join(os.path.dirname(__file__), "ran")
    if os.path.exists(path):
        raise ValueError("once was enough")
    open(path, "w").close()
"""


@pytest.fixture
def pipeline(memfd_project, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # nothing is known of before
    return memfd_project


def write(pipeline, big, fails=""):
    pipeline.write("models/m.py", DIAMOND.format(big=big, fails=fails.strip(), rows=ROWS))


def run(pipeline, folder, *arguments):
    return pipeline.run(
        "--engine", "own", "--memory-limit", LIMIT_BYTES, "--eviction", "rollback", "--jobs", "1",
        "--output", folder, "--explain-memory", *arguments,
    )  # fmt: skip


def tokens(folder):
    return [
        pq.read_table(folder / f"{name}.parquet")["token"].to_pylist()
        for name in ("child", "after")
    ]


def dropped(done):
    return [eviction["model"] for eviction in done.report["evictions"]]


@pytest.mark.parametrize("big", [RANDOM.format(arguments=""), SHUFFLED], ids=["random", "order"])
def test_all_that_is_left_of_a_run_stems_from_one_version(pipeline, tmp_path, big):
    write(pipeline, big)
    done = run(pipeline, tmp_path / "out")
    assert done.code == 0, done.stderr
    assert dropped(done) == ["big"], done.report
    first, second = tokens(tmp_path / "out")
    assert first == second
    assert done.report["varying"] == [{"model": "big", "run_again": 2}]
    said = "\n".join(event["what"] for event in done.report["memory_events"])
    assert "'big' isn't deterministic: its table came out differently" in said
    assert "'before' has to run again: the table of 'big'" in said
    # The next run knows it.
    again = run(pipeline, tmp_path / "again")
    assert again.code == 0, again.stderr
    assert dropped(again) == []
    assert "varying" not in again.report
    first, second = tokens(tmp_path / "again")
    assert first == second
    # Until it is written anew.
    write(pipeline, big.replace("def big():", "def big():  # anew"))
    assert dropped(run(pipeline, tmp_path / "anew")) == ["big"]


def test_what_comes_out_the_same_is_run_again_alone(pipeline, tmp_path):
    write(pipeline, HONEST)
    done = run(pipeline, tmp_path / "out")
    assert done.code == 0, done.stderr
    assert dropped(done) == ["big"]
    assert tokens(tmp_path / "out") == [[0], [0]]
    assert "varying" not in done.report


def test_what_says_so_is_not_dropped(pipeline, tmp_path):
    write(pipeline, RANDOM.format(arguments="deterministic=False"))
    done = run(pipeline, tmp_path / "out")
    assert done.code == 0, done.stderr
    assert dropped(done) == []
    assert "varying" not in done.report


def test_a_reader_that_fails_when_it_runs_again_fails_the_run(pipeline, tmp_path):
    write(pipeline, RANDOM.format(arguments=""), FAILS_AGAIN)
    done = run(pipeline, tmp_path / "out")
    assert done.code == 1
    assert done.statuses() == {
        "big": "success", "before": "failed", "child": "skipped", "room": "success",
        "after": "success",
    }  # fmt: skip
    assert "once was enough" in done.models["before"]["error"]["message"]
    assert done.report["outputs"] == [str(tmp_path / "out" / "after.parquet")]
    # It was written when all was well.
    errors = [error["message"] for error in done.report["errors"]]
    assert len(errors) == 1
    assert str(tmp_path / "out" / "child.parquet") in errors[0]
    assert "earlier version" in errors[0]


def test_the_end_says_so_in_words(pipeline, tmp_path):
    write(pipeline, RANDOM.format(arguments=""))
    done = subprocess.run(
        [
            sys.executable, "-m", "zerrow", "run", "-p", pipeline.folder, "--engine", "own",
            "--memory-limit", str(LIMIT_BYTES), "--eviction", "rollback", "--jobs", "1",
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "big gave another table when it was run again" in done.stdout
    assert "2 models that had read the first ran again" in done.stdout
    assert "deterministic=False" in done.stdout
