"""Runs whole projects with the real command, and looks for what a run left behind."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zerrow

COMMAND = Path(zerrow.__file__).parent / "_bin" / "zerrow"
INSTALLED = str(Path(sys.executable).parent / "zerrow")
TIMEOUT_S = 120


class Run:
    """A finished `zerrow run -O json`."""

    def __init__(self, code, stdout, stderr):
        self.code = code
        self.stderr = stderr
        assert stdout, stderr
        self.report = json.loads(stdout)
        self.models = {model["name"]: model for model in self.report["models"]}

    def statuses(self):
        return {name: model["status"] for name, model in self.models.items()}


class Project:
    """A project in a folder of its own, with one source `t` of two columns."""

    def __init__(self, folder, backend):
        self.folder = folder
        self.backend = backend
        # Every process of a run inherits it, so that none can hide.
        self.marker = f"ZERROW_TEST_MARKER={uuid.uuid4().hex}"
        (folder / "models").mkdir(parents=True)
        self.write("zerrow_project.yml", "name: test\nsources:\n  t: t.parquet\n")
        self.source(pa.table({"x": range(100_000), "s": [f"text {i}" for i in range(100_000)]}))

    def write(self, name, text):
        (self.folder / name).write_text(textwrap.dedent(text))

    def source(self, table):
        pq.write_table(table, self.folder / "t.parquet")

    def models(self, body):
        """Writes models/m.py with the usual imports on one line: `body` starts at line 2."""
        header = "import os, signal, subprocess, sys, time, pyarrow as pa, zerrow\n"
        self.write("models/m.py", header + textwrap.dedent(body).lstrip("\n"))

    def start(self, *arguments):
        name, value = self.marker.split("=")
        environment = {**os.environ, name: value, "ZERROW_PYTHON": sys.executable}
        package = str(Path(zerrow.__file__).parent.parent)
        environment["PYTHONPATH"] = f"{package}:{environment.get('PYTHONPATH', '')}"
        return subprocess.Popen(
            [
                COMMAND,
                "run",
                "-p",
                self.folder,
                "-O",
                "json",
                "--backend",
                self.backend,
                *map(str, arguments),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(self, *arguments):
        process = self.start(*arguments)
        return self.finish(process)

    def finish(self, process):
        stdout, stderr = process.communicate(timeout=TIMEOUT_S)
        return Run(process.returncode, stdout, stderr)

    def processes(self):
        """Live processes of this project's runs: (pid, command line)."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if self.marker.encode() not in (entry / "environ").read_bytes():
                    continue
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append((int(entry.name), command))
            except OSError:
                continue  # it ended meanwhile
        return found

    def wait_for_file(self, name):
        """Until a function has made the file; its content."""
        path = self.folder / name
        deadline = time.monotonic() + TIMEOUT_S
        while not path.exists() or not path.read_text():
            assert time.monotonic() < deadline, f"{name} never appeared"
            time.sleep(0.01)
        return path.read_text()

    def expect_nothing_left(self, within_s=30):
        deadline = time.monotonic() + within_s
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert left == []


@pytest.fixture(params=["copy", "memfd"])
def project(request, tmp_path):
    yield from projects(tmp_path, request.param)


@pytest.fixture
def memfd_project(tmp_path):
    yield from projects(tmp_path, "memfd")


def projects(folder, backend):
    """One, of which no process may be left in the end."""
    project = Project(folder / "project", backend)
    yield project
    left = project.processes()
    for pid, _ in left:
        os.kill(pid, signal.SIGKILL)
    assert left == [], "a test left processes behind"


class Resident:
    """An engine with a runtime folder of its own, and commands that find it."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(mode=0o700)
        self.environment = {
            **os.environ,
            "XDG_RUNTIME_DIR": str(folder),
            "XDG_CONFIG_HOME": str(folder),
            "ZERROW_ENGINE": "resident",
        }
        self.engine = None

    def start(self, *words):
        self.engine = self.popen("engine", "start", "--foreground", *words)
        assert "engine started" in self.engine.stdout.readline()

    def popen(self, *words, **options):
        return subprocess.Popen(
            [INSTALLED, *map(str, words)],
            stdout=options.pop("stdout", subprocess.PIPE),
            stderr=options.pop("stderr", subprocess.PIPE),
            text=True,
            env=self.environment | options.pop("env", {}),
            start_new_session=True,
            **options,
        )

    def run(self, *words, before=(), env=None, **options):
        return subprocess.run(
            [*before, INSTALLED, *map(str, words)],
            capture_output=True,
            text=True,
            env=self.environment | (env or {}),
            timeout=TIMEOUT_S,
            check=False,
            **options,
        )

    def status(self):
        done = self.run("engine", "status", "-O", "json")
        return json.loads(done.stdout)

    def wait_for(self, what, timeout=30):
        end = time.monotonic() + timeout
        while not what(status := self.status()):
            assert time.monotonic() < end, status
            time.sleep(0.05)

    def wait_until_idle(self):
        self.wait_for(lambda status: status["workers"] == 0 and status["runs"] == [])

    def descriptors(self):
        """How many the engine has open."""
        return len(os.listdir(f"/proc/{self.engine.pid}/fd"))

    def wait_for_descriptors(self, most, timeout=30):
        end = time.monotonic() + timeout
        while self.descriptors() > most:
            assert time.monotonic() < end, f"{self.descriptors()} descriptors, not {most}"
            time.sleep(0.05)

    def end(self):
        if self.engine is not None and self.engine.poll() is None:
            self.engine.kill()
        if self.engine is not None:
            self.engine.communicate()


@pytest.fixture
def resident(tmp_path):
    """One that runs."""
    resident = Resident(tmp_path / "runtime")
    resident.start()
    yield resident
    resident.end()


@pytest.fixture
def nobody(tmp_path):
    """One that doesn't run."""
    return Resident(tmp_path / "runtime")
