"""docs/bauplan.md holds: its projects run, what works is used by them, the rest is refused."""

import datetime
import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zerrow
from zerrow._project import bauplan as provided

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/bauplan.md").read_text()
FILE = re.compile(r"^```\w+ file=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = dict(FILE.findall(PAGE))
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in PAGE[PAGE.index("| feature |") :].splitlines()[2:]
]
TRIPS = pa.table(
    {
        "zone": ["north", None, "south", "north"],
        "miles": [3.5, 8.0, 0.5, 2.0],
        "pickup": [datetime.datetime(2024, 1, day) for day in (1, 2, 3, 4)],
        "unread": [1, 2, 3, 4],
    }
)


def code_of(cell):
    return [text.replace("\\|", "|") for text in re.findall(r"`([^`]+)`", cell)]


def rows(here):
    return [(feature, how) for feature, found, how in ROWS if found == here]


@pytest.fixture(scope="module")
def projects(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bauplan")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.replace('"3.11"', f'"{PYTHON}"'))
    for project in ("two", "three"):
        pq.write_table(TRIPS, folder / project / "trips.parquet")
    return folder


def run(*words):
    done = subprocess.run(
        [sys.executable, "-m", "zerrow._entry", *words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


# The one that there are modules for: see docs/sdk.md.
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
EXPECTED = {
    "two": {"long_trips": 3, "as_polars": 3, "as_pandas": 3, "as_rows": 3, "trips_by_zone": 2},
    "three": {"long_trips": 2, "trips_by_zone": 1},
}


@pytest.mark.parametrize("project", EXPECTED)
def test_the_projects_run(projects, project):
    report = json.loads(run("run", "-p", projects / project, "--strict", "-O", "json"))
    made = {model["name"]: model["rows"] for model in report["models"] if model["kind"] != "source"}
    assert {name: made[name] for name in EXPECTED[project]} == EXPECTED[project]
    assert [one["status"] for one in report["models"] if one["kind"] == "expectation"] == [
        "success"
    ]


def test_a_parameter_is_set_by_each_of_its_names(projects):
    for option in ("-a", "--arg", "--param"):
        words = ("long_trips", "-p", projects / "three", option, "least=3", "-O", "json")
        shown = json.loads(run("show", *words))
        (preview,) = shown["previews"]
        assert [row[1] for row in preview["rows"]] == [3.5], option


def test_each_row_says_how_it_is():
    assert len(ROWS) > 40
    assert {len(row) for row in ROWS} == {3}
    assert {here for _, here, _ in ROWS} == {"works", "differs", "not here"}


def test_what_works_is_used_by_the_projects():
    used = "\n".join(FILES.values())
    for feature, _ in rows("works"):
        codes = code_of(feature)
        assert codes, feature
        if codes[0].startswith("run "):
            continue
        assert [code for code in codes if code not in used] == [], feature


def test_options_that_work_are_the_commands():
    works = [code_of(feature) for feature, _ in rows("works")]
    (codes,) = [codes for codes in works if codes[0] == "run -p"]
    options = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", run("run", "--help")))
    assert {code.removeprefix("run ") for code in codes} <= options


REFUSED = [
    code
    for feature, _ in rows("not here")
    for code in code_of(feature)
    if code.startswith("bauplan.")
]


@pytest.mark.parametrize("code", REFUSED)
def test_what_is_not_here_is_refused_in_words(code, monkeypatch):
    for name in ("bauplan", "bauplan.standard_expectations", "bauplan_sdk_types"):
        monkeypatch.setitem(sys.modules, name, None)
    provided.provide_module()
    with pytest.raises(zerrow.ProjectError, match=r"not supported yet|has none"):
        eval(code, {"bauplan": sys.modules["bauplan"]})
