"""A small project in a folder of its own."""

import json
import subprocess
import sys
import textwrap

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

FLIGHTS = pa.table(
    {"carrier": ["AA", "UA"], "dep_delay": [1.0, None], "Origin": ["JFK", "EWR"], "day": [1, 2]}
)
YML = """
name: flights
parameters:
  limit: {type: int, default: 3}
sources:
  flights: data/flights.parquet
"""

# Forks a process for each project, as the zygote does; imports that cost a second are done once.
SERVER = """
import json, os, sys
from zerrow import _discovery
for line in sys.stdin:
    request = json.loads(line)
    if os.fork() == 0:
        os.dup2(2, 1)
        os.environ["ZERROW_IMPORT_TIMEOUT_S"] = request["import_timeout_s"]
        answer = _discovery.describe(request["project"], request["parameters"])
        with open(request["answer"], "w") as file:
            json.dump(answer, file)
        os._exit(0)
    print(os.wait()[1], flush=True)
"""


@pytest.fixture(scope="session")
def server():
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
        yield process
        process.stdin.close()


class ProjectFolder:
    """A project in a temporary folder; `describe` runs in a process of its own, as in a worker."""

    def __init__(self, path, server):
        self.path = path
        self.import_timeout_s = "60"
        self._server = server
        self.write("zerrow_project.yml", YML)
        (path / "data").mkdir()
        pq.write_table(FLIGHTS, path / "data" / "flights.parquet")

    def write(self, name, text):
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).lstrip("\n"))

    def describe(self, **parameters):
        answer = self.path.parent / f"{self.path.name}.json"
        request = {
            "project": str(self.path),
            "parameters": parameters,
            "import_timeout_s": self.import_timeout_s,
            "answer": str(answer),
        }
        print(json.dumps(request), file=self._server.stdin, flush=True)
        assert self._server.stdout.readline() == "0\n"
        return json.loads(answer.read_text())

    def errors(self, **parameters):
        return [
            (error["file"], error["line"], error["message"])
            for error in self.describe(**parameters)["errors"]
        ]

    def error(self, **parameters):
        errors = self.errors(**parameters)
        assert len(errors) == 1, errors
        return errors[0]


@pytest.fixture
def project(tmp_path, server):
    return ProjectFolder(tmp_path, server)
