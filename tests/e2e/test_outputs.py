"""What is written and shown of selected models, in combination: with each other, and as a gate."""

import pyarrow.parquet as pq
import pytest

CHAIN = """\
import pyarrow as pa
import zerrow


@zerrow.model()
def numbers():
    return pa.table({"x": list(range(100_000))})


@zerrow.model()
def later(numbers=zerrow.Model("numbers")):
    return numbers.slice(1)


@zerrow.model()
def last(later=zerrow.Model("later"), numbers=zerrow.Model("numbers")):
    return later.slice(1)
"""
ROWS = {"numbers": 100_000, "later": 99_999, "last": 99_998}


@pytest.mark.parametrize("backend", ["memfd", "copy", "full-copy"])
@pytest.mark.parametrize(
    "selected", [["numbers", "later"], ["later", "numbers", "last"], ["last", "numbers"]]
)
def test_selected_models_that_others_read_are_written_and_shown(
    zerrow, project, tmp_path, backend, selected
):
    folder, out = project({"models.py": CHAIN}), tmp_path / "out"
    words = ["run", "-p", folder, "--backend", backend, "-O", "json", "--jobs", "4"]
    for name in selected:
        words += ["--select", name]
    for more in (["--output", out], ["--preview", "3"], ["--output", out, "--preview", "2"]):
        outcome = zerrow(*words, *more)
        assert outcome.code == 0, outcome
        if "--preview" in more:
            shown = {p["model"]: p["total_rows"] for p in outcome.report["previews"]}
            assert shown == {name: ROWS[name] for name in selected}
        if "--output" in more:
            written = {path.stem: pq.read_table(path).num_rows for path in out.iterdir()}
            assert written == {name: ROWS[name] for name in selected}


GATE = """\
import time
import zerrow


@zerrow.model()
def stock():
    return [{"item": "nut", "n": -1}]


@zerrow.model()
def other():
    return [{"n": 1}]


@zerrow.expectation()
def none_negative(stock=zerrow.Model("stock")):
    time.sleep(0.3)
    assert min(stock["n"].to_pylist()) >= 0, "less than nothing"
    return True


@zerrow.expectation()
def some(other=zerrow.Model("other")):
    return other.num_rows > 0
"""


@pytest.mark.parametrize("jobs", ["1", "4"])
def test_a_strict_run_writes_nothing_unless_every_check_holds(zerrow, project, tmp_path, jobs):
    folder, out = project({"models.py": GATE}), tmp_path / "out"
    words = ["run", "-p", folder, "--output", out, "-O", "json", "--jobs", jobs]
    outcome = zerrow(*words, "--strict")
    assert outcome.code == 1, outcome
    assert list(out.iterdir()) == []
    assert "outputs" not in outcome.report
    error = outcome.models["none_negative"]["error"]
    line = 1 + GATE[: GATE.index("    assert")].count("\n")
    assert (error["file"], error["line"]) == ("models.py", line)
    assert "less than nothing" in error["message"]

    loose = zerrow(*words)
    assert loose.code == 0, loose
    assert {path.name for path in out.iterdir()} == {"stock.parquet", "other.parquet"}
    unmet = loose.models["none_negative"]
    assert (unmet["status"], unmet["expectation"], unmet["error"]) == ("success", False, None)
    assert unmet["warning"]["line"] == line
    assert loose.models["some"]["warning"] is None
    shown = zerrow("run", "-p", folder).err
    assert f"warning: {folder}/models.py:{line}: none_negative: " in shown
    assert "less than nothing" in shown

    good = project({"models.py": GATE.replace("-1", "1")})
    assert zerrow(*words[:2], good, *words[3:], "--strict").code == 0


LIE = """\
import pyarrow as pa
import zerrow


@zerrow.model()
def lied():
    fields = [pa.field("id", pa.int64(), nullable=False)]
    return pa.table({"id": [1, None]}, schema=pa.schema(fields))


@zerrow.model()
def sound():
    return pa.table({"id": [1]})
"""


def test_a_table_that_cant_be_written_is_an_error_in_words(zerrow, project, tmp_path):
    folder, out = project({"models.py": LIE}), tmp_path / "out"
    outcome = zerrow("run", "-p", folder, "--output", out)
    assert outcome.code == 1, outcome
    assert "models.py:6: lied: writing it to a file failed: " in outcome.err
    assert "non-nullable" in outcome.err
    assert "Traceback" not in outcome.err + outcome.out
    assert [path.name for path in out.iterdir()] == ["sound.parquet"]
