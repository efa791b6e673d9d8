"""Runs the `zerrow` command as a user does, and checks after each run that nothing is left."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MARK = "ZERROW_E2E_RUN"
RESIDENT = os.environ.get("ZERROW_TEST_ENGINE") == "resident"


def command():
    """The installed command, or the package's entry point where only PYTHONPATH leads to it."""
    installed = Path(sys.executable).parent / "zerrow"
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "zerrow._entry"]


def limited(open_files):
    """What starts a command that may have no more than so many open files."""
    if open_files is None:
        return []
    return ["/bin/sh", "-c", f'ulimit -n {open_files} && exec "$0" "$@"']


def workers_of_resident():
    """How many functions the resident engine runs, if any."""
    words = [*command(), "engine", "status", "-O", "json"]
    status = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    left = {"workers": status["workers"], "runs": status["runs"]}
    return left if any(left.values()) else {}


@dataclass
class Outcome:
    """What a finished command left: exit code, both streams, wall time."""

    code: int
    out: str
    err: str
    wall_s: float

    @property
    def report(self):
        return json.loads(self.out)

    @property
    def models(self):
        return {model["name"]: model for model in self.report["models"]}

    def __str__(self):
        return f"exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


class Started:
    """A command that runs; marked by an environment variable, so that its children are known."""

    def __init__(self, words, cwd, open_files=None):
        self._mark = f"{MARK}={uuid.uuid4()}"
        # A resident engine would have to start a zygote for each environment.
        mark = [] if RESIDENT else [self._mark.split("=")]
        self._begin = time.monotonic()
        self.process = subprocess.Popen(
            [*limited(open_files), *command(), *map(str, words)],
            cwd=cwd,
            env={**os.environ, **dict(mark)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, timeout=120, typed=""):
        """Waits for its end; `typed` is what a user types meanwhile."""
        try:
            out, err = self.process.communicate(typed, timeout=timeout)
        except subprocess.TimeoutExpired:
            left = self.processes()
            os.killpg(self.process.pid, signal.SIGKILL)
            out, err = self.process.communicate()
            pytest.fail(f"not finished after {timeout} s; running: {left}\n{out}\n{err}")
        wall = time.monotonic() - self._begin
        left = self.wait_until_gone()
        outcome = Outcome(self.process.returncode, out, err, wall)
        assert not left, f"processes left behind: {left}\n{outcome}"
        return outcome

    def processes(self):
        """Command lines of the live processes that stem from this command."""
        if RESIDENT:
            return workers_of_resident()
        found = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                environment = (folder / "environ").read_bytes()
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if self._mark.encode() in environment:
                found[int(folder.name)] = words.strip()
        return found

    def wait_until_gone(self, timeout=30):
        end = time.monotonic() + timeout
        while (left := self.processes()) and time.monotonic() < end:
            time.sleep(0.02)
        return left


@pytest.fixture
def start(tmp_path):
    """Starts a command and hands it out; it is ended with the test if it still runs."""
    running = []

    def start(*words, cwd=tmp_path, open_files=None):
        started = Started(words, cwd, open_files)
        running.append(started)
        return started

    yield start
    for started in running:
        for pid in [] if RESIDENT else started.processes():
            os.kill(pid, signal.SIGKILL)
        started.process.kill()
        started.process.wait()


@pytest.fixture
def zerrow(start, tmp_path):
    """Runs a command to its end."""
    return lambda *words, cwd=tmp_path, timeout=120, open_files=None: start(
        *words, cwd=cwd, open_files=open_files
    ).finish(timeout)


@pytest.fixture(scope="session")
def run_once():
    """The same for fixtures that outlive a test: (words, cwd) -> Outcome."""
    return lambda words, cwd: Started(words, cwd).finish()


@pytest.fixture
def project(tmp_path):
    """Writes a project's files; `zerrow_project.yml` is the shortest one unless given."""

    def write(files):
        folder = tmp_path / "project"
        for name, text in {"zerrow_project.yml": "name: tiny\n", **files}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return folder

    return write


@pytest.fixture(scope="session")
def flights():
    """The flights example with its data."""
    folder = ROOT / "examples" / "flights"
    subprocess.run([sys.executable, folder / "prepare.py"], check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture(scope="session")
def tpch(tmp_path_factory):
    """The TPC-H example at a small scale: a copy, so that the checkout's data is left alone."""
    source = ROOT / "examples" / "tpch"
    folder = tmp_path_factory.mktemp("tpch")
    subprocess.run(
        [
            sys.executable,
            source / "prepare.py",
            "--scale-factor",
            "0.01",
            "--data",
            folder / "data",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    shutil.copytree(source / "models", folder / "models")
    shutil.copy(source / "zerrow_project.yml", folder)
    return folder
