"""A model that fails, however it does: said clearly, its consumers skipped, the rest finished."""

import os
import signal
import time

import pytest

PROJECT = """\
import ctypes, os, signal, subprocess, sys, time

import pyarrow as pa
import zerrow


@zerrow.model()
def numbers():
    return pa.table({"n": list(range(1000))})


%s
def bad(numbers: pa.Table = zerrow.Model("numbers")):
    %s


@zerrow.model()
def after(bad: pa.Table = zerrow.Model("bad")):
    return bad


@zerrow.model()
def beside(numbers: pa.Table = zerrow.Model("numbers")):
    return numbers.append_column("m", numbers["n"])
"""
MODEL = "@zerrow.model()"
LINE = 14  # of the bad model's body

# name: (body, decorators, status, words of the error, whether it names the line)
CASES = {
    "raises": ('raise ValueError("no good")', MODEL, "failed", ["ValueError", "no good"], True),
    "sys.exit": ("sys.exit(4)", MODEL, "failed", ["4"], False),
    "os._exit": ("os._exit(3)", MODEL, "failed", ["3"], False),
    "os._exit(0)": ("os._exit(0)", MODEL, "failed", ["exit"], False),
    "kill -9": ("os.kill(os.getpid(), signal.SIGKILL)", MODEL, "killed", ["SIGKILL"], False),
    "segfault": ("ctypes.string_at(0)", MODEL, "killed", ["SIGSEGV"], False),
    "abort": ("os.abort()", MODEL, "killed", ["SIGABRT"], False),
    "timeout": (
        "time.sleep(600)",
        MODEL + "\n@zerrow.resources(timeout=0.5)",
        "timeout",
        ["0.5"],
        False,
    ),
    "returns no table": ("return 42", MODEL, "failed", ["int"], False),
    "returns nothing": ("pass", MODEL, "failed", ["None"], False),
    "other columns than declared": (
        "return numbers",
        '@zerrow.model(columns=["m"])',
        "failed",
        ["m", "n"],
        False,
    ),
}


@pytest.mark.parametrize("backend", ["memfd", "copy"])
@pytest.mark.parametrize("name", CASES)
def test_a_failing_model(zerrow, project, backend, name):
    body, decorators, status, words, names_line = CASES[name]
    folder = project({"models.py": PROJECT % (decorators, body)})
    outcome = zerrow("run", "-p", folder, "-O", "json", "--backend", backend, timeout=60)
    assert outcome.code == 1, outcome
    assert outcome.report["status"] == "failed"
    models = outcome.models
    statuses = {name: model["status"] for name, model in models.items()}
    assert statuses == {
        "numbers": "success",
        "bad": status,
        "after": "skipped",
        "beside": "success",
    }, outcome
    error = models["bad"]["error"]
    for word in words:
        assert word in str(error), error
    assert error["file"] == "models.py"
    line = LINE + decorators.count("\n")
    if names_line:
        assert error["line"] == line
        assert body in error["traceback"]
    else:
        assert error["line"] in (line - 2, line - 1, line)


def test_the_error_reaches_a_reader_of_the_terminal(zerrow, project):
    folder = project({"models.py": PROJECT % (MODEL, 'raise ValueError("no good")')})
    outcome = zerrow("run", "-p", folder)
    assert outcome.code == 1, outcome
    assert f"models.py:{LINE}" in outcome.err + outcome.out, outcome
    assert "ValueError: no good" in outcome.err + outcome.out, outcome
    assert "zerrow/_" not in outcome.err, "frames of zerrow itself are of no use to the user"


@pytest.mark.parametrize("engine", ["datafusion", "duckdb"])
def test_a_column_that_a_query_finds_missing_when_it_runs_has_its_line(zerrow, project, engine):
    """The function's columns aren't known before."""
    alone = PROJECT[: PROJECT.index("%s\ndef bad")]
    query = f"-- zerrow: engine={engine}\nSELECT n\nFROM numbers\nWHERE nope > 1"
    outcome = zerrow("run", "-p", project({"models.py": alone, "models/few.sql": query}))
    assert outcome.code == 1, outcome
    (error,) = [line for line in outcome.err.splitlines() if line.startswith("error:")]
    assert "/models/few.sql:4: few: " in error, outcome
    assert "nope" in error, outcome


@pytest.mark.parametrize(("strict", "code"), [(False, 0), (True, 1)])
@pytest.mark.parametrize("body", ["return False", "assert numbers.num_rows == 7, 'not seven'"])
def test_a_failed_expectation_warns_or_fails(zerrow, project, strict, code, body):
    alone = PROJECT[: PROJECT.index("@zerrow.model()\ndef after")]
    folder = project({"models.py": alone % ("@zerrow.expectation()", body)})
    outcome = zerrow("run", "-p", folder, *(["--strict"] if strict else []))
    assert outcome.code == code, outcome
    assert "bad" in outcome.err + outcome.out


def test_what_functions_print_is_marked_with_their_model(zerrow, project):
    body = 'print("a line"); print("another", file=sys.stderr); return numbers'
    outcome = zerrow("run", "-p", project({"models.py": PROJECT % (MODEL, body)}))
    assert outcome.code == 0, outcome
    lines = [
        line
        for line in (outcome.out + outcome.err).splitlines()
        if "a line" in line or "another" in line
    ]
    assert len(lines) == 2, outcome
    assert all("bad" in line for line in lines), outcome


def test_printing_leaves_the_json_alone(zerrow, project):
    body = 'print("{"); return numbers'
    outcome = zerrow("run", "-p", project({"models.py": PROJECT % (MODEL, body)}), "-O", "json")
    assert outcome.report["status"] == "success"


def test_descendants_end_with_their_model(zerrow, project, tmp_path):
    """A grandchild that left its session and ignores hang-ups must not outlive the model."""
    body = 'subprocess.Popen(["setsid", "nohup", "sleep", "600"]); time.sleep(0.1); return numbers'
    outcome = zerrow("run", "-p", project({"models.py": PROJECT % (MODEL, body)}))
    assert outcome.code == 0, outcome  # that nothing is left, Started.finish checks


def wait_for(path, timeout=30):
    end = time.monotonic() + timeout
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)


SLEEPS = 'open("started", "w").close(); subprocess.Popen(["sleep", "600"]); time.sleep(600)'


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_all(start, project, sent):
    folder = project({"models.py": PROJECT % (MODEL, SLEEPS)})
    shared = set(os.listdir("/dev/shm"))
    started = start("run", "-p", folder)
    wait_for(folder / "started")
    os.kill(started.process.pid, sent)
    outcome = started.finish(timeout=60)
    assert outcome.code in (130, 128 + sent), outcome
    assert not {name for name in os.listdir("/dev/shm") if "zerrow" in name} - shared


def test_an_interrupt_as_a_terminal_sends_it(start, project):
    """To the whole process group: the zygote and workers must not print tracebacks of their own."""
    folder = project({"models.py": PROJECT % (MODEL, SLEEPS)})
    started = start("run", "-p", folder, "-O", "json")
    wait_for(folder / "started")
    os.killpg(started.process.pid, signal.SIGINT)
    outcome = started.finish(timeout=60)
    assert outcome.code == 130, outcome
    assert outcome.report["status"] == "cancelled"
    assert "KeyboardInterrupt" not in outcome.err


def test_a_killed_engine_leaves_nothing(start, project):
    folder = project({"models.py": PROJECT % (MODEL, SLEEPS)})
    started = start("run", "-p", folder)
    wait_for(folder / "started")
    os.kill(started.process.pid, signal.SIGKILL)
    started.process.wait()
    assert not started.wait_until_gone()
