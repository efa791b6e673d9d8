"""What `describe` makes of schemas, of projects in Bauplan's style, and of functions' packages."""

import json
import sys

import pytest


def test_a_schema_file_is_found_by_a_sql_model(project):
    project.write(
        "rows.py",
        """
        from typing import Annotated
        from zerrow import Float64, String, TableField, TableSchema

        class Rows(TableSchema):
            carrier: Annotated[String, TableField(lineage="the airline")]
            dep_delay: Float64 | None
        """,
    )
    project.write(
        "q.sql", "-- zerrow: output_schema = Rows\nSELECT dep_delay, carrier FROM flights"
    )
    (model,) = project.describe()["models"]
    assert model["columns"] == [
        {"name": "carrier", "type": "string", "nullable": False, "lineage": ["the airline"]},
        {"name": "dep_delay", "type": "double", "nullable": True, "lineage": ["flights.dep_delay"]},
    ]
    assert [row[:3] for row in json.loads(model["contract"])] == [
        ["carrier", "String", False],
        ["dep_delay", "Float64", True],
    ]
    project.write(
        "other.py", "import zerrow\nclass Rows(zerrow.TableSchema):\n    x: zerrow.Int64\n"
    )
    assert project.error()[2] == "output_schema: several files have a class Rows: other, rows"
    project.write("q.sql", "-- zerrow: output_schema=Row\nSELECT carrier FROM flights")
    assert (
        "no file of the project has a class Row of TableSchema; did you mean 'Rows'?"
        in (project.error()[2])
    )


BAUPLAN_YML = """
project: {id: x}
include_paths: [views/*.sql]
sources: {flights: data/flights.parquet}
"""


def test_a_project_file_of_bauplan_says_which_files_count(project):
    (project.path / "zerrow_project.yml").unlink()
    project.write("bauplan_project.yaml", BAUPLAN_YML)
    for path in ("a.sql", "views/b.sql", "other/c.sql"):
        project.write(path, "SELECT carrier FROM flights")
    model = "import bauplan\n@bauplan.model()\ndef {}(f=bauplan.Model('flights')):\n    return f\n"
    project.write("d.py", model.format("d"))
    project.write("other/e.py", model.format("e"))
    found = project.describe()
    assert (found["name"], found["errors"]) == (project.path.name, [])
    assert sorted(model["name"] for model in found["models"]) == ["a", "b", "d"]
    assert found["sources"][0]["file"] == "bauplan_project.yaml"


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("views/*.py", "must end in .sql"),
        ("/views/*.sql", "must end in .sql and stay in the project's folder"),
        ("../views/*.sql", "must end in .sql and stay in the project's folder"),
        ("nowhere/*.sql", "no file is named as 'nowhere/*.sql'"),
        ("3", "must be a text, not 3"),
    ],
)
def test_what_bauplans_project_file_may_not_include(project, pattern, problem):
    (project.path / "zerrow_project.yml").unlink()
    project.write("bauplan_project.yml", BAUPLAN_YML.replace("views/*.sql", pattern))
    file, line, message = project.error()
    assert (file, line) == ("bauplan_project.yml", 2)
    assert problem in message


def test_two_project_files_are_one_too_many(project):
    project.write("bauplan_project.yml", BAUPLAN_YML)
    assert "remove one of them" in project.error()[2]


def test_of_a_file_that_is_not_read_to_its_end_any_model_might_be(project):
    project.write(
        "models.py",
        """
        import zerrow

        class Out(zerrow.TableSchema):
            a: int

        @zerrow.model()
        def lost(flights=zerrow.Model("flights")):
            return flights
        """,
    )
    found = project.describe(limit="1")
    assert [error["line"] for error in found["errors"]] == [3]
    assert found["broken"] == ["*"]


def test_packages_and_pythons_of_functions(project):
    major, minor, micro = sys.version_info[:3]
    project.write(
        "models.py",
        f"""
        import zerrow

        @zerrow.model()
        @zerrow.python("{major}.{minor}", pip={{"pandas": "2.2.2"}})
        def late(flights=zerrow.Model("flights")):
            import pandas

        @zerrow.model()
        @zerrow.python("{major}.{minor}")
        def plain(flights=zerrow.Model("flights")):
            return flights
        """,
    )
    found = project.describe(limit="1")
    assert found["errors"] == []
    late, plain = (model["environment"] for model in found["models"])
    assert late == {"python": f"{major}.{minor}.{micro}", "packages": ["pandas==2.2.2"]}
    assert plain is None


def test_another_python_is_refused_unless_zerrow_is_built_for_it(project):
    text = """
        import zerrow

        @zerrow.model()
        @zerrow.python("{}")
        def late(flights=zerrow.Model("flights")):
            return flights
        """
    project.write("models.py", text.format("3.9"))
    (error,) = project.describe(limit="1")["errors"]
    assert (error["file"], error["line"], error["model"]) == ("models.py", 5, "late")
    assert "there is no Python 3.9 for it: Zerrow is installed for Python 3." in error["message"]


def test_an_import_that_only_a_function_has_packages_for_is_explained(project):
    project.write(
        "models.py",
        """
        import not_there
        import zerrow

        @zerrow.model()
        @zerrow.python(pip={"not-there": "1.0"})
        def late():
            return not_there.table()
        """,
    )
    file, line, message = project.error(limit="1")
    assert (file, line) == ("models.py", 1)
    assert "No module named 'not_there'" in message
    assert message.endswith("import it inside of the function")
