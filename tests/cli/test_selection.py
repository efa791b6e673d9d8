"""--select and --exclude of `zerrow run`, `show` and `explain`, and what failed in the last run."""

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zerrow as sdk

MODELS = """
    from pathlib import Path

    import pyarrow as pa
    import zerrow


    @zerrow.model(tags=["daily"])
    def raw(numbers=zerrow.Model("numbers")):
        return numbers


    @zerrow.model(tags=["daily", "core"])
    def clean(raw=zerrow.Model("raw")):
        if Path(__file__).with_name("broken").exists():
            raise ValueError("broken")
        return raw


    @zerrow.model()
    def other():
        return pa.table({"x": [1]})


    @zerrow.expectation(tags=["core"])
    def some(clean=zerrow.Model("clean")):
        return clean.num_rows > 0
"""


@pytest.fixture
def project(zerrow):
    zerrow.environment["XDG_STATE_HOME"] = str(zerrow.folder / "state")
    pq.write_table(pa.table({"n": [1, 2, 3]}), zerrow.folder / "numbers.parquet")
    zerrow.write(
        zerrow_project__yml="""
            name: small
            sources: {numbers: numbers.parquet}
            models:
              - name: least
                operator: filter
                input: clean
                filter: {condition: n < 2}
                tags: [core]
        """,
        models__py=MODELS,
        total__sql="-- zerrow: tags=weekly\nSELECT sum(n) AS n FROM clean\n",
    )
    return zerrow


def names(report):
    return {model["name"] for model in report["models"]}


CLEAN = {"numbers", "raw", "clean"}


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        (["--select", "clean"], CLEAN),
        (["--select", "clean+"], CLEAN | {"some", "least", "total"}),
        (["--select", "clean+", "--exclude", "tag:core"], CLEAN | {"total"}),
        (["--select", "tag:core,tag:daily", "--select", "o*"], CLEAN | {"other"}),
        (["--select", "tag:weekly"], CLEAN | {"total"}),
        (["--exclude", "numbers+"], {"other"}),
    ],
)
def test_selectors_say_what_runs(project, words, runs):
    assert names(project.json("run", *words)) == runs
    nodes = project.json("explain", *words)["nodes"]
    assert {node["name"] for node in nodes} == runs


def test_what_is_selected_is_final(project):
    done = project.run("run", "--select", "+clean", "--output", "out")
    assert done.returncode == 0, done.stderr
    written = {path.name for path in (project.folder / "out").iterdir()}
    assert written == {"raw.parquet", "clean.parquet"}
    report = project.json("run", "--exclude", "clean+", "--exclude", "other", "--preview", "1")
    assert [preview["model"] for preview in report["previews"]] == ["raw"]


def test_show_takes_several_and_expectations(project):
    report = project.json("show", "tag:core", "--exclude", "least", "numbers")
    assert {preview["model"] for preview in report["previews"]} == {"numbers", "clean"}
    assert project.json("show", "--select", "total")["previews"][0]["rows"] == [[6]]
    shown = project.run("show", "some")
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"^some +met ", shown.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--select", "cleen"], 'unknown model "cleen" in --select; did you mean "clean"?'),
        (["--select", "+cleen+"], 'unknown model "cleen" in --select; did you mean "clean"?'),
        (["--select", "tag:dayly"], 'no model has the tag "dayly" of --select; did you mean'),
        (["--select", "clean", "--exclude", "x*"], 'no model is called like "x*" in --exclude'),
        (["--select", "raw,other"], "no model is all that --select asks for"),
        (["--select", "raw", "--exclude", "raw"], "--exclude leaves nothing of what is selected"),
        (["--select", "state:failed"], "no run of this project is known yet"),
    ],
)
def test_what_selects_nothing_is_a_usage_error(project, words, message):
    done = project.run("run", *words)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr


@pytest.mark.parametrize("command", ["run", "explain", "show"])
def test_every_command_says_what_is_unknown(project, command):
    words = [command, "--select", "cleen"]
    done = project.run(*words)
    assert (done.returncode, done.stdout.count("\n") < 2) == (2, True)
    assert 'unknown model "cleen" in --select' in done.stderr
    if command != "explain":
        (error,) = json.loads(project.run(*words, "-O", "json").stdout)["errors"]
        assert 'unknown model "cleen" in --select' in error["message"]


def test_what_failed_runs_again_with_what_depends_on_it(project):
    broken = project.folder / "broken"
    broken.touch()
    assert project.run("run").returncode == 1
    again = ["run", "--select", "state:failed"]
    # To look at something is no run.
    assert project.run("show", "other").returncode == 0
    failing = project.json(*again, code=1)
    assert names(failing) == CLEAN | {"some", "least", "total"}
    broken.unlink()
    explained = project.json("explain", *again[1:])["nodes"]
    assert {node["name"] for node in explained if node["final"]} == {"least", "total"}
    assert project.json(*again)["status"] == "success"
    nothing = project.run(*again)
    assert nothing.returncode == 2
    assert "nothing failed in the last run of this project" in nothing.stderr


def test_a_broken_record_of_the_last_run_is_told(project):
    assert project.run("run", "--select", "other").returncode == 0
    (file,) = (project.folder / "state" / "zerrow" / "last_runs").iterdir()
    file.write_text('{"failed": 3}')
    done = project.run("run", "--select", "state:failed")
    assert done.returncode == 2
    assert f"{file} doesn't tell what failed in the last run" in done.stderr
    assert project.run("run", "--select", "other").returncode == 0


def test_python_selects_as_the_command_does(project, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", project.environment["XDG_STATE_HOME"])
    broken = project.folder / "broken"
    broken.touch()
    assert sdk.run(project.folder, select=["tag:core"], check=False).status == "failed"
    broken.unlink()
    result = sdk.run(project.folder, select=["state:failed"], exclude=["least"])
    assert set(result.models) == CLEAN | {"some", "total"}
    with pytest.raises(sdk.InvalidOptionsError, match='unknown model "cleen" in --exclude'):
        sdk.run(project.folder, exclude=["cleen"])
    with pytest.raises(sdk.InvalidOptionsError, match="to keep isn't selected"):
        sdk.run(project.folder, select=["raw"], keep=["clean"])
