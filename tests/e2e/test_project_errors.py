"""What is wrong with a project is said before anything runs: one error, with file and line."""

import pytest

HEAD = """\
import pyarrow as pa
import zerrow


@zerrow.model()
def numbers():
    open("ran", "w").close()
    return pa.table({"n": [1, 2, 3]})
"""

# name: (files, options, where it is said to be, words of the message)
CASES = {
    "cycle": (
        {
            "models.py": HEAD
            + """

@zerrow.model()
def first(second=zerrow.Model("second")):
    return second


@zerrow.model()
def second(first=zerrow.Model("first")):
    return first
"""
        },
        [],
        ["models.py:"],
        ["cycle", "first", "second"],
    ),
    "duplicate name": (
        {"models.py": HEAD, "other.sql": "-- zerrow: name=numbers\nSELECT 1 AS n"},
        [],
        ["models.py:6", "other.sql:1"],
        ["numbers"],
    ),
    "unknown input": (
        {
            "models.py": HEAD
            + """

@zerrow.model()
def after(
    numbers=zerrow.Model("nombers"),
):
    return numbers
"""
        },
        [],
        ["models.py:13"],
        ["nombers", "numbers"],
    ),
    "unknown input of SQL": (
        {"models.py": HEAD, "models/sum.sql": "SELECT sum(n) AS s\nFROM nombers"},
        [],
        ["models/sum.sql"],
        ["nombers"],
    ),
    "unknown column": (
        {
            "models.py": HEAD.replace("@zerrow.model()", '@zerrow.model(columns=["n"])')
            + """

@zerrow.model()
def after(numbers=zerrow.Model("numbers", columns=["m"])):
    return numbers
"""
        },
        [],
        ["models.py:12"],
        ["m", "numbers"],
    ),
    "bad filter": (
        {
            "models.py": HEAD
            + """

@zerrow.model()
def after(numbers=zerrow.Model("numbers", filter="n >> ")):
    return numbers
"""
        },
        [],
        ["models.py:12"],
        ["n >> "],
    ),
    "filter with an unknown parameter": (
        {
            "models.py": HEAD
            + """

@zerrow.model()
def after(numbers=zerrow.Model("numbers", filter="n > $least")):
    return numbers
"""
        },
        [],
        ["models.py:12"],
        ["least"],
    ),
    "required parameter not set": (
        {
            "zerrow_project.yml": "name: tiny\nparameters:\n  least: {type: int, required: true}\n",
            "models.py": HEAD,
        },
        [],
        ["zerrow_project.yml:3"],
        ["least", "--param"],
    ),
    "parameter of another type": (
        {
            "zerrow_project.yml": "name: tiny\nparameters:\n  least: {type: int, default: 1}\n",
            "models.py": HEAD,
        },
        ["--param", "least=many"],
        ["zerrow_project.yml:3"],
        ["many", "whole number"],
    ),
    "import raises": (
        {"models.py": HEAD + "\nraise RuntimeError('not today')\n"},
        [],
        ["models.py:10"],
        ["not today"],
    ),
    "import exits": (
        {"models.py": HEAD + "\nimport os\nos._exit(0)\n"},
        [],
        ["models.py"],
        ["exit"],
    ),
    "syntax error": (
        {"models.py": HEAD + "\n\ndef broken(:\n"},
        [],
        ["models.py:11"],
        ["syntax"],
    ),
    "argument that is no input": (
        {"models.py": HEAD + "\n\n@zerrow.model()\ndef after(numbers):\n    return numbers\n"},
        [],
        ["models.py:12"],
        ["numbers"],
    ),
    "unsupported argument": (
        {
            "models.py": HEAD
            + '\n\n@zerrow.model(partitioned_by="n")\ndef after():\n    return None\n'
        },
        [],
        ["models.py:11"],
        ["partitioned_by"],
    ),
    "source file missing": (
        {"zerrow_project.yml": "name: tiny\nsources:\n  trips: data/trips.parquet\n"},
        [],
        ["zerrow_project.yml:3"],
        ["data/trips.parquet"],
    ),
    "unknown native operator": (
        {
            "zerrow_project.yml": "name: tiny\nmodels:\n"
            "  - name: odd\n    operator: mangle\n    input: numbers\n",
            "models.py": HEAD,
        },
        [],
        ["zerrow_project.yml:"],
        ["mangle"],
    ),
    "unknown key in the project file": (
        {"zerrow_project.yml": "name: tiny\nsourcces: {}\n", "models.py": HEAD},
        [],
        ["zerrow_project.yml:2"],
        ["sourcces"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_one_clear_error_before_anything_runs(zerrow, project, name):
    files, options, places, words = CASES[name]
    folder = project(files)
    outcome = zerrow("run", "-p", folder, *options)
    assert outcome.code in (1, 2), outcome
    assert any(place in outcome.err for place in places), outcome
    for word in words:
        assert word.lower() in outcome.err.lower(), outcome
    assert not (folder / "ran").exists(), "a model ran although the project is wrong"


def test_an_import_that_hangs_is_named(zerrow, project, monkeypatch):
    monkeypatch.setenv("ZERROW_IMPORT_TIMEOUT_S", "2")
    folder = project({"models.py": HEAD + "\nimport time\ntime.sleep(600)\n"})
    outcome = zerrow("run", "-p", folder, timeout=90)
    assert outcome.code == 1, outcome
    assert "models.py" in outcome.err, outcome


def test_no_project_here(zerrow, tmp_path):
    outcome = zerrow("run", "-p", tmp_path)
    assert outcome.code in (1, 2), outcome
    assert "zerrow_project.yml" in outcome.err, outcome


def test_project_errors_are_in_the_json_too(zerrow, project):
    files, options, _, words = CASES["unknown input"]
    outcome = zerrow("run", "-p", project(files), "-O", "json", *options)
    assert outcome.code == 1, outcome
    assert outcome.report["status"] == "failed"
    assert words[0] in outcome.out
