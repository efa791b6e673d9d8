"""Where a project is looked for, and what a wrong word on the command line is answered."""

import os
import subprocess
import sys

import pytest


def test_a_folder_needs_no_option(project):
    (project.folder / "elsewhere").mkdir()
    for file in ("zerrow_project.yml", "models.py"):
        (project.folder / file).rename(project.folder / "elsewhere" / file)
    assert project.json("run", "elsewhere")["status"] == "success"
    assert len(project.json("explain", "elsewhere")["nodes"]) == 2
    both = project.run("run", "elsewhere", "-p", "elsewhere")
    assert both.returncode == 2
    assert "--project" in both.stderr


def test_a_project_is_found_from_its_subfolders(project):
    models = project.folder / "models.py"
    models.write_text(models.read_text().replace("return numbers\n", "raise KeyError\n"))
    below = project.folder / "a" / "b"
    below.mkdir(parents=True)
    project.folder = below
    done = project.run("run", "--output", "out")
    assert "reading ../..\n" in done.stdout
    assert "error: ../../models.py:" in done.stderr, "where the user's editor finds it"
    assert "zerrow run -p ../.. --inline same" in done.stderr
    assert (below / "out").is_dir()
    asked = "import zerrow; print(zerrow.run(check=False).status)"
    found = subprocess.run(
        [sys.executable, "-c", asked], cwd=below, capture_output=True, text=True, check=True
    )
    assert found.stdout.splitlines()[-1] == "failed"


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a file of another user's")
def test_projects_of_other_users_are_not_run_from_below(project):
    os.chown(project.folder / "zerrow_project.yml", 1234, -1)
    below = project.folder / "a"
    below.mkdir()
    project.folder = below
    done = project.run("run")
    assert done.returncode == 1
    assert "is not a project" in done.stderr
    assert project.run("run", "-p", "..").returncode == 0, "but where somebody says so"
    os.chown(below, 1234, -1)
    assert project.run("run").returncode == 0, "or stands in a folder of that user's"


def test_a_model_s_name_is_no_folder(project):
    done = project.run("run", "same")
    assert done.returncode == 2
    assert f"error: the project folder {project.folder}/same doesn't exist" in done.stderr
    assert "if same is a model, say --select same" in done.stderr


def test_a_misspelt_option_is_told(project):
    done = project.run("run", "--strct")
    assert done.returncode == 2
    assert 'zerrow run: there is no option --strct; did you mean "--strict"?' in done.stderr
