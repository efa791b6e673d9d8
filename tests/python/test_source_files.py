"""Which files a source names: paths are literal, but for the pattern that the user wrote."""

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from zerrow._errors import ProjectError
from zerrow._project.project_file import SourceEntry
from zerrow._project.sources import resolve_source

ODD_NAMES = ["runs [1]", "a*b?", "100%41 #1", "two  spaces ", "new\nline", "~", "ünï", "-o", "a=b"]


def write(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"i": [value]}), path)


def resolved(project, pattern):
    """The files' values and their paths below the project's folder."""
    source = resolve_source(SourceEntry("s", pattern, 3), project)
    files = [file["path"] for file in source.to_json()["files"]]
    assert all(file.startswith("/") for file in files)
    values = [pq.read_table(pa.OSFile(file))["i"][0].as_py() for file in files]
    return values, [os.path.relpath(file, project) for file in files]


def refusal(project, pattern):
    with pytest.raises(ProjectError) as refused:
        resolve_source(SourceEntry("s", pattern, 3), project)
    return str(refused.value)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_the_projects_own_path_is_no_pattern(tmp_path, name):
    project = tmp_path / name
    write(project / "data" / "part-a.parquet", 1)
    write(project / "data" / "part-b.parquet", 2)
    # What the name would match as a pattern, and as a URI.
    for other in ("runs 1", "axb1", "100A #1", "two spaces"):
        write(tmp_path / other / "data" / "part-a.parquet", 100)
    both = ["data/part-a.parquet", "data/part-b.parquet"]
    for pattern in ("data/part-*.parquet", "data", "./data/*", "**/*.parquet", "*/part-[ab].*"):
        assert resolved(project, pattern) == ([1, 2], both), pattern
    assert resolved(project, "data/part-[!a].parquet")[0] == [2]
    assert resolved(project, "data/part-a.parquet")[0] == [1]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_of_files_are_taken_as_they_are(tmp_path, name):
    write(tmp_path / "data" / f"{name}.parquet", 1)
    write(tmp_path / "data" / "other.parquet", 2)
    for pattern in (f"data/{name}.parquet", f"{tmp_path}/data/{name}.parquet"):
        assert resolved(tmp_path, pattern) == ([1], [f"data/{name}.parquet"])
    assert sorted(resolved(tmp_path, "data/*.parquet")[0]) == [1, 2]


def test_absolute_patterns_are_patterns_as_a_whole(tmp_path):
    write(tmp_path / "one" / "a.parquet", 1)
    write(tmp_path / "two" / "a.parquet", 2)
    assert resolved(tmp_path / "one", f"{tmp_path}/*/a.parquet")[0] == [1, 2]
    assert resolved(tmp_path / "one", "../*/a.parquet")[0] == [1, 2]


def test_a_tilde_is_the_home_folder_whatever_its_name_is(tmp_path, monkeypatch):
    home = tmp_path / "home [1]"
    write(home / "data" / "a.parquet", 1)
    write(tmp_path / "home 1" / "data" / "a.parquet", 2)
    monkeypatch.setenv("HOME", str(home))
    for pattern in ("~/data/*.parquet", "~/data/a.parquet", "~/data", "~"):
        assert resolved(tmp_path, pattern)[0] == [1], pattern


def test_links_lead_where_they_lead(tmp_path):
    write(tmp_path / "real" / "deep" / "a.parquet", 1)
    write(tmp_path / "real" / "b.parquet", 2)
    write(tmp_path / "project" / "b.parquet", 3)
    project = tmp_path / "project"
    (project / "link").symlink_to("../real/deep")
    (project / "l.parquet").symlink_to("b.parquet")
    (project / "gone.parquet").symlink_to("nowhere")
    assert resolved(project, "link")[0] == [1]
    assert resolved(project, "link/*.parquet")[0] == [1]
    assert resolved(project, "l.parquet")[0] == [3]
    # The folder above the one that the link leads to.
    assert resolved(project, "link/../b.parquet")[0] == [2]
    assert resolved(project, "link/../*.parquet")[0] == [2]
    assert resolved(project, "link/../**/*.parquet")[0] == [2, 1]


def test_links_in_a_circle_give_no_file_twice(tmp_path):
    write(tmp_path / "data" / "sub" / "a.parquet", 1)
    (tmp_path / "data" / "sub" / "again").symlink_to("..")
    (tmp_path / "data" / "self").symlink_to(".")
    for pattern in ("data", "data/**/*.parquet", "**/a.parquet"):
        assert resolved(tmp_path, pattern) == ([1], ["data/sub/a.parquet"]), pattern
    assert resolved(tmp_path, "data/self/sub/*.parquet")[0] == [1]


def test_what_writers_leave_beside_the_data_is_left_out(tmp_path):
    for name in ("a", "_b", ".c", "_delta_log/d", ".hidden/e", "sub/f"):
        write(tmp_path / "data" / f"{name}.parquet")
    assert resolved(tmp_path, "data")[1] == ["data/a.parquet", "data/sub/f.parquet"]
    assert resolved(tmp_path, "data/*")[1] == ["data/a.parquet"]


def test_paths_that_are_not_utf8_are_refused_in_words(tmp_path):
    write(tmp_path / "a.parquet")
    os.rename(tmp_path / "a.parquet", os.fsencode(tmp_path) + b"/\xff.parquet")
    message = refusal(tmp_path, "*.parquet")
    assert r"\xff.parquet" in message
    assert "isn't UTF-8; rename it" in message


def test_only_local_paths_are_read(tmp_path):
    for pattern in ("s3://bucket/key.parquet", "file:///tmp/x.parquet"):
        assert "not a local path" in refusal(tmp_path, pattern)


def test_what_is_not_there_is_said_with_the_place_that_was_looked_at(tmp_path):
    assert f"looked at {tmp_path}/no.parquet" in refusal(tmp_path, "./no.parquet")
    assert f"looked at {tmp_path}/no*" in refusal(tmp_path, "no*")
    (tmp_path / "empty").mkdir()
    assert "has no .parquet file" in refusal(tmp_path, "empty")


def test_a_file_that_is_not_parquet_is_named_with_its_source(tmp_path):
    (tmp_path / "b #1.parquet").write_text("not Parquet")
    write(tmp_path / "a.parquet")
    message = refusal(tmp_path, "*.parquet")
    wanted = f"source 's': {tmp_path}/b #1.parquet can't be read as Parquet: "
    assert message.startswith(f"zerrow_project.yml:3: {wanted}")
