"""Few file descriptors, and engines that are killed: what runs out or is cut off."""

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

# As many buffers of 8 MiB as columns: each has a chunk of its own.
WIDE = """\
import numpy as np
import pyarrow as pa
import zerrow

ROWS = 1 << 20


@zerrow.model()
def wide():
    return pa.table({f"c{i}": np.full(ROWS, float(i)) for i in range(COLUMNS)})


@zerrow.model()
def wider(wide: pa.Table = zerrow.Model("wide")):
    own = {f"d{i}": np.full(ROWS, -float(i)) for i in range(COLUMNS)}
    return pa.table({**{name: wide[name] for name in wide.column_names}, **own})


@zerrow.expectation()
def is_right(wider: pa.Table = zerrow.Model("wider")):
    for i in range(COLUMNS):
        for name, value in ((f"c{i}", i), (f"d{i}", -i)):
            column = wider[name].to_numpy()
            if not (column[0] == column[-1] == value and column.sum() == ROWS * value):
                return False
    return True
"""


RUN = ("run", "--strict", "--backend", "memfd", "-O", "json")


def wide_project(project, columns):
    return project({"models.py": WIDE.replace("COLUMNS", str(columns))})


def test_each_buffer_may_have_a_chunk_of_its_own(zerrow, project):
    outcome = zerrow(*RUN, "-p", wide_project(project, 40), open_files=1024)
    assert outcome.code == 0, outcome
    for name in ("wide", "wider"):
        model = outcome.models[name]
        assert model["new_bytes"] == 40 << 23, "all of it by reference"
        assert model["copied_bytes"] < 1 << 16
    assert outcome.models["wider"]["reshared_bytes"] == 40 << 23


@pytest.mark.own_engine
def test_what_descriptors_are_missing_for_is_copied(zerrow, project):
    outcome = zerrow(*RUN, "-p", wide_project(project, 40), open_files=256)
    assert outcome.code == 0, outcome
    for name, inherited in (("wide", 0), ("wider", 40)):
        model = outcome.models[name]
        assert model["new_bytes"] > 0
        assert model["copied_bytes"] > 1 << 23
        assert model["bytes"] >= (40 + inherited) << 23


@pytest.mark.own_engine
def test_too_few_descriptors_for_anything_is_said_so(zerrow, project):
    outcome = zerrow(*RUN, "-p", wide_project(project, 2), open_files=16)
    assert outcome.code != 0
    assert "no more than 16 open files" in outcome.err + outcome.out, outcome
    assert "ulimit -n" in outcome.err + outcome.out


SLOW = """import time

import pyarrow as pa
import zerrow


@zerrow.model()
def slow():
    print("started", flush=True)
    time.sleep(600)
    return pa.table({"a": [1]})
"""


def cgroups_of(pid):
    while True:
        with contextlib.suppress(FileNotFoundError):  # another's went meanwhile
            return list(Path("/sys/fs/cgroup").rglob(f"zerrow-{pid}-*"))


def janitors_of(pid):
    """The processes that are to remove an engine's cgroups."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes() if folder.name.isdigit() else b""
        except OSError:
            continue
        if b"zerrow-janitor" in words and b"/zerrow-%d-" % pid in words:
            found.append(folder.name)
    return found


def wait_for(done, timeout=20):
    end = time.monotonic() + timeout
    while not (result := done()) and time.monotonic() < end:
        time.sleep(0.05)
    return result


@pytest.mark.own_engine
def test_a_killed_engine_leaves_neither_processes_nor_cgroups(start, project):
    started = start("run", "-p", project({"models.py": SLOW}))
    pid = started.process.pid
    if not wait_for(lambda: cgroups_of(pid)):
        pytest.skip("no cgroup can be made here")
    while "started" not in started.process.stdout.readline():
        assert started.process.poll() is None
    assert janitors_of(pid)
    os.kill(pid, signal.SIGKILL)
    started.process.wait()
    assert wait_for(lambda: not cgroups_of(pid)), cgroups_of(pid)
    assert wait_for(lambda: not janitors_of(pid))
    assert not started.wait_until_gone()


@pytest.mark.own_engine
def test_a_failing_run_leaves_no_cgroup(start, project):
    text = SLOW.replace("time.sleep(600)", "raise ValueError('no')")
    started = start("run", "-p", project({"models.py": text}))
    outcome = started.finish()
    assert outcome.code == 1, outcome
    assert not cgroups_of(started.process.pid)
    assert not janitors_of(started.process.pid)
