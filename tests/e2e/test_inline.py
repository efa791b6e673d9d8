"""`zerrow run --inline MODEL`: the function runs in the command's own process."""

import os

import pyarrow as pa
import pyarrow.parquet as pq
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


def test_debugger_works_in_the_functions_own_process(start, debugged):
    started = start("run", "-p", debugged, "--inline", "large", "--param", "least=2")
    outcome = started.finish(typed="p least\nc\n")
    assert outcome.code == 0, outcome
    assert f"mine {started.process.pid} 1 2" in outcome.out
    assert "(Pdb) 2" in outcome.out
    assert "large: 1 rows" in outcome.out


def test_expectation_says_what_it_answers(zerrow, debugged):
    outcome = zerrow("run", "-p", debugged, "--inline", "enough")
    assert outcome.code == 0, outcome
    assert "enough: not met" in outcome.out


def test_exception_is_shown_with_the_users_line(zerrow, debugged):
    outcome = zerrow("run", "-p", debugged, "--inline", "broken")
    assert outcome.code == 1, outcome
    assert os.path.join(debugged, "models.py") in outcome.err


@pytest.mark.parametrize(
    ("model", "said"), [("nothing", "no model 'nothing'"), ("select_all", "sql model")]
)
def test_what_cannot_be_called_is_refused(zerrow, debugged, model, said):
    outcome = zerrow("run", "-p", debugged, "--inline", model)
    assert outcome.code == 2, outcome
    assert said in outcome.err


def test_sources_are_read_in_the_functions_own_process(zerrow, project):
    source = 'zerrow.Model("t", columns=["s"], filter="k > 1 AND n <> 3")'
    folder = project(
        {
            "zerrow_project.yml": "name: read\nsources:\n  t: data\n",
            "models.py": "import zerrow\n\n@zerrow.model()\n"
            f"def some(rows={source}):\n    return rows\n",
        }
    )
    for k in (1, 2):
        below = os.path.join(folder, "data", f"k={k}")
        os.makedirs(below)
        table = pa.table({"n": [1, 2, 3], "s": ["one", "two", "three"]})
        pq.write_table(table, os.path.join(below, "part.parquet"))
    outcome = zerrow("run", "-p", folder, "--inline", "some")
    assert outcome.code == 0, outcome
    assert "some: 2 rows" in outcome.out
    assert '[["one","two"]]' in outcome.out
