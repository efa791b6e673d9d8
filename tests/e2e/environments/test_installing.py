"""Making environments: interrupted, killed, by several runs at once; looked at and removed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest


def wait_for(condition, what):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, f"no {what}"
        time.sleep(0.02)


@pytest.mark.own_engine
def test_interrupting_an_installation_leaves_nothing(start, one, environments):
    started = start("run", "-p", one({"sleepy": "1.0"}))
    wait_for(environments.importing, "import")
    os.killpg(started.process.pid, signal.SIGINT)
    outcome = started.finish()
    assert outcome.code == 130, outcome
    assert environments.left() == []
    assert environments.complete() == []


@pytest.mark.own_engine
def test_interrupting_uv_ends_it(start, one, environments, monkeypatch):
    # An index that takes connections and says nothing.
    with socket.create_server(("127.0.0.1", 0)) as index:
        monkeypatch.delenv("UV_NO_INDEX")
        monkeypatch.delenv("UV_FIND_LINKS")
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{index.getsockname()[1]}/simple")
        started = start("run", "-p", one({"tiny": "1.0"}))
        connection, _ = index.accept()
        with connection:
            assert any(" pip compile" in words for words in started.processes().values())
            os.killpg(started.process.pid, signal.SIGINT)
            outcome = started.finish()
    assert outcome.code == 130, outcome


@pytest.mark.own_engine
def test_a_killed_installation_leaves_nothing_that_looks_complete(start, zerrow, one, environments):
    started = start("run", "-p", one({"slow": "1.0"}))
    wait_for(environments.importing, "import")
    os.killpg(started.process.pid, signal.SIGKILL)
    started.finish()
    assert environments.complete() == []
    assert len(environments.left()) == 1
    assert zerrow("env", "ls").out == "there are no environments\n"
    outcome = zerrow("run", "-p", one({"slow": "1.0"}))
    assert outcome.code == 0, outcome
    assert environments.left() == []
    assert len(environments.complete()) == 1


def test_runs_at_the_same_time_install_once(start, one, environments):
    folder = one({"slow": "1.0"})
    outcomes = [each.finish() for each in [start("run", "-p", folder) for _ in range(3)]]
    assert [outcome.code for outcome in outcomes] == [0, 0, 0], outcomes
    said = "".join(outcome.out + outcome.err for outcome in outcomes)
    assert said.count("Installing slow==1.0") == 1
    assert len(environments.complete()) == 1
    assert environments.left() == []


def test_environments_are_listed_and_removed_unless_they_are_used(
    start, zerrow, one, environments, tmp_path
):
    body = f"""open({str(tmp_path / "begun")!r}, "w").close()
    import os, time
    while not os.path.exists({str(tmp_path / "go on")!r}):
        time.sleep(0.02)
    import tiny
    return pa.table({{"n": [1]}})"""
    started = start("run", "-p", one({"tiny": "1.0"}, body))
    wait_for((tmp_path / "begun").exists, "call")
    listed = json.loads(zerrow("env", "ls", "-O", "json").out)
    (entry,) = listed["environments"]
    assert entry["packages"] == ["tiny==1.0"]
    assert f"pyarrow=={pa.__version__}" in entry["resolved"]
    assert entry["bytes"] == listed["bytes"] > 10_000_000
    assert "tiny==1.0" in zerrow("env", "ls").out
    answer = json.loads(zerrow("env", "clear", "-O", "json").out)
    assert answer == {"removed": 0, "freed_bytes": 0, "in_use": [entry["id"]]}
    (tmp_path / "go on").touch()
    assert started.finish().code == 0
    assert json.loads(zerrow("env", "clear", "-O", "json").out)["removed"] == 1
    assert environments.complete() == []
    assert zerrow("env", "clear").out == "removed 0 environments (0 B)\n"


def test_an_environment_whose_python_is_gone_is_made_again(zerrow, one, environments):
    folder = one({"tiny": "1.0"})
    assert zerrow("run", "-p", folder).code == 0
    (key,) = environments.complete()
    (environments.folder / key / "bin" / "python").unlink()
    outcome = zerrow("run", "-p", folder, "-O", "json")
    assert outcome.code == 0, outcome
    assert "Installing tiny==1.0" in outcome.err
    assert environments.complete() == [key]


def test_a_package_of_the_configured_index(zerrow, one, environments, wheels, monkeypatch):
    """As users do; pyarrow, which is large, is taken from the folder."""
    monkeypatch.delenv("UV_NO_INDEX")
    request = subprocess.run(
        [Path(sys.executable).parent / "uv", "pip", "compile", "-q", "-"],
        input="iniconfig==2.0.0\n",
        capture_output=True,
        text=True,
        check=False,
    )
    if request.returncode != 0:
        pytest.skip(f"no package index: {request.stderr}")
    body = "import iniconfig; return pa.table({'n': [iniconfig.__name__]})"
    outcome = zerrow("run", "-p", one({"iniconfig": "2.0.0"}, body), "--preview", "1")
    assert outcome.code == 0, outcome
    assert "iniconfig" in outcome.out
