"""`zerrow run`, `show` and `explain` on small projects."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

MODEL_KEYS = [
    "name",
    "kind",
    "status",
    "rows",
    "bytes",
    "new_bytes",
    "reshared_bytes",
    "copied_bytes",
    "content_reshared_bytes",
    "duplicate_bytes",
    "wall_s",
    "cpu_s",
    "peak_memory_bytes",
    "error",
]


def models_of(report):
    return {model["name"]: model for model in report["models"]}


def test_a_new_project_runs(zerrow):
    made = zerrow.run("init", "demo")
    assert made.returncode == 0
    assert "cd demo\n  zerrow run " in made.stdout
    report = zerrow.json("run", "-p", "demo", "--strict")
    assert report["status"] == "success"
    models = models_of(report)
    assert models.keys() == {"trips", "priced", "tipped", "long_trips", "zones", "fares_are_paid"}
    assert models["tipped"]["reshared_bytes"] > 7 * models["tipped"]["new_bytes"] > 100_000_000
    assert sum(model["copied_bytes"] or 0 for model in models.values()) < 1_000_000


def test_a_new_project_has_a_test_that_plain_pytest_runs(zerrow):
    zerrow.run("init", "demo")
    pytest_command = Path(sys.executable).parent / "pytest"
    done = subprocess.run(
        [pytest_command, "-q"],
        cwd=zerrow.folder / "demo",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_init_touches_nothing_that_is_there(zerrow):
    zerrow.run("init", "demo")
    file = zerrow.folder / "demo" / "models" / "trips.py"
    shutil.move(file, zerrow.folder / "trips.py")
    file.symlink_to("nowhere")
    (zerrow.folder / "demo" / "zerrow_project.yml").unlink()
    again = zerrow.run("init", "demo")
    assert again.returncode == 2
    assert "already there" in again.stderr
    assert sorted(path.name for path in (zerrow.folder / "demo").iterdir()) == [
        "data",
        "models",
        "pytest.ini",
        "tests",
    ]


def test_init_says_where_it_cant_write(zerrow):
    (zerrow.folder / "file").touch()
    done = zerrow.run("init", "file/demo")
    assert done.returncode == 1
    assert done.stderr.startswith("error: file/demo can't be written: ")


def test_text_has_marked_lines_a_table_and_no_escapes(project):
    done = project.run("run")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("zerrow ")
    assert "numbers | making 3 rows" in lines
    assert any(re.match(r"numbers +ok +3 +24 B +[0-9.]+ s$", line) for line in lines)
    assert any(line.startswith("success in ") for line in lines)
    assert "\033" not in done.stdout + done.stderr
    assert "\r" not in done.stdout + done.stderr


def test_verbose_says_where_bytes_are(project):
    done = project.run("run", "-v")
    (headings,) = [line for line in done.stdout.splitlines() if line.startswith("model ")]
    shown = "model kind status rows output new reshared copied wall CPU peak"
    assert re.sub(" +", " ", headings) == shown
    assert re.search(r"^same +python +ok +3 ", done.stdout, re.MULTILINE)


def test_json_has_the_documented_form(project):
    done = project.run("run", "-O", "json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    wanted = {"run_id", "status", "wall_s", "peak_memory_bytes", "backend", "models"}
    assert wanted <= set(report)
    assert report["status"] == "success"
    assert report["backend"] in ("memfd", "copy")
    for model in report["models"]:
        assert sorted(MODEL_KEYS) == sorted(model)
        assert model["bytes"] == sum(
            model[key] for key in ("new_bytes", "reshared_bytes", "copied_bytes")
        )
        assert model["duplicate_bytes"] is None
    assert models_of(report)["numbers"]["rows"] == 3
    assert "numbers | making 3 rows" in done.stderr


def test_parameters_are_set_and_checked(project):
    report = project.json("run", "--param", "rows=7")
    assert models_of(report)["same"]["rows"] == 7
    wrong = project.run("run", "--param", "rows=seven")
    assert wrong.returncode == 1
    assert "rows" in wrong.stderr
    unknown = project.run("run", "--param", "rwos=7")
    assert unknown.returncode in (1, 2)
    assert "rwos" in unknown.stderr


def test_account_fills_in_duplicate_bytes_and_timings(project):
    same = models_of(project.json("run", "--account"))["same"]
    assert same["duplicate_bytes"] is not None
    assert set(same["timings"]) == {
        "open_s",
        "run_s",
        "encode_s",
        "exit_s",
        "exit_cpu_s",
        "trim_cpu_s",
        "freeze_cpu_s",
    }
    assert same["timings"]["exit_s"] > 0
    assert "timings" not in models_of(project.json("run"))["same"]


def test_select_leaves_the_rest_out(project):
    assert set(models_of(project.json("run", "--select", "numbers"))) == {"numbers"}
    wrong = project.run("run", "--select", "nubmers")
    assert wrong.returncode in (1, 2)
    assert "nubmers" in wrong.stderr
    assert "numbers" in wrong.stderr


def test_output_writes_the_final_models(project):
    done = project.run("run", "--output", "out")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (project.folder / "out").iterdir()] == ["same.parquet"]
    assert pq.read_table(project.folder / "out" / "same.parquet")["n"].to_pylist() == [0, 1, 2]
    assert "same.parquet" in done.stdout


def test_show_prints_rows_with_their_types(project):
    done = project.run("show", "same", "--preview", "2")
    assert done.returncode == 0, done.stderr
    assert "same: 3 rows, 1 column" in done.stdout
    assert "int64" in done.stdout
    assert "… more rows: 1" in done.stdout
    document = project.json("show", "same")
    assert document["previews"][0]["rows"] == [[0], [1], [2]]


@pytest.mark.parametrize("backend", ["memfd", "copy", "full-copy"])
def test_every_backend_gives_the_same(project, backend):
    report = project.json("run", "--backend", backend, "--preview", "5")
    assert report["backend"] == backend
    assert report["previews"][0]["rows"] == [[0], [1], [2]]


def test_files_named_like_modules_do_no_harm(project):
    project.write(random__py="raise SystemExit('imported')", zerrow__py="raise SystemExit('oops')")
    done = project.run("info")
    assert done.returncode == 0, done.stderr


@pytest.mark.own_engine
def test_inline_calls_the_function_in_this_terminal(project):
    done = project.run("run", "--inline", "same", "--param", "rows=4")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^ok +same +4 rows", done.stdout, re.MULTILINE)
    unknown = project.run("run", "--inline", "smae")
    assert unknown.returncode == 2
    assert "smae" in unknown.stderr


def test_explain_prints_what_is_read(zerrow):
    zerrow.run("init", "demo")
    done = zerrow.run("explain", "-p", "demo")
    assert done.returncode == 0, done.stderr
    assert "long_trips" in done.stdout
    assert "km >= 10" in done.stdout
    document = zerrow.json("explain", "-p", "demo")
    assert {node["name"] for node in document["nodes"]} >= {"trips", "long_trips"}


def test_a_failing_model_is_told_with_file_line_and_advice(project):
    models = project.folder / "models.py"
    text = models.read_text().replace("return numbers\n", 'raise KeyError("boom")\n')
    models.write_text(text)
    line = text.splitlines().index('    raise KeyError("boom")') + 1
    done = project.run("run")
    assert done.returncode == 1
    assert f"error: models.py:{line}: same: KeyError" in done.stderr
    assert "zerrow run --inline same" in done.stderr
    report = project.json("run", code=1)
    assert report["status"] == "failed"
    assert models_of(report)["same"]["error"]["line"] == line


def test_a_folder_without_a_project_says_what_to_do(zerrow):
    done = zerrow.run("run")
    assert done.returncode in (1, 2)
    assert "zerrow_project.yml" in done.stderr
    document = json.loads(zerrow.run("run", "-O", "json").stdout)
    assert document["status"] == "failed"
    assert document["errors"]
    assert document["models"] == []


def run_on_terminal(zerrow, *words, env):
    """Everything that the command writes to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        zerrow.command(*words),
        cwd=zerrow.folder,
        env=zerrow.environment | env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    output = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the last writer has closed
            break
        if not piece:
            break
        output += piece
    os.close(ours)
    assert process.wait(timeout=60) == 0
    return output.decode()


def test_a_terminal_gets_colours_and_progress(project):
    output = run_on_terminal(project, "run", env={"TERM": "xterm"})
    assert "\033[32m" in output
    assert re.search(r"\[\d/\d\]", output)


def test_no_color_is_honoured(project):
    output = run_on_terminal(project, "run", env={"TERM": "xterm", "NO_COLOR": "1"})
    assert not re.search(r"\033\[[0-9;]*m", output)
    assert re.search(r"\[\d/\d\]", output)


def test_a_dumb_terminal_gets_plain_lines(project):
    output = run_on_terminal(project, "run", env={"TERM": "dumb"})
    assert "\033" not in output
