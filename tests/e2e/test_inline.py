"""`zerrow run --inline MODEL`: the run as ever, but this model's function has the terminal."""

import os
import pty
import re
import select
import subprocess
import sys
import termios
import time

import pytest

PROJECT = "name: debugged\nparameters:\n  least: {type: int, default: 1}\n"
MODELS = """import os
import pyarrow as pa
import zerrow

@zerrow.model()
def numbers():
    return pa.table({"n": [1, 2, 3], "pid": [os.getpid()] * 3})

@zerrow.model()
def large(numbers=zerrow.Model("numbers", filter="n > $least"), least=zerrow.Parameter("least")):
    print("mine", os.getpid(), numbers.num_rows, least)
    breakpoint()
    return numbers

@zerrow.model()
def broken(numbers=zerrow.Model("numbers", columns=["n"])):
    return numbers["nowhere"]

@zerrow.expectation()
def enough(numbers=zerrow.Model("numbers")):
    return numbers.num_rows > 100
"""


@pytest.fixture
def debugged(project):
    return project(
        {
            "zerrow_project.yml": PROJECT,
            "models.py": MODELS,
            "select_all.sql": "SELECT * FROM numbers\n",
        }
    )


def test_a_debugger_works(start, debugged):
    started = start("run", "-p", debugged, "--inline", "large", "--param", "least=2")
    outcome = started.finish(typed="p least\nc\n")
    assert outcome.code == 0, outcome
    assert "mine" in outcome.out
    assert "large | mine" not in outcome.out  # nobody stands between the function and the terminal
    assert "(Pdb) 2" in outcome.out
    assert "success" in outcome.out


def read_until(fd, pattern, patience_s=60):
    """What a terminal shows until something that matches the pattern comes."""
    shown = ""
    deadline = time.monotonic() + patience_s
    while not re.search(pattern, shown):
        assert time.monotonic() < deadline, shown
        if select.select([fd], [], [], 1)[0]:
            shown += os.read(fd, 4096).decode(errors="replace")
    return shown


def test_a_debugger_on_a_terminal_that_is_interrupted(debugged):
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    command = ["setsid", "--ctty", sys.executable, "-m", "zerrow", "run"]
    process = subprocess.Popen(
        [*command, "-p", debugged, "--inline", "large"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
    )
    try:
        read_until(ours, r"\(Pdb\) ")
        os.write(ours, b"p numbers.num_rows + 40\n")
        # With its next prompt the debugger has said all: it would come amid the words awaited next.
        read_until(ours, r"42\s+\(Pdb\) ")
        os.write(ours, b"\x03")
        assert "stopping the run" in read_until(ours, "cancelled")
        assert process.wait(timeout=60) == 130
        assert termios.tcgetattr(theirs) == before
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def test_the_options_of_a_run_hold(zerrow, debugged, tmp_path):
    words = ["run", "-p", debugged, "--inline", "enough", "--output", tmp_path / "out"]
    words += ["--select", "select_all", "--select", "enough"]
    outcome = zerrow(*words, "--strict")
    assert outcome.code == 1, outcome
    assert "expectation isn't met" in outcome.err
    assert not list((tmp_path / "out").iterdir())
    outcome = zerrow(*words, "--preview", "2", "-O", "json")
    assert outcome.code == 0, outcome
    assert outcome.report["previews"][0]["total_rows"] == 3
    assert outcome.models["enough"]["expectation"] is False
    assert (tmp_path / "out" / "select_all.parquet").exists()


def test_with_json_the_function_prints_to_stderr(zerrow, debugged):
    outcome = zerrow("run", "-p", debugged, "--inline", "large", "-O", "json", "--param", "least=5")
    assert outcome.code == 1, outcome  # breakpoint() meets the end of its input
    assert outcome.report["status"] == "failed"
    assert "mine" in outcome.err


def test_exception_is_shown_with_the_users_line(zerrow, debugged):
    outcome = zerrow("run", "-p", debugged, "--inline", "broken")
    assert outcome.code == 1, outcome
    assert os.path.join(debugged, "models.py:17") in outcome.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--inline", "nothing"], 'unknown model "nothing"'),
        (["--inline", "select_all"], "only a Python function can be run inline"),
        (["--inline", "large", "--select", "numbers"], "isn't selected"),
        (["--inline", "large", "--engine", "resident"], "--engine own"),
    ],
)
def test_what_cannot_be_called_is_refused(zerrow, debugged, options, said):
    outcome = zerrow("run", "-p", debugged, *options)
    assert outcome.code in (1, 2), outcome
    assert said in outcome.err
