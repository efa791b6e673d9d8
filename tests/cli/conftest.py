"""Runs the `zerrow` command as a user would: as a process, in an own folder."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TIMEOUT_S = 120


class Zerrow:
    """The command with one folder to work in."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = {
            name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")
        }

    def command(self, *words):
        """The installed command, or in a checkout without it the module that the command runs."""
        installed = Path(sys.executable).parent / "zerrow"
        start = [installed] if installed.exists() else [sys.executable, "-P", "-m", "zerrow._entry"]
        return [*map(str, start), *map(str, words)]

    def run(self, *words, **options):
        """The finished process."""
        return subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=self.environment | options.pop("env", {}),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            **options,
        )

    def start(self, *words, **options):
        """The running process, in a group of its own as a shell would start it."""
        return subprocess.Popen(
            self.command(*words),
            cwd=self.folder,
            env=self.environment | options.pop("env", {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )

    def json(self, *words, code=0):
        """The one document that `-O json` prints; `code` is the exit code to expect."""
        done = self.run(*words, "-O", "json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def write(self, **files):
        """Writes files by name (a dot stands as `__`) below the folder."""
        for name, text in files.items():
            path = self.folder / name.replace("__", ".")
            path.write_text(textwrap.dedent(text))
        return self.folder


@pytest.fixture
def zerrow(tmp_path):
    return Zerrow(tmp_path)


@pytest.fixture
def project(zerrow):
    """A project with one model that makes rows and one that depends on it."""
    zerrow.write(
        zerrow_project__yml="name: small\nparameters:\n  rows: {type: int, default: 3}\n",
        models__py="""
            import pyarrow as pa
            import zerrow


            @zerrow.model()
            def numbers(rows=zerrow.Parameter("rows")):
                print("making", rows, "rows")
                return pa.table({"n": list(range(rows))})


            @zerrow.model()
            def same(numbers=zerrow.Model("numbers")):
                return numbers
        """,
    )
    return zerrow
