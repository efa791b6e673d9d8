"""`zerrow.run` from Python."""

import dataclasses
import fcntl
import gc
import json
import os
import signal
import threading

import pyarrow as pa
import pytest
import zerrow
from zerrow._kept_engine import kept

MODELS = """
    @zerrow.model()
    def doubled(t=zerrow.Model("t")):
        print("in doubled")
        return t.append_column("y", pa.array([2 * x for x in t["x"].to_pylist()]))

    @zerrow.model()
    def same(doubled=zerrow.Model("doubled")):
        return doubled
"""


@pytest.fixture
def run(project):
    def run(**arguments):
        return zerrow.run(project.folder, backend=project.backend, **arguments)

    return run


def test_tables_outlive_the_result(project, run):
    project.models(MODELS)
    lines = []
    result = run(on_line=lambda *line: lines.append(line))
    assert result.status == "success"
    assert lines == [("doubled", 1, "in doubled")]
    assert list(result.models) == ["t", "doubled", "same"]
    table = result.table("same")
    with pytest.raises(KeyError, match="'t'"):
        result.table("t")
    del result
    gc.collect()
    table.validate(full=True)
    assert table["y"][99_999].as_py() == 199_998
    assert table["s"][7].as_py() == "text 7"
    assert pa.total_allocated_bytes() < 1 << 20


def test_a_table_that_isnt_sound_is_an_error_and_no_crash(project, run):
    project.models(
        """
        def text(offsets, data=b"abcd" * 50_000):
            n = len(offsets) // 4 - 1
            return pa.Array.from_buffers(pa.utf8(), n, [None, *map(pa.py_buffer, (offsets, data))])

        def offsets():
            import numpy as np
            return np.arange(50_001, dtype=np.int32) * 4

        @zerrow.model()
        def sound(t=zerrow.Model("t")):
            return pa.table({"s": text(offsets().tobytes())})

        @zerrow.model()
        def beyond(t=zerrow.Model("t")):
            wrong = offsets()
            wrong[7] = 1 << 30
            return pa.table({"s": text(wrong.tobytes())})

        @zerrow.model()
        def no_text(t=zerrow.Model("t")):
            return pa.table({"s": text(offsets().tobytes(), bytes([255]) * 200_000)})

        @zerrow.model()
        def index(t=zerrow.Model("t")):
            wrong = pa.array([0, 7, 1] * 50_000, pa.int32())
            return pa.table({"d": pa.DictionaryArray.from_arrays(wrong, ["a", "b"], safe=False)})
        """
    )
    result = run()
    assert result.table("sound")["s"][7].as_py() == "abcd"
    for model in ("beyond", "no_text", "index"):
        with pytest.raises(zerrow.ModelError, match=f"'{model}' returned can't be read"):
            result.table(model)


def test_two_results_at_once(project, run):
    project.models(MODELS)
    first = run(keep=["doubled"]).table("doubled")
    second = run(keep=["same"]).table("same")
    assert first.equals(second)


def test_errors(project, run):
    project.models("@zerrow.model()\ndef a(b=zerrow.Model('b')):\n    return b\n")
    with pytest.raises(zerrow.InvalidProjectError, match=r"models/m.py:\d+: a: unknown input"):
        run()
    project.models(
        "@zerrow.model()\ndef a(t=zerrow.Model('t')):\n    raise ValueError('no such thing')\n"
    )
    with pytest.raises(zerrow.ModelError, match="no such thing") as raised:
        run()
    result = raised.value.result
    assert result.models["t"].status == "success"
    assert result.models["a"].error.line == 4
    assert run(check=False).status == "failed"
    with pytest.raises(ValueError, match="backend"):
        zerrow.run(project.folder, backend="fast")
    with pytest.raises(ValueError, match="folder"):
        zerrow.run(project.folder / "nowhere")
    assert all(
        issubclass(error, zerrow.ZerrowError)
        for error in vars(zerrow).values()
        if isinstance(error, type) and issubclass(error, Exception)
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"project": "nope"},
        {"project": 5},
        {"project": "a\0b"},
        {"parameters": {1: 2}},
        {"parameters": {"p": "\ud800"}},
        {"select": "one"},
        {"select": ["nope"]},
        {"keep": ["nope"]},
        {"jobs": 0},
        {"backend": "fast"},
        {"memory_limit": "much"},
        {"priority": 1e9},
        {"output": "/proc/nowhere"},
        {"strict": 1},
    ],
)
def test_only_errors_of_zerrow_are_raised(project, arguments):
    project.models(MODELS)
    with pytest.raises(zerrow.ZerrowError):
        zerrow.run(**{"project": project.folder, "backend": project.backend, **arguments})


def test_reports_are_values(project, run):
    project.models(MODELS)
    result = run(account=True, on_line=lambda *_: None)
    model = result.models["doubled"]
    assert (model.kind, model.status, model.rows) == ("python", "success", 100_000)
    assert model.bytes == model.new_bytes + model.reshared_bytes + model.copied_bytes
    assert model.timings.run_s > 0
    assert result.models["t"].cache.misses > 0
    assert result.report.models == tuple(result.models.values())
    assert json.loads(json.dumps(result.report.document))["models"][1]["rows"] == model.rows
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.rows = 1
    with pytest.raises(zerrow.UnknownTableError, match="no table of 'nope'; there is: doubled"):
        result.table("nope")


def test_a_report_has_the_rows_that_an_expectation_found(project, run):
    project.models(
        MODELS
        + """
    from zerrow.standard_expectations import expect_column_values_between

    @zerrow.expectation()
    def small(doubled=zerrow.Model("doubled")):
        return expect_column_values_between(doubled, "x", most=-1)
"""
    )
    small = run(on_line=lambda *_: None).models["small"]
    assert small.expectation is False
    assert small.offending.total_rows == 100_000
    assert small.offending.columns[0].name == "x"
    assert len(small.offending.rows) == 5


@pytest.fixture
def sigint():
    """SIGINT raises KeyboardInterrupt, also in the background of a shell, which ignores it."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        yield  # perhaps with a library's handler before it, as users have it
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before or signal.SIG_DFL)


@pytest.mark.usefixtures("sigint")
def test_ctrl_c(project, run, monkeypatch):
    monkeypatch.setenv(*project.marker.split("="))
    project.models(
        """
        import fcntl

        @zerrow.model()
        def slow(t=zerrow.Model("t")):
            file = open("worker.txt", "w")
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write("here")
            file.flush()
            time.sleep(1000)

        @zerrow.model()
        def waits(t=zerrow.Model("t")):
            open("waits.txt", "w").write("here")
            while not os.path.exists("go"):
                time.sleep(0.01)
            return t
        """
    )
    others = []
    other = threading.Thread(target=lambda: others.append(run(select=["waits"])))
    other.start()

    def interrupt():
        project.wait_for_file("waits.txt")
        project.wait_for_file("worker.txt")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run(select=["slow"])
    thread.join()
    with open(project.folder / "worker.txt") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the function's process is gone
    project.write("go", "")
    other.join()
    assert [result.status for result in others] == ["success"]  # the other thread's isn't stopped
    kept.stop()
    own = os.getpid()
    assert [pid for pid, _ in project.processes() if pid != own] == []
