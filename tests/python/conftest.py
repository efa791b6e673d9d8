"""A small project in a folder of its own, and source tasks without an engine."""

import base64
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from zerrow import _native
from zerrow._sources.parquet import ParquetFile, identity_of
from zerrow._sql.filters import columns_of
from zerrow._worker import tasks

TASK = json.loads((Path(__file__).parents[1] / "messages.json").read_text())["task"]
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
from zerrow._project import discovery
for line in sys.stdin:
    request = json.loads(line)
    if os.fork() == 0:
        os.dup2(2, 1)
        os.environ["ZERROW_IMPORT_TIMEOUT_S"] = request["import_timeout_s"]
        answer = discovery.describe(request["project"], request["parameters"], lineage=True)
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


class Scanned:
    """What a source task has told the engine, and what becomes of it there."""

    def __init__(self, body, fds=()):
        self.reads = body["reads"]
        self.messages = []
        self.entries = {}  # (block, column) -> table of one column
        self.indices = {}  # the same of columns that are decoded as dictionaries
        self.values = {}  # their values, by column
        self.bytes = 0
        answer = tasks.run(body, list(fds), self._tell, lambda: None)
        self.answer = json.loads(json.dumps(answer.body))
        if self.answer["op"] == "failed":
            raise ScanError(self.answer["error"]["message"])
        assert (self.answer["op"], answer.fds) == ("scanned", [])

    def _tell(self, body, fds=()):
        assert body["op"] == "decoded"
        assert 0 < len(body["entries"]) == len(fds) <= 200
        self.messages.append(body)
        for entry, fd in zip(body["entries"], fds, strict=True):
            entries = self.indices if entry.get("dictionary") else self.entries
            key = entry.get("block"), entry["column"]
            if entry.get("values"):
                entries, key = self.values, entry["column"]
            assert key not in entries, "decoded twice"
            table = _native.Handover().open("sipc", fd, [])
            assert table.column_names == [entry["column"]]
            assert table.num_rows == entry["rows"]
            assert table[0].num_chunks == 1
            assert entry["decode_s"] >= 0
            entries[key] = table
            self.bytes += os.fstat(fd).st_size

    def schemas(self):
        texts = [self.answer["schemas"][file["schema"]] for file in self.answer["files"]]
        return [pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text))) for text in texts]

    def rows_of(self, block):
        file, at = self.answer["blocks"][block]
        return at if file is None else self.answer["files"][file]["blocks"][at][2]

    def dictionary(self, name):
        """A column of dictionaries, of all blocks of the first read, with the same values."""
        values = self.values[name][0].chunk(0)
        return pa.chunked_array(
            pa.DictionaryArray.from_arrays(self.indices[block, name][0].chunk(0), values)
            for block in self.answer["reads"][0]
        )

    def table(self, read=0, columns=None, have=None):
        """The read's rows, joined from its entries and filtered."""
        given = self.reads[read]
        blocks = self.answer["reads"][read]
        entries = {**(have or {}), **self.entries}
        if given["columns"]:
            first, *others = self.schemas()
            fields = []
            for name in given["columns"]:
                own = [schema.field(name) for schema in (first, *others)]
                assert len({field.type for field in own}) == 1
                fields.append(own[0].with_nullable(any(field.nullable for field in own)))
            schema = pa.schema(fields, first.metadata)
            table = pa.concat_tables(
                [
                    schema.empty_table(),
                    *(
                        pa.table([entries[b, n][0] for n in given["columns"]], schema=schema)
                        for b in blocks
                    ),
                ]
            )
        else:
            table = tasks.without_columns(sum(map(self.rows_of, blocks)))
        return tasks.narrow(table, columns, given["filter"])


class ScanError(Exception):
    """What a source task has answered instead."""


def identity(path):
    found = os.stat(path)
    return list(identity_of(found))


def scan_files(files, reads=None, *, have=(), values=None, **fields):
    """Runs a source task; a file is a path or an entry of the task.

    A read is (columns, filter) or (columns, filter, dictionary); `values` are those that the engine
    has of columns.
    """
    entries = [{"path": file} if isinstance(file, str) else file for file in files]
    entries = [{"identity": identity(entry["path"]), **entry} for entry in entries]
    if reads is None:
        partition = entries[0].get("partition", {})
        reads = [([*ParquetFile(entries[0]["path"]).schema.names, *partition], None)]
    body = {
        **TASK,
        "kind": "source",
        "project_dir": "/",
        "table": "t",
        "files": entries,
        "reads": [
            {"columns": list(columns), "filter": condition, "dictionary": any(dictionary)}
            for columns, condition, *dictionary in reads
        ],
        "have": [[*key[:3], len(key) > 3] for key in have],
        "inputs": [
            {"parameter": name, "model": "t", "format": "sipc", "message": i, "rows": len(array)}
            for i, (name, array) in enumerate((values or {}).items())
        ],
        **fields,
    }
    fds = [_native.encode(pa.table({name: array})) for name, array in (values or {}).items()]
    return Scanned(body, fds)


@pytest.fixture
def scan():
    return scan_files


@pytest.fixture
def scan_error():
    return ScanError


@pytest.fixture
def read():
    """The rows of all files for which a condition is true, by way of a source task."""

    def read_files(files, columns=None, condition=None):
        names = ParquetFile(files[0]).schema.names if columns is None else columns
        extra = [] if condition is None else columns_of(condition)
        needed = list(dict.fromkeys([*names, *extra]))
        return scan_files(files, [(needed, condition)]).table(columns=names)

    return read_files
