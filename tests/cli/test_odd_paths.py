"""Folders with names that mean something to globs, URIs, terminals or JSON."""

import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


def moved_to(project, name):
    """The project in a folder of that name, below the one where the command runs."""
    folder = os.path.join(os.fsencode(project.folder), os.fsencode(name))
    os.mkdir(folder)
    for file in ("zerrow_project.yml", "models.py"):
        shutil.move(project.folder / file, os.path.join(folder, os.fsencode(file)))
    return os.fsdecode(folder)


@pytest.mark.parametrize("name", ["runs [1] 100%41 #?", "new\nline"])
def test_a_project_and_its_output_lie_anywhere(project, name):
    folder = moved_to(project, name)
    pq.write_table(pa.table({"x": [1, 2]}), f"{folder}/part [1].parquet")
    with open(f"{folder}/zerrow_project.yml", "a") as file:
        file.write("sources: {parts: part*.parquet}\n")
    with open(f"{folder}/read.sql", "w") as file:
        file.write("SELECT x FROM parts")
    for output in (f"out {name}", f"{folder}/other"):
        done = project.run("run", "-p", name, "--output", output)
        assert done.returncode == 0, done.stderr
        written = project.folder / output
        assert sorted(os.listdir(written)) == ["read.parquet", "same.parquet"]
        assert pq.read_table(pa.OSFile(f"{written}/read.parquet"))["x"].to_pylist() == [1, 2]


def test_paths_that_are_not_utf8_are_refused_in_words(project):
    other = os.fsdecode(b"caf\xe9")
    done = project.run("run", "--output", other, errors="replace")
    assert done.returncode != 0
    assert "the output folder's path isn't UTF-8; rename it" in done.stderr
    assert not os.path.exists(os.path.join(os.fsencode(project.folder), b"caf\xe9"))
    folder = moved_to(project, other)
    done = project.run("run", "-p", folder, errors="replace")  # it is printed
    assert done.returncode != 0
    assert "the project folder's path isn't UTF-8; rename it" in done.stderr
