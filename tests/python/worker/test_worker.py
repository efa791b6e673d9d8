"""Tasks: what a worker answers, and how it says what went wrong."""

import datetime
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from zerrow import _native
from zerrow._sql import operator_text

TABLE = pa.table({"x": [1, 2, 3], "name": ["a", "b", None]})


def test_parameters_and_helper_modules(plain_zygote, tmp_path):
    (tmp_path / "helper.py").write_text("def double(n):\n    return 2 * n\n")
    outcome = plain_zygote.call(
        tmp_path,
        "from helper import double\ndef f(a, n):\n    return [{'n': double(n), 'rows': len(a)}]\n",
        [("a", TABLE)],
        parameters={"n": 21},
    )
    assert outcome.table.to_pylist() == [{"n": 42, "rows": 3}]


def test_an_exception_is_told_with_the_users_frames(plain_zygote, tmp_path):
    (tmp_path / "helper.py").write_text("def fail():\n    return {}['missing']\n")
    source = "from helper import fail\n\ndef f(a):\n    return fail()\n"
    error = plain_zygote.call(tmp_path, source, [("a", TABLE)]).error
    assert error["message"] == "KeyError: 'missing'"
    assert (error["file"], error["line"]) == ("helper.py", 2)
    assert 'File "model.py", line 4, in f' in error["traceback"]
    assert "site-packages" not in error["traceback"]
    assert "_tasks_python" not in error["traceback"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import sys; sys.exit()", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise BaseException('odd')", "BaseException: odd"),
        ("f(a)", "RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_whatever_is_raised_is_an_answer(plain_zygote, tmp_path, code, message):
    outcome = plain_zygote.call(tmp_path, f"def f(a):\n    {code}\n", [("a", TABLE)])
    assert outcome.error["message"].startswith(message)
    assert (outcome.error["file"], outcome.error["line"]) == ("model.py", 2)
    assert outcome.exit_code == 0


def test_a_syntax_error_has_its_line(plain_zygote, tmp_path):
    error = plain_zygote.call(tmp_path, "def f(a):\n    return (\n", [("a", TABLE)]).error
    assert error["message"].startswith("SyntaxError")
    assert (error["file"], error["line"]) == ("model.py", 2)


def test_what_no_table_can_be_made_of(plain_zygote, tmp_path):
    error = plain_zygote.call(tmp_path, "def f(a):\n    return 42\n", [("a", TABLE)]).error
    assert error["message"].startswith("f() returned int; a model returns a pyarrow Table")


def test_declared_columns_are_checked(plain_zygote, tmp_path):
    source = "def f(a):\n    return a\n"
    fields = {"columns": ["x", "name"]}
    assert plain_zygote.call(tmp_path, source, [("a", TABLE)], **fields).table.equals(TABLE)
    for columns, reason in [
        (["x"], "it has 'name' besides"),
        (["x", "name", "z"], "it lacks 'z'"),
        (["name", "x"], "their order is 'x', 'name'"),
    ]:
        outcome = plain_zygote.call(tmp_path, source, [("a", TABLE)], columns=columns)
        assert reason in outcome.error["message"]


def test_columns_and_filter_of_an_input(plain_zygote, tmp_path):
    entry = {"columns": ["name"], "filter": "x >= 2"}
    outcome = plain_zygote.call(tmp_path, "def f(a):\n    return a\n", [("a", TABLE, entry)])
    assert outcome.table.to_pydict() == {"name": ["b", None]}


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("return True", True),
        ("return False", False),
        ("import numpy; return numpy.bool_(True)", True),
        ("import pyarrow; return pyarrow.scalar(False)", False),
        ("assert a.num_rows == 0, 'too many'", False),
    ],
)
def test_expectations(plain_zygote, tmp_path, code, value):
    outcome = plain_zygote.call(
        tmp_path, f"def f(a):\n    {code}\n", [("a", TABLE)], kind="expectation"
    )
    answered = outcome.answer["value"]
    assert answered["met"] is value
    if "assert" in code:
        assert answered["message"] == "too many"
        assert (answered["file"], answered["line"]) == ("model.py", 2)
    else:
        assert list(answered) == ["met"]


def test_an_expectation_must_say_yes_or_no(plain_zygote, tmp_path):
    outcome = plain_zygote.call(
        tmp_path, "def f(a):\n    pass\n", [("a", TABLE)], kind="expectation"
    )
    assert "must return True or False, not NoneType" in outcome.error["message"]


@pytest.mark.parametrize("engine", ["datafusion", "duckdb"])
def test_sql(plain_zygote, tmp_path, engine):
    outcome = plain_zygote.run(
        tmp_path,
        "sql",
        [("Names", TABLE), ("empty", TABLE.slice(0, 0))],
        model="m",
        engine=engine,
        sql='SELECT x + 1 AS y, name FROM "Names" WHERE x NOT IN (SELECT x FROM empty) ORDER BY x',
    )
    assert outcome.table.to_pydict() == {"y": [2, 3, 4], "name": ["a", "b", None]}


@pytest.mark.parametrize(
    ("engine", "sql", "said"),
    [
        ("datafusion", "SELECT x,\nnope FROM a", "2: there is no column 'nope'; there are 'name'"),
        (
            "datafusion",
            "SELECT 1/(x - 1) FROM a",
            "0: DataFusion error: Arrow error: Divide",
        ),
        ("datafusion", "CREATE TABLE b AS SELECT 1", "0: DataFusion: Error during planning: DDL"),
        ("duckdb", "SELECT x,\nnope FROM a", "2: DuckDB: Binder Error: Referenced column"),
    ],
)
def test_sql_errors(plain_zygote, tmp_path, engine, sql, said):
    outcome = plain_zygote.run(tmp_path, "sql", [("a", TABLE)], model="m", engine=engine, sql=sql)
    error = outcome.error
    assert f"{error['line']}: {error['message']}".startswith(said)
    assert "\n" not in error["message"]


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ({"kind": "filter", "condition": "x > 1"}, {"x": [2, 3], "name": ["b", None]}),
        (
            {"kind": "project", "columns": [["z", "x * 10"], ["x", "x"]]},
            {"z": [10, 20, 30], "x": [1, 2, 3]},
        ),
        ({"kind": "sort", "by": ["x desc"]}, {"x": [3, 2, 1], "name": [None, "b", "a"]}),
        ({"kind": "slice", "offset": 1, "length": 1}, {"x": [2], "name": ["b"]}),
        ({"kind": "slice", "offset": 2, "length": None}, {"x": [3], "name": [None]}),
        ({"kind": "slice", "offset": 9, "length": 1}, {"x": [], "name": []}),
        ({"kind": "dictionary", "columns": ["name"]}, {"x": [1, 2, 3], "name": ["a", "b", None]}),
        ({"kind": "project", "columns": [["u", "upper(name)"]]}, {"u": ["A", "B", None]}),
        (
            {
                "kind": "aggregate",
                "by": [],
                "measures": [["n", "count"], ["m", "max(x)"], ["k", "count(name)"]],
            },
            {"n": [3], "m": [3], "k": [2]},
        ),
    ],
)
def test_native_operators(plain_zygote, tmp_path, operator, expected):
    outcome = plain_zygote.run(tmp_path, "native", [("a", TABLE)], model="m", operator=operator)
    assert outcome.table.to_pydict() == expected


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        ({"kind": "filter", "condition": "nope > 1"}, "nope"),
        ({"kind": "sort", "by": ["nope"]}, "there is no column 'nope' to sort by"),
        ({"kind": "dictionary", "columns": ["nope"]}, "dictionary: there is no column 'nope'"),
        (
            {"kind": "project", "columns": [["u", "upper(x)"]]},
            "requires String, but rec",
        ),
        ({"kind": "aggregate", "by": [], "measures": [["m", "total(x)"]]}, "no function 'total'"),
        ({"kind": "aggregate", "by": [], "measures": [["m", "x"]]}, "'x' is not a measure"),
    ],
)
def test_native_errors(plain_zygote, tmp_path, operator, message):
    outcome = plain_zygote.run(tmp_path, "native", [("a", TABLE)], model="m", operator=operator)
    assert message in outcome.error["message"]


def test_tables_are_joined(plain_zygote, tmp_path):
    encoded = TABLE.set_column(1, "name", TABLE["name"].dictionary_encode())
    operator = {"kind": "concat"}
    inputs = [("a", TABLE), ("b", encoded)]
    outcome = plain_zygote.run(tmp_path, "native", inputs, model="m", operator=operator)
    assert outcome.table.to_pylist() == TABLE.to_pylist() * 2
    assert pa.types.is_dictionary(outcome.table.schema.field("name").type)
    inputs = [("a", TABLE), ("b", TABLE.select(["x"]))]
    outcome = plain_zygote.run(tmp_path, "native", inputs, model="m", operator=operator)
    assert "concat: column 'name' of 'a' is there 0 times in 'b'" in outcome.error["message"]


def test_the_project_file_may_name_what_the_operators_know():
    assert list(operator_text.AGGREGATES) == _native.aggregate_functions()


def test_sql_over_rows_without_columns(plain_zygote, tmp_path):
    def run(sql, engine):
        given = {"columns": None, "filter": None}
        return plain_zygote.run(
            tmp_path, "sql", [("t", TABLE.select([]), given)], model="m", sql=sql, engine=engine
        )

    counted = run("SELECT count(*) AS n FROM t", "datafusion")
    assert counted.table.to_pydict() == {"n": [3]}
    for sql in ("SELECT * FROM t", "SELECT * FROM t WHERE 1 = 1"):
        kept = run(sql, "datafusion").table
        assert (kept.num_rows, kept.num_columns) == (3, 0)
    refused = run("SELECT count(*) AS n FROM t", "duckdb")
    assert refused.error["message"].startswith("DuckDB can't hold rows without columns")


def test_an_input_may_have_rows_and_no_columns(plain_zygote, tmp_path):
    source = "def f(a):\n    return a\n"
    for condition, rows in ((None, 3), ("x >= 2", 2), ("x > 3", 0)):
        entry = {"columns": [], "filter": condition}
        table = plain_zygote.call(tmp_path, source, [("a", TABLE, entry)]).table
        assert (table.num_rows, table.num_columns) == (rows, 0)


@pytest.mark.parametrize(
    "operator",
    [
        {"kind": "filter", "condition": "1 = 1"},
        {"kind": "project", "columns": []},
    ],
)
def test_operators_keep_rows_without_columns(plain_zygote, tmp_path, operator):
    given = [("a", TABLE.select([]))]
    table = plain_zygote.run(tmp_path, "native", given, model="m", operator=operator).table
    assert (table.num_rows, table.num_columns) == (3, 0)


def test_rows_without_columns_are_shown_but_not_written(plain_zygote, tmp_path):
    given = [("a", TABLE.select([]))]
    shown = plain_zygote.run(tmp_path, "preview", given, model="a", rows=5).answer["value"]
    assert (shown["columns"], shown["total_rows"]) == ([], 3)
    path = tmp_path / "out.parquet"
    refused = plain_zygote.run(tmp_path, "export", given, model="a", path=str(path))
    assert "can't hold rows without columns, and these are 3" in refused.error["message"]
    assert not path.exists()
    empty = [("a", TABLE.select([]).slice(0, 0))]
    assert plain_zygote.run(tmp_path, "export", empty, model="a", path=str(path)).exit_code == 0
    assert pq.read_table(path).num_rows == 0


def source_fields(path, *reads):
    found = os.stat(path)
    times = [found.st_mtime_ns, found.st_ctime_ns]
    identity = [found.st_dev, found.st_ino, found.st_size, *times]
    files = [{"path": str(path), "identity": identity, "partition": None}]
    reads = [
        {"columns": columns, "filter": condition, "dictionary": False}
        for columns, condition in reads
    ]
    return {"table": "t", "files": files, "reads": reads}


def test_source(plain_zygote, tmp_path):
    rows = 200_000
    table = pa.table({"x": np.arange(rows), "y": ["t"] * rows})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=50_000)
    fields = source_fields(tmp_path / "t.parquet", (["x"], "x >= 199999"), (["y"], None))
    outcome = plain_zygote.run(tmp_path, "source", **fields)
    assert outcome.answer["op"] == "scanned"
    assert outcome.answer["blocks"] == [[0, 0], [0, 1]]
    assert outcome.answer["reads"] == [[1], [0, 1]]
    found = {(entry["block"], entry["column"]): table for entry, table in outcome.entries}
    assert found.keys() == {(1, "x"), (0, "y"), (1, "y")}
    assert found[1, "x"].equals(table.slice(150_000).select(["x"]))
    assert outcome.answer["timings"].keys() >= {"run_s", "cpu_s"}
    assert outcome.exit_code == 0


def test_source_that_is_not_parquet(plain_zygote, tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"not parquet at all")
    fields = source_fields(tmp_path / "t.parquet", (["x"], None))
    outcome = plain_zygote.run(tmp_path, "source", **fields)
    assert outcome.error["message"].startswith("source 't' can't be read: ")


def test_preview(plain_zygote, tmp_path):
    table = pa.table(
        {
            "n": [1, None, 3],
            "t": [datetime.datetime(2013, 1, 1, 5), None, None],
            "s": ["x" * 500, "", None],
        }
    )
    value = plain_zygote.run(tmp_path, "preview", [("a", table)], model="a", rows=2).answer["value"]
    assert value["columns"] == [["n", "int64"], ["t", "timestamp[us]"], ["s", "string"]]
    assert value["total_rows"] == 3
    assert value["rows"] == [[1, "2013-01-01T05:00:00", "x" * 500], [None, None, ""]]


def test_preview_shows_what_has_room(plain_zygote, tmp_path):
    wide = pa.table({f"c{i}": ["ä" * 200] * 1000 for i in range(100)})
    value = plain_zygote.run(tmp_path, "preview", [("a", wide)], model="a", rows=1000).answer[
        "value"
    ]
    assert value["total_rows"] == 1000
    assert 0 < len(value["rows"]) < 1000
    assert len(json.dumps(value, ensure_ascii=False).encode()) < 16 << 20
    row = ["ä" * 200] * 100
    assert all(shown == row for shown in value["rows"])
    # Deep types are cut, and names have to fit.
    deep = pa.table([pa.nulls(1, pa.struct({"x" * 3000: pa.int64()}))], names=["d"])
    value = plain_zygote.run(tmp_path, "preview", [("a", deep)], model="a", rows=1).answer["value"]
    assert len(value["columns"][0][1]) == 1000
    names = pa.table({"n" * (6 << 20) + str(i): [1] for i in range(3)})
    failed = plain_zygote.run(tmp_path, "preview", [("a", names)], model="a", rows=1)
    assert "too many to show" in failed.error["message"]


def test_the_outputs_content_is_hashed_if_that_is_asked_for(plain_zygote, tmp_path):
    tables = [("a", pa.table({"x": [1, 2, 3]}))]

    def hash_of(source, **fields):
        return plain_zygote.call(tmp_path, source, tables, **fields).answer["hash"]

    same = "def f(a): return a"
    assert hash_of(same) is None
    first = hash_of(same, hash=True)
    assert len(first) == 32
    cut = "import pyarrow as pa\ndef f(a): return pa.concat_tables([a.slice(0, 2), a.slice(2)])"
    assert hash_of(cut, hash=True) == first
    assert hash_of("def f(a): return a.slice(1)", hash=True) != first


def test_accounting_finds_what_was_copied_for_nothing(plain_zygote, tmp_path):
    source = (
        "import pyarrow as pa, numpy as np\ndef f(a):\n"
        "    x = a['x'].to_numpy()\n"
        "    return pa.table({'same': np.array(x), 'other': x + 1})\n"
    )
    table = pa.table({"x": np.arange(10_000)})
    outcome = plain_zygote.call(tmp_path, source, [("a", table)], account=True)
    assert outcome.answer["duplicate_bytes"] == 80_000
    assert plain_zygote.call(tmp_path, source, [("a", table)]).answer["duplicate_bytes"] is None
