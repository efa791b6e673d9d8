"""`zerrow.connect`: the resident engine from Python."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pyarrow as pa
import pytest
import zerrow

COMMAND = str(Path(sys.executable).parent / "zerrow")

MODELS = """import numpy as np
import pyarrow as pa
import zerrow

@zerrow.model()
def wide():
    return pa.table({"a": np.arange(1_000_000), "b": np.ones(1_000_000)})

@zerrow.model()
def part(wide=zerrow.Model("wide")):
    print("here")
    return wide.select(["a"])
"""


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """A resident engine of this test's own."""
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    subprocess.run([COMMAND, "engine", "start"], check=True)
    yield
    subprocess.run([COMMAND, "engine", "stop"], check=True)


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "zerrow_project.yml").write_text("name: tiny\n")
    (folder / "models.py").write_text(MODELS)
    return folder


def status_once(done, timeout=20):
    """The engine's status when that is so, or at least after that time."""
    connection = zerrow.connect()
    end = time.monotonic() + timeout
    while not done(status := connection.status()) and time.monotonic() < end:
        time.sleep(0.05)
    return status


def test_a_run_gives_what_zerrow_run_gives(engine, project):
    lines = []
    here = zerrow.run(project, on_line=lambda *line: lines.append(line))
    there = zerrow.connect().run(project, on_line=lambda *line: lines.append(line))
    assert lines == [("part", 1, "here")] * 2
    assert there.tables == here.tables == ["part", "wide"]
    for model in here.tables:
        assert there.table(model).equals(here.table(model))
    assert there.models["part"].reshared_bytes == here.models["part"].reshared_bytes


def test_tables_stay_valid_while_other_runs_recycle_memory(engine, project):
    connection = zerrow.connect()
    held = connection.run(project).table("wide")
    (project / "models.py").write_text(MODELS.replace("arange(1_000_000)", "zeros(1_000_000)"))
    for _ in range(3):
        connection.run(project)
    assert held.column("a").equals(pa.chunked_array([range(1_000_000)]))


def test_tables_stay_valid_when_the_engine_has_gone(engine, project):
    result = zerrow.connect().run(project)
    table = result.table("wide")
    subprocess.run([COMMAND, "engine", "stop"], check=True)
    assert table.column("a")[999_999].as_py() == 999_999
    assert result.table("part").num_rows == 1_000_000
    with pytest.raises(zerrow.EngineError, match="zerrow engine start"):
        zerrow.connect()


def test_the_engine_lets_go_of_what_nobody_holds(engine, project):
    connection = zerrow.connect()
    result = connection.run(project)
    assert connection.status().memory.tables >= 16_000_000
    table = result.table("wide")
    del result
    assert connection.status().memory.tables >= 16_000_000
    del table
    assert status_once(lambda status: not status.memory.tables).memory.tables == 0


def test_its_status_is_a_value(engine, project):
    connection = zerrow.connect()
    connection.run(project)
    status = connection.status()
    assert status.version == zerrow.__version__
    assert status.uptime_s > 0
    assert (status.runs, status.workers) == ((), 0)
    assert status.zygotes[0].libraries
    assert os.path.exists(f"/proc/{status.zygotes[0].pid}")
    assert status.memory.engine > 0
    assert status.limits.used >= status.limits.charged
    command = [COMMAND, "engine", "status", "-O", "json"]
    printed = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    assert status.document.keys() == printed.keys()
    with pytest.raises(dataclasses.FrozenInstanceError):
        status.pid = 1


def test_errors_are_those_of_run(engine, project, tmp_path):
    connection = zerrow.connect()
    with pytest.raises(zerrow.InvalidOptionsError, match="doesn't exist"):
        connection.run(tmp_path / "nowhere")
    with pytest.raises(zerrow.InvalidOptionsError, match="backend"):
        connection.run(project, backend="none")
    with pytest.raises(TypeError, match="nope"):
        connection.run(project, nope=1)
    (project / "models.py").write_text(MODELS.replace('print("here")', "raise KeyError(1)"))
    with pytest.raises(zerrow.ModelError, match=r"models.py:11: part: KeyError"):
        connection.run(project)
    result = connection.run(project, check=False, select=["wide"], keep=[])
    assert result.status == "success"
    assert result.tables == []


def test_without_an_engine_it_is_said_so(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(zerrow.EngineError, match="zerrow engine start"):
        zerrow.connect()


def test_a_killed_hosts_run_ends_though_its_output_is_stuck(engine, project):
    script = """
        import os, signal, sys, time, zerrow
        def killed(model, stream, line):
            if os.fork() == 0:
                time.sleep(1000)
            while time.sleep(0.1) is None:
                if "part" not in zerrow.connect().status().runs[0].running:
                    continue
                time.sleep(1)  # until the socket is full
                os.kill(os.getpid(), signal.SIGKILL)
        zerrow.connect().run(sys.argv[1], on_line=killed)
    """
    talking = 'for _ in range(300_000):\n        print("x" * 200)'
    (project / "models.py").write_text(MODELS.replace('print("here")', talking))
    host = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(project)], start_new_session=True
    )
    assert host.wait(60) == -signal.SIGKILL
    left = status_once(lambda status: not status.runs and not status.workers)
    os.killpg(host.pid, signal.SIGKILL)
    assert left.runs == ()
    assert left.workers == 0


def test_a_host_that_is_killed_takes_its_run_along_whatever_it_had_forked(engine, project):
    script = """
        import os, signal, sys, time, zerrow
        def killed(model, stream, line):
            if os.fork() == 0:
                time.sleep(1000)
            if line == "sleeping":
                os.kill(os.getpid(), signal.SIGKILL)
        zerrow.connect().run(sys.argv[1], on_line=killed)
    """
    (project / "models.py").write_text(
        MODELS.replace(
            "    return wide.select",
            "    print('sleeping', flush=True)\n"
            "    import time; time.sleep(600)\n    return wide.select",
        )
    )
    host = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(project)], start_new_session=True
    )
    assert host.wait(60) == -signal.SIGKILL
    left = status_once(lambda status: not status.runs and not status.workers)
    os.killpg(host.pid, signal.SIGKILL)
    assert left.workers == 0
    assert left.runs == ()
