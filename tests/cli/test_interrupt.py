"""Ctrl-C: the run stops, and nothing of it is left."""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import pytest

SLEEPER = """
    import os
    import time
    import pyarrow as pa
    import zerrow


    @zerrow.model()
    def numbers():
        return pa.table({"n": list(range(1000))})


    @zerrow.model()
    def sleeper(numbers=zerrow.Model("numbers")):
        print("pid", os.getpid(), flush=True)
        while True:
            try:
                time.sleep(600)
            except BaseException:
                pass
"""


@pytest.fixture
def running(zerrow):
    """Starts the command on a model that doesn't end, waits until it runs, kills what is left."""
    zerrow.write(zerrow_project__yml="name: sleepy\n", models__py=SLEEPER)
    started = []

    def start(*words):
        process = zerrow.start("run", *words)
        started.append(process)
        stream = process.stderr if "json" in words else process.stdout
        for line in stream:
            if line.startswith("sleeper | pid"):
                return process
        raise AssertionError("the model never started: " + process.stderr.read())

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.stderr.close()
        process.wait()


def processes_in(folder):
    """Processes that have `folder` as their working directory, by pid."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if Path(os.readlink(entry / "cwd")) == folder:
                    found.append(int(entry.name))
    return found


def shared_memory_bytes():
    line = next(x for x in Path("/proc/meminfo").read_text().splitlines() if "Shmem:" in x)
    return int(line.split()[1]) * 1024


def assert_nothing_is_left(folder, timeout_s=30):
    deadline = time.monotonic() + timeout_s
    while processes_in(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_in(folder) == []


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_the_first_stops_the_run_in_order(running, zerrow, sent):
    process = running()
    os.killpg(process.pid, sent)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "stopping the run" in errors
    assert "cancelled" in output
    assert_nothing_is_left(zerrow.folder)


def test_json_is_still_one_document(running, zerrow):
    process = running("-O", "json")
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    report = json.loads(output)
    assert report["status"] == "cancelled"
    assert {m["name"]: m["status"] for m in report["models"]}["sleeper"] == "cancelled"
    assert_nothing_is_left(zerrow.folder)


def test_two_end_it_at_once(running, zerrow):
    process = running()
    os.kill(process.pid, signal.SIGSTOP)  # so that both are pending before it can react
    os.kill(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGTERM)
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait(timeout=60) == 130
    assert_nothing_is_left(zerrow.folder)


def test_killing_the_command_leaves_nothing(running, zerrow):
    process = running()
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=60)
    assert_nothing_is_left(zerrow.folder)


def test_shared_memory_is_given_back(running, zerrow):
    before = shared_memory_bytes()
    process = running()
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    assert_nothing_is_left(zerrow.folder)
    # Others use this machine too, and give back: a chunk of 64 MiB mustn't stay.
    deadline = time.monotonic() + 60
    while shared_memory_bytes() - before >= 48 << 20:
        assert time.monotonic() < deadline, "a chunk of shared memory is left"
        time.sleep(0.5)
