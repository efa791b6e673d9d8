"""Runs of models with packages of their own: `@zerrow.python(pip=...)`."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

NEEDS = """import sys
import pyarrow as pa
import zerrow


def needs(version, **more):
    return zerrow.python(pip={"tiny": version, **more})
"""
MODELS = (
    NEEDS
    + """
@zerrow.model()
def numbers():
    return pa.table({"n": [1, 2, 3], "name": ["a", "b", "c"]})

@zerrow.model()
@needs("1.0")
def first(numbers=zerrow.Model("numbers", columns=["n"], filter="n > 1")):
    import tiny
    others = sorted({"sqlglot", "yaml", "numpy"} & set(sys.modules))
    return pa.table({"n": numbers["n"], "by": [tiny.VERSION] * numbers.num_rows,
                     "others": [str(others)] * numbers.num_rows,
                     "prefix": [sys.prefix] * numbers.num_rows})

@zerrow.model()
@needs("2.0")
def second(first=zerrow.Model("first"), flights=zerrow.Model("flights", filter="delay > 3")):
    import tiny
    return first.append_column("then", pa.array([tiny.VERSION] * first.num_rows)).append_column(
        "delays", pa.array([flights["delay"].to_pylist()] * first.num_rows))

@zerrow.model()
@needs("1.0")
def third(second=zerrow.Model("second")):
    return second

@zerrow.expectation()
@needs("1.0")
def is_new(joined=zerrow.Model("joined")):
    import tiny
    return joined.num_rows == 2 and tiny.VERSION == "1.0"
"""
)
JOINED = "SELECT * FROM third WHERE \"by\" = '1.0'\n"
PROJECT = "name: several\nsources:\n  flights: flights.parquet\n"


@pytest.fixture
def several(project):
    folder = project({"zerrow_project.yml": PROJECT, "models.py": MODELS, "joined.sql": JOINED})
    pq.write_table(pa.table({"delay": [1, 5]}), folder / "flights.parquet")
    return folder


def test_models_in_several_environments_exchange_tables(zerrow, several, offline, tmp_path):
    outcome = zerrow("run", "-p", several, "--strict", "--output", tmp_path / "out", "-O", "json")
    assert outcome.code == 0, outcome
    (row, other) = pq.read_table(tmp_path / "out/joined.parquet").to_pylist()
    prefix = Path(row.pop("prefix"))
    assert prefix.parent == offline.folder
    assert row == {"n": 2, "by": "1.0", "others": "[]", "then": "2.0", "delays": [5]}
    assert other["n"] == 3
    assert len(offline.complete()) == 2
    assert "Installing tiny==1.0 for 'first' and 'third' and 'is_new' ..." in outcome.err
    assert "Installing tiny==2.0 for 'second' ..." in outcome.err
    models = outcome.models
    assert models["third"]["new_bytes"] == 0  # handed over by reference, as ever

    again = zerrow("run", "-p", several, "-O", "json")
    assert again.code == 0, again
    assert "Install" not in again.err


def test_explain_says_which_environment_a_model_has(zerrow, several, offline):
    shown = zerrow("explain", "-p", several)
    assert shown.code == 0, shown
    version = "{}.{}.{}".format(*sys.version_info[:3])
    assert f"in an environment of its own: Python {version} with tiny==1.0\n" in shown.out
    nodes = json.loads(zerrow("explain", "-p", several, "-O", "json").out)["nodes"]
    environments = {node["name"]: node["environment"] for node in nodes}
    assert environments["numbers"] is None
    assert environments["second"] == {"python": version, "packages": ["tiny==2.0"]}


@pytest.mark.parametrize(
    "case",
    [
        ({"tiny": "9.9"}, ["no version of tiny==9.9", "unsatisfiable"]),
        ({"nowhere": "1.0"}, ["no version of nowhere==1.0"]),
        ({"tiny": "1.0", "pyarrow": "20.0"}, ["Zerrow itself needs pyarrow=="]),
        ({"broken": "1.0"}, ["import broken: ModuleNotFoundError: No module named 'not_there'"]),
        ({"deadly": "1.0"}, ["import deadly: this ended its process with status -6"]),
    ],
)
def test_what_cannot_be_had_is_said_before_anything_runs(zerrow, one, environments, tmp_path, case):
    packages, words = case
    folder = one(packages)
    (folder / "other.py").write_text(
        "import zerrow, pyarrow as pa\n@zerrow.model()\ndef other():\n"
        f"    open({str(tmp_path / 'ran')!r}, 'w')\n    return pa.table({{'n': [1]}})\n"
    )
    outcome = zerrow("run", "-p", folder)
    assert outcome.code == 1, outcome
    for text in ["models.py:7", "model", *words]:
        assert text in outcome.err, outcome
    assert not (tmp_path / "ran").exists()
    assert environments.complete() == []
    assert environments.left() == []


def test_packages_may_bring_tests_along(zerrow, one, environments):
    outcome = zerrow("run", "-p", one({"slow": "1.0"}, "import slow; return pa.table({'n': [1]})"))
    assert outcome.code == 0, outcome


def test_a_package_of_the_function_is_not_there_when_the_file_is_imported(zerrow, one, offline):
    outcome = zerrow("run", "-p", one({"tiny": "1.0"}, top="import tiny"))
    assert outcome.code == 1, outcome
    assert "models.py:3" in outcome.err
    assert "import it inside of the function" in outcome.err


def test_what_the_environment_lacks_is_named(zerrow, one, offline):
    outcome = zerrow("run", "-p", one({"tiny": "1.0"}, "import pandas"))
    assert outcome.code == 1, outcome
    assert "No module named 'pandas'" in outcome.err
    assert "an environment of its own, with tiny==1.0: add the package to pip=" in outcome.err


def test_a_resident_engine_keeps_their_zygotes(several, offline, monkeypatch, tmp_path):
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))

    def command(*words):
        words = [sys.executable, "-m", "zerrow._entry", *words, "-O", "json"]
        return json.loads(subprocess.run(words, capture_output=True, check=True).stdout)

    command("engine", "start")
    try:
        for _ in range(2):
            report = command("run", "-p", several, "--engine", "resident")
            assert report["status"] == "success"
        zygotes = [Path(zygote["python"]) for zygote in command("engine", "status")["zygotes"]]
    finally:
        command("engine", "stop")
    own = [python for python in zygotes if python.is_relative_to(offline.folder)]
    assert len(own) == 2, zygotes
    assert len(zygotes) == 3


def test_inline_has_the_environment_too(zerrow, one, offline):
    body = "import tiny; return pa.table({'package': [tiny.__name__]})"
    folder = one({"tiny": "1.0"}, body)
    outcome = zerrow("run", "-p", folder, "--inline", "model", "--preview", "1")
    assert outcome.code == 0, outcome
    assert "tiny" in map(str.strip, outcome.out.splitlines())
