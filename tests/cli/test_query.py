"""`zerrow query`."""

import csv
import io
import json
import pty
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ALL = "SELECT * FROM same ORDER BY n"


@pytest.fixture
def project(project):
    pq.write_table(pa.table({"n": [1, 2], "city": ["Rom", None]}), project.folder / "c.parquet")
    (project.folder / "zerrow_project.yml").write_text(
        "name: small\nparameters:\n  rows: {type: int, default: 12}\nsources: {cities: c.parquet}\n"
    )
    return project


def test_a_table_is_all_that_is_printed(project):
    done = project.run("query", ALL)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "<query>: 12 rows, 1 column"
    assert [line.strip() for line in lines[1:]] == [
        "n",
        "int64",
        *map(str, range(10)),
        "… more rows: 2",
    ]
    assert "numbers | making 12 rows" in done.stderr
    few = project.run("query", ALL, "--max-rows", "1").stdout.splitlines()
    assert few[-1] == "… more rows: 11"
    assert few[3].strip() == "0"
    none = project.run("query", ALL, "--max-rows", "0").stdout.splitlines()
    assert [line.strip() for line in none[1:]] == ["n", "int64", "… more rows: 12"]
    assert len(project.run("query", ALL, "--all-rows").stdout.splitlines()) == 3 + 12


def test_it_reads_sources_and_models_and_runs_only_what_it_needs(project):
    text = "SELECT city, same.n FROM cities JOIN same USING (n) ORDER BY 2"
    done = project.run("query", text, "-O", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [column["name"] for column in document["columns"]] == ["city", "n"]
    assert document["rows"] == [["Rom", 1], [None, 2]]
    assert document["total_rows"] == 2
    alone = project.run("query", "SELECT 1 AS one", "-O", "json")
    assert json.loads(alone.stdout)["rows"] == [[1]]
    assert "numbers" not in alone.stderr


def test_parameters_engines_and_files(project):
    file = project.folder / "q.sql"
    file.write_text("-- zerrow: engine=duckdb\nSELECT count(*) AS n, $rows::INT AS r\nFROM same\n")
    done = project.run("query", "--file", "q.sql", "--param", "rows=7", "-O", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == [[7, 7]]


def test_values_are_typed(project):
    text = """SELECT 1.5 AS f, 'NaN'::DOUBLE AS nan, 12.50::DECIMAL(9, 2) AS d, NULL AS z,
        TIMESTAMP '2013-01-31 05:15:00' AS t, [1, 2] AS l, 9007199254740993 AS big,
        'é' AS s, '\\xff'::BLOB AS b, {'k': true} AS m, repeat('x', 5000) AS long"""
    done = project.run("query", "-- zerrow: engine=duckdb\n" + text, "-O", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    wanted = [1.5, "NaN", "12.50", None, "2013-01-31T05:15:00", [1, 2], 9007199254740993]
    types = [column["type"] for column in document["columns"]]
    assert types[1:3] == ["double", "decimal128(9, 2)"]
    (row,) = document["rows"]
    assert row[1:7] == wanted[1:]
    assert float(row[0]) == 1.5
    assert row[7:] == ["é", "/w==", {"k": True}, "x" * 5000]


def test_files_have_all_rows_and_tell_their_format(project):
    for name in ("out.parquet", "out.csv", "out.json"):
        done = project.run("query", ALL, "--output", name)
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
        assert f"wrote {project.folder / name}" in done.stderr
    assert pq.read_table(project.folder / "out.parquet")["n"].to_pylist() == list(range(12))
    assert (project.folder / "out.csv").read_text().split() == ['"n"', *map(str, range(12))]
    assert json.loads((project.folder / "out.json").read_text())["total_rows"] == 12
    first = project.run("query", ALL, "--output", "o", "-O", "json", "--max-rows", "2")
    assert first.returncode == 0, first.stderr
    document = json.loads((project.folder / "o").read_text())
    assert (document["rows"], document["total_rows"]) == ([[0], [1]], 12)


def test_pipes_take_csv_and_parquet_and_terminals_no_parquet(project):
    text = project.run("query", "SELECT city, n FROM cities ORDER BY n", "-O", "csv").stdout
    assert list(csv.reader(io.StringIO(text))) == [["city", "n"], ["Rom", "1"], ["", "2"]]
    piped = subprocess.run(
        project.command("query", ALL, "-O", "parquet"),
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        check=True,
    )
    assert pq.read_table(pa.BufferReader(piped.stdout)).num_rows == 12
    _terminal, other_end = pty.openpty()
    refused = subprocess.run(
        project.command("query", ALL, "-O", "parquet"),
        cwd=project.folder,
        env=project.environment,
        stdout=other_end,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "Parquet isn't for a terminal" in refused.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT *\nFROM nubmers", '<query>:2: unknown input "nubmers"; did you mean "numbers"?'),
        ("SELECT *\n\nFROM same WHERE", "<query>:3: "),
        ("SELECT *\nFROM same\nWHERE n < $rwos", "<query>:3: "),
        ("-- zerrow: name=x\nSELECT 1", "<query>:1: a query has no setting 'name'"),
        ("DROP TABLE same", "<query>:1: "),
    ],
)
def test_errors_name_the_querys_line(project, text, message):
    done = project.run("query", text)
    assert done.returncode == 1, done.stderr
    assert message in done.stderr
    assert done.stdout == ""
    (project.folder / "q.sql").write_text(text)
    from_file = project.run("query", "--file", "q.sql")
    assert (
        message.replace("<query>:", f"{project.folder}/q.sql:").split(": ")[0] in from_file.stderr
    )


def test_a_model_that_fails_is_told_and_nothing_is_printed(project):
    (project.folder / "bad.py").write_text(
        "import zerrow\n\n\n@zerrow.model()\ndef bad():\n    raise ValueError('no')\n"
    )
    done = project.run("query", "SELECT * FROM bad", "-O", "csv")
    assert (done.returncode, done.stdout) == (1, "")
    assert "bad.py:6: bad: ValueError: no" in done.stderr
    report = project.json("query", "SELECT * FROM bad", code=1)
    assert report["status"] == "failed"
    assert project.run("query", "--file", "gone.sql").returncode == 2
