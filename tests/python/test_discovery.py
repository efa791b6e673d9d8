"""What `describe` says of a project, and of everything that can be wrong with one."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

FLIGHTS = pa.table({"carrier": ["AA", "UA"], "dep_delay": [1.0, None]})


def test_python_models_sources_and_parameters(project):
    project.write(
        "models/late.py",
        """
        import os
        import polars as pl
        import zerrow
        from helper import nothing

        @zerrow.model(columns=["carrier"], deterministic=False, tags=["x", "x"])
        @zerrow.resources(timeout=5, memory="512MiB")
        def late(
            flights=zerrow.Model("flights", columns=["carrier"], filter="dep_delay > 3"),
            limit=zerrow.Parameter("limit"),
            other=2,
        ):
            return flights

        @zerrow.expectation(name="fine")
        def is_fine(late=zerrow.Model("late")):
            return True
        """,
    )
    project.write("helper.py", "nothing = None\n")
    found = project.describe(limit="7")
    assert found["errors"] == []
    assert found["name"] == "flights"
    assert found["parameters"] == [
        {"name": "limit", "type": "int", "value": 7, "file": "zerrow_project.yml", "line": 3}
    ]
    source = found["sources"][0]
    assert source["files"] == [
        {"path": str(project.path / "data/flights.parquet"), "partition": None}
    ]
    assert source["columns"][1] == {"name": "dep_delay", "type": "double", "bytes": 16}
    assert (source["table"], source["line"]) == ("flights", 5)
    late, fine = found["models"]
    assert len(late.pop("code")) == 32
    assert late == {
        "name": "late",
        "kind": "python",
        "file": "models/late.py",
        "line": 8,
        "function": "late",
        "module": "models/late.py",
        "sql": None,
        "engine": None,
        "operator": None,
        "inputs": [
            {
                "parameter": "flights",
                "model": "flights",
                "columns": ["carrier"],
                "filter": "dep_delay > 3",
                "filter_columns": ["dep_delay"],
                "dictionary": "never",
                "line": 9,
            }
        ],
        "parameters": [{"argument": "limit", "name": "limit"}],
        "columns": [{"name": "carrier", "type": None, "nullable": None, "lineage": None}],
        "contract": None,
        "timeout_s": 5.0,
        "memory_bytes": 512 << 20,
        "deterministic": False,
        "environment": None,
        "imports": ["polars"],
        "tags": ["x"],
    }
    assert (fine["name"], fine["kind"], fine["function"]) == ("fine", "expectation", "is_fine")
    assert (fine["memory_bytes"], fine["deterministic"]) == (None, True)


def test_a_models_code_is_that_of_its_files(project):
    def codes():
        return {model["name"]: model["code"] for model in project.describe()["models"]}

    model = "import zerrow\nimport {}\n@zerrow.model()\ndef {}(): ...\n"
    project.write("a.py", model.format("helper", "a"))
    project.write("b.py", model.format("helper", "b"))
    project.write("helper.py", "x = 1\n")
    before = codes()
    assert before["a"] != before["b"]
    assert codes() == before
    project.write("helper.py", "x = 2\n")
    assert codes() == before
    project.write("a.py", model.format("helper", "a") + "# more\n")
    after = codes()
    assert after["a"] != before["a"]
    assert after["b"] == before["b"]


def test_a_sources_columns_have_the_size_that_they_take_decoded(project):
    rows = 30_000
    table = pa.table(
        {
            "number": pa.array(range(rows), pa.int32()),
            "text": [f"{i:020}" for i in range(rows)],
            "nested": pa.array([[i] for i in range(rows)], pa.list_(pa.int64())),
        }
    )
    pq.write_table(table, project.path / "data/flights.parquet", row_group_size=100)
    (source,) = project.describe()["sources"]
    sizes = {column["name"]: column["bytes"] for column in source["columns"]}
    assert sizes["number"] == 4 * rows
    for name in ("text", "nested"):
        assert sizes[name] == pytest.approx(table[name].nbytes, rel=0.3), name


def test_only_files_that_declare_models_are_imported(project):
    bomb = "import zerrow\nraise RuntimeError('imported')\n"
    project.write("script.py", bomb)
    declaring = bomb + "@zerrow.model()\ndef f(): ...\n"
    for file in ("tests/a.py", ".hidden/a.py", "test_a.py", "a_test.py", "conftest.py"):
        project.write(file, declaring)
    project.write("myenv/pyvenv.cfg", "")
    project.write("myenv/lib/a.py", declaring)
    project.write("inner/zerrow_project.yml", "name: inner")
    project.write("inner/a.py", declaring)
    assert project.errors() == []
    project.write(
        "renamed.py",
        "from zerrow import model as table\nraise OSError('yes')\n@table\ndef f(): ...",
    )
    assert project.error() == ("renamed.py", 2, "importing renamed.py failed: OSError: yes")


def test_a_failing_import_is_one_error_with_the_users_frames(project):
    project.write(
        "a.py",
        """
        import zerrow
        from helper import compute
        compute()
        @zerrow.model()
        def f(): ...
        """,
    )
    project.write("b.py", "import a\nimport zerrow\n@zerrow.model()\ndef g(): ...\n")
    project.write("helper.py", "import json\ndef compute():\n    json.loads('{')\n")
    found = project.describe()
    (error,) = found["errors"]
    assert (error["file"], error["line"]) == ("helper.py", 3)
    assert error["message"].startswith("importing a.py failed: JSONDecodeError: ")
    assert 'File "a.py", line 3' in error["traceback"]
    assert "json.loads('{')" in error["traceback"]
    assert "importlib" not in error["traceback"]


def test_files_beside_a_model_are_imported_relatively(project):
    project.write("models/near.py", "x = 1\n")
    for line in ("from .near import x", "from models.near import x", "import models.near"):
        project.write("models/a.py", f"import zerrow\n{line}\n@zerrow.model()\ndef f(): ...\n")
        assert project.errors() == []
    project.write("models/a.py", "import zerrow, near\n@zerrow.model()\ndef f(): ...\n")
    assert "models/near.py is found as `from .near import ...`" in project.error()[2]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("raise SystemExit(3)", "ended the process (SystemExit: 3)"),
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_an_import_that_ends_names_file_and_line(project, line, message):
    project.write("a.py", f"import zerrow\n{line}\n@zerrow.model()\ndef f(): ...\n")
    file, number, text = project.error()
    assert (file, number) == ("a.py", 2)
    assert message in text


def test_an_import_that_hangs_names_file_and_line(project):
    project.import_timeout_s = "0.5"
    project.write("b.py", "import zerrow\n@zerrow.model()\ndef g(): ...\n")
    project.write("a.py", "import time, zerrow\ntime.sleep(60)\n@zerrow.model()\ndef f(): ...\n")
    file, line, text = project.error()
    assert (file, line) == ("a.py", 2)
    assert "still being imported after 0.4 s" in text


def test_names_are_fit_for_files_and_tables(project):
    project.write("a.py", "import zerrow\n@zerrow.model(name='../x')\ndef f(): ...\n")
    file, line, text = project.error()
    assert (file, line) == ("a.py", 3)
    assert text.startswith("model '../x': a name consists of")


def test_files_that_cannot_be_read_are_errors(project):
    (project.path / "a.py").symlink_to("nowhere")
    (project.path / "b.sql").symlink_to("nowhere")
    project.write("c.py", "import zerrow" + "\0")
    assert [file for file, _, _ in project.errors()] == ["a.py", "c.py", "b.sql"]


def test_syntax_errors_have_a_line(project):
    project.write("a.py", "import zerrow\ndef f(:\n")
    assert project.error() == ("a.py", 2, "SyntaxError: invalid syntax")


def test_files_whose_names_are_no_identifiers_or_those_of_libraries(project):
    model = "import zerrow\n@zerrow.model()\ndef {}(): ...\n"
    project.write("01-load.py", model.format("a"))
    project.write("json.py", model.format("b"))
    project.write("sub/deep/x.py", model.format("c"))
    found = project.describe()
    assert found["errors"] == []
    assert [(model["name"], model["file"]) for model in found["models"]] == [
        ("a", "01-load.py"),
        ("b", "json.py"),
        ("c", "sub/deep/x.py"),
    ]


FUNCTION_MISTAKES = {
    "argument 'flights' stands for nothing": "def f(flights): ...",
    "*tables: each input": "def f(*tables): ...",
    "**tables: each input": "def f(**tables): ...",
    "is positional-only": "def f(t=zerrow.Model('flights'), /): ...",
    "write zerrow.Model('...')": "def f(t=zerrow.Model): ...",
    "f() is async": "async def f(): ...",
    "f() yields": "def f():\n    yield 1",
    "annotated as int, but an input": "def f(t: int = zerrow.Model('flights')): ...",
    "annotated as pl.Dataframe": "def f(t: 'pl.Dataframe' = zerrow.Model('flights')): ...",
}


@pytest.mark.parametrize("message", FUNCTION_MISTAKES)
def test_mistakes_in_a_function(project, message):
    project.write("a.py", f"import zerrow\n@zerrow.model()\n{FUNCTION_MISTAKES[message]}\n")
    file, line, text = project.error()
    assert (file, line) == ("a.py", 3)
    assert message in text


def test_a_function_that_is_no_model(project):
    project.write("a.py", "import zerrow\n@zerrow.resources(timeout=1)\ndef half(): ...\n")
    file, line, text = project.error()
    assert (file, line) == ("a.py", 3)
    assert "neither @zerrow.model nor @zerrow.expectation" in text


def test_annotations_are_refused_at_their_input(project):
    project.write(
        "a.py",
        """
        from __future__ import annotations
        import zerrow
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            import numpy as np
            import polars as frames

        @zerrow.model()
        def f(
            a: frames.DataFrame = zerrow.Model("flights"),
            b: np.ndarray = zerrow.Model("flights"),
            limit: np.ndarray = zerrow.Parameter("limit"),
        ) -> np.ndarray: ...
        """,
    )
    file, line, text = project.error()
    assert (file, line) == ("a.py", 11)
    assert "argument 'b' is annotated as np.ndarray" in text


def test_a_refused_argument_is_reported_at_its_line(project):
    project.write("a.py", "import zerrow\n\n@zerrow.model(partitioned_by=['a'])\ndef f(): ...\n")
    file, line, text = project.error()
    assert (file, line) == ("a.py", 3)
    assert text.startswith("@zerrow.model: partitioned_by is not supported yet")


MODEL = "name: x\nmodels:\n  - name: m\n    input: f\n"
PROJECT_FILES = {
    "is not a project": (None, 0),
    "the file is empty": ("", 1),
    "not valid YAML": ("name: x\nsources: {\n", 3),
    "must consist of": ("- a\n", 1),
    "name is missing": ("sources: {}\n", 1),
    "no setting 'source'; did you mean 'sources'": ("name: x\nsource: {}\n", 2),
    "'a' is there twice": ("name: x\nsources:\n  a: x\n  a: y\n", 4),
    "parameters must be": ("name: x\nparameters: [a]\n", 2),
    "parameter 'p' needs": ("name: x\nparameters:\n  p: 3\n", 3),
    "type must be one of": ("name: x\nparameters:\n  p:\n    type: date\n", 4),
    "secret is not supported": ("name: x\nparameters:\n  p:\n    type: secret\n", 4),
    "but its default is 'x'": ("name: x\nparameters:\n  p:\n    type: int\n    default: x\n", 5),
    "required must be true": ("name: x\nparameters:\n  p:\n    required: 1\n", 4),
    "a name consists of": ("name: x\nparameters:\n  a-b: {}\n", 3),
    "no setting 'defualt'": ("name: x\nparameters:\n  p: {defualt: 1}\n", 3),
    "source 's' must be": ("name: x\nsources:\n  s: [a]\n", 3),
    "there is no file or folder data/none": ("name: x\nsources:\n  s: data/none.parquet\n", 3),
    "no file matches": ("name: x\nsources:\n  s: data/*.pq\n", 3),
    "has no .parquet file": ("name: x\nsources:\n  s: empty\n", 3),
    "is not a local path": ("name: x\nsources:\n  s: s3://b/x.parquet\n", 3),
    "source '../s': a name consists of": ("name: x\nsources:\n  ../s: a\n", 3),
    "must be a finite number": ("name: x\nparameters:\n  p: {default: .inf}\n", 3),
    "fit in 64 bits": (f"name: x\nparameters:\n  p: {{default: {2**70}}}\n", 3),
    "not valid YAML: maximum recursion": ("name: &a [*a]\n", 1),
    "name must be a text, not 3": ("name: 3\n", 1),
    "models must be a list, not {}": ("name: x\nmodels: {}\n", 2),
    "model 'm': sort must be `name: ...` lines, not ['a']": (
        f"{MODEL}    operator: sort\n    sort: [a]\n",
        6,
    ),
    "model 'm': sort.by[1] must be a text, not {'a': 'b'}": (
        f"{MODEL}    operator: sort\n    sort:\n      by:\n      - a\n      - a: b\n",
        9,
    ),
    "model 'm': aggregate.measures.n must be a text, not [1]": (
        f"{MODEL}    operator: aggregate\n    aggregate:\n      measures:\n        n: [1]\n",
        8,
    ),
    "can't be read as Parquet": ("name: x\nsources:\n  s: zerrow_project.yml\n", 3),
}


@pytest.mark.parametrize("message", PROJECT_FILES)
def test_mistakes_in_the_project_file(project, message):
    text, line = PROJECT_FILES[message]
    (project.path / "empty").mkdir()
    if text is None:
        (project.path / "zerrow_project.yml").unlink()
    else:
        (project.path / "zerrow_project.yml").write_text(text)
    file, where, said = project.error()
    assert (file, where) == ("zerrow_project.yml", line)
    assert message in said


def test_several_mistakes_are_said_at_once(project):
    (project.path / "zerrow_project.yml").write_text(
        "name: x\nsources:\n  a: none\n  b: none\nparameters:\n  p: 3\n  q: {required: true}\n"
    )
    assert {line for _, line, _ in project.errors()} == {3, 4, 6, 7}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("str", "7", "7"),
        ("int", "-7", -7),
        ("float", "7", 7.0),
        ("bool", "true", True),
        ("bool", "False", False),
    ],
)
def test_parameters_are_read_as_their_type(project, kind, text, value):
    (project.path / "zerrow_project.yml").write_text(
        f"name: x\nparameters:\n  p: {{type: {kind}, required: true}}\n"
    )
    (parameter,) = project.describe(p=text)["parameters"]
    assert parameter["value"] == value
    assert type(parameter["value"]) is type(value)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("int", "7.5", "must be a whole number, not '7.5'"),
        ("int", str(2**63), "must fit in 64 bits"),
        ("float", "x", "must be a number"),
        ("float", "nan", "must be a finite number"),
        ("bool", "yes", "must be true or false, not 'yes'"),
    ],
)
def test_parameters_of_the_wrong_type(project, kind, text, message):
    (project.path / "zerrow_project.yml").write_text(
        f"name: x\nparameters:\n  p: {{type: {kind}}}\n"
    )
    assert message in project.error(p=text)[2]


def test_unknown_and_unset_parameters(project):
    assert "no such parameter; did you mean 'limit'?" in project.error(limits="3")[2]
    (project.path / "zerrow_project.yml").write_text(
        "name: x\nparameters:\n  p: {required: true}\n"
    )
    assert project.error() == (
        "zerrow_project.yml",
        3,
        "parameter 'p' is required: pass --param p=...",
    )


def test_sources_are_files_folders_and_globs(project):
    folder = project.path / "data" / "many"
    (folder / "sub").mkdir(parents=True)
    for name in ("b.parquet", "a.parquet", "_metadata.parquet", ".a.parquet", "sub/c.parquet"):
        pq.write_table(FLIGHTS, folder / name)
    project.write(
        "zerrow_project.yml", "name: x\nsources:\n  f: data/many\n  g: data/many/*.parquet\n"
    )
    found = project.describe()
    assert found["errors"] == []
    files = {
        source["table"]: [file["path"].removeprefix(f"{folder}/") for file in source["files"]]
        for source in found["sources"]
    }
    assert files == {
        "f": ["a.parquet", "b.parquet", "sub/c.parquet"],
        "g": ["a.parquet", "b.parquet"],
    }


def test_files_of_a_source_must_agree(project):
    many = project.path / "data" / "many"
    many.mkdir()
    pq.write_table(pa.table({"a": [1], "b": [2]}), many / "1.parquet")
    project.write("zerrow_project.yml", "name: x\nsources:\n  s: data/many\n")
    pq.write_table(pa.table({"b": [2], "a": [1]}), many / "2.parquet")
    assert project.errors() == []
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), many / "2.parquet")
    message = project.error()[2]
    assert "column 'b' is int64 in" in message
    assert "but string in" in message
    pq.write_table(pa.table({"a": [1]}), many / "2.parquet")
    assert "is missing in" in project.error()[2]
