"""The end of a function's process: what Python does there happens, within a limit of time."""

import gzip
import zipfile

import pyarrow.parquet as pq
import pytest

PROJECT = """\
import atexit, gzip, os, signal, sys, tempfile, threading, time, weakref, zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import zerrow

LOG = []


@zerrow.model()
@zerrow.resources(timeout={timeout})
def ends():
    {body}
    return pa.table({{"n": list(range(200_000))}})


@zerrow.model()
def after(ends=zerrow.Model("ends")):
    return ends
"""


@pytest.fixture
def run(zerrow, project):
    def run(body, *words, timeout=100, backend="auto"):
        source = PROJECT.format(body=body.replace("\n", "\n    "), timeout=timeout)
        folder = project({"models.py": source})
        outcome = zerrow("run", "-p", folder, "-O", "json", "--backend", backend, *words)
        return folder, outcome

    return run


LEFT = """\
LOG.append(open("text.txt", "w")); LOG[-1].write("text")
LOG.append(open("binary.txt", "wb")); LOG[-1].write(b"binary")
LOG.append(gzip.open("packed.gz", "wt")); LOG[-1].write("packed")
LOG.append(zipfile.ZipFile("packed.zip", "w")); LOG[-1].writestr("inner.txt", "zipped")
LOG.append(pq.ParquetWriter("t.parquet", pa.schema({"n": pa.int64()})))
LOG[-1].write_table(pa.table({"n": [1, 2]}))
LOG.append(tempfile.NamedTemporaryFile(dir=".", suffix=".gone"))
circle = [open("circle.txt", "w")]; circle.append(circle); circle[0].write("circle")
sys.modules["pyarrow"].held = open("library.txt", "w"); pa.held.write("library")
def slowly():
    time.sleep(0.3)
    open("thread.txt", "w").write("joined")
threading.Thread(target=slowly).start()
def held(file=open("daemon.txt", "w")):
    file.write("daemon")
    time.sleep(100)
threading.Thread(target=held, daemon=True).start()
atexit.register(lambda: open("farewell.txt", "w").write("said at exit"))
class Thing: pass
LOG.append(Thing()); weakref.finalize(LOG[-1], lambda: open("final.txt", "w").write("final"))
print("no newline;", end="")
os.dup2(os.open("c.txt", os.O_CREAT | os.O_WRONLY), 1)
import ctypes; ctypes.CDLL(None).printf(b"from C;")"""


@pytest.mark.parametrize("backend", ["memfd", "copy"])
def test_what_python_does_at_its_end(run, backend):
    folder, outcome = run(LEFT, backend=backend)
    assert outcome.code == 0, outcome
    assert outcome.models["after"]["rows"] == 200_000
    texts = {
        path.name: path.read_text() for path in sorted(folder.glob("*.txt")) if path.stat().st_size
    }
    assert texts.pop("c.txt") in ("from C;no newline;", "no newline;from C;")
    assert texts == {
        "binary.txt": "binary",
        "circle.txt": "circle",
        "daemon.txt": "daemon",
        "farewell.txt": "said at exit",
        "final.txt": "final",
        "library.txt": "library",
        "text.txt": "text",
        "thread.txt": "joined",
    }
    assert gzip.decompress((folder / "packed.gz").read_bytes()) == b"packed"
    assert zipfile.ZipFile(folder / "packed.zip").read("inner.txt") == b"zipped"
    assert pq.read_table(folder / "t.parquet")["n"].to_pylist() == [1, 2]
    assert not list(folder.glob("*.gone"))


HANGS = {
    "exit handler": "atexit.register(time.sleep, 100)",
    "thread": "threading.Thread(target=time.sleep, args=[100]).start()",
    "file": 'os.mkfifo("pipe"); reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)\n'
    'LOG.append(open("pipe", "wb", 1 << 21)); LOG[0].write(b"x" * (1 << 20))',
    "deletion": "class Slow:\n    def __del__(self): time.sleep(100)\nLOG.append(Slow())",
}


@pytest.mark.parametrize("what", HANGS)
def test_a_process_that_hangs_at_its_end(run, monkeypatch, what):
    monkeypatch.setenv("ZERROW_EXIT_TIMEOUT_S", "1")
    _, outcome = run(HANGS[what])
    assert outcome.code == 1, outcome
    model = outcome.models["ends"]
    assert model["status"] == "timeout"
    assert "its process hung at its end" in model["error"]["message"]
    assert "ZERROW_EXIT_TIMEOUT_S" in model["error"]["message"]
    assert model["error"]["file"] == "models.py"
    assert outcome.models["after"]["status"] == "skipped"


def test_the_models_own_timeout_holds_at_its_end(run):
    _, outcome = run("atexit.register(time.sleep, 100)", timeout=1)
    model = outcome.models["ends"]
    assert (outcome.code, model["status"]) == (1, "timeout"), outcome
    assert "its process hung at its end" in model["error"]["message"]


def test_a_failure_is_told_whatever_follows(run, monkeypatch):
    monkeypatch.setenv("ZERROW_EXIT_TIMEOUT_S", "1")
    _, outcome = run("atexit.register(time.sleep, 100); raise ValueError('no good')")
    model = outcome.models["ends"]
    assert model["status"] == "failed"
    assert model["error"]["message"].startswith("ValueError: no good; then its process hung")
    assert model["error"]["line"] == 13


def test_an_exit_handler_that_raises(run):
    _, outcome = run("def late(): raise ValueError('too late')\natexit.register(late)")
    assert outcome.code == 0, outcome
    assert "ValueError: too late" in outcome.err
    assert 'models.py", line 13, in late' in outcome.err


DEATHS = {
    "os._exit(3)": ("failed", "exited with code 3 at its end, after the function had returned"),
    "os.abort()": ("killed", "SIGABRT"),
    "os.kill(os.getpid(), signal.SIGKILL)": ("killed", "at its end"),
}


@pytest.mark.parametrize("how", DEATHS)
def test_a_process_that_dies_at_its_end(run, how):
    status, words = DEATHS[how]
    _, outcome = run(f"atexit.register(lambda: {how})")
    model = outcome.models["ends"]
    assert (outcome.code, model["status"]) == (1, status), outcome
    assert words in model["error"]["message"]


def test_closed_descriptors_are_named(run):
    _, outcome = run("os.closerange(3, 1 << 20)", backend="copy")
    model = outcome.models["ends"]
    assert (outcome.code, model["status"]) == (1, "failed"), outcome
    assert "closed file descriptors that it hadn't opened" in model["error"]["message"]


@pytest.mark.parametrize("backend", ["memfd", "copy"])
def test_what_an_exit_handler_changes_is_published_changed(zerrow, project, backend):
    """Tables are published when the process is gone: until then they aren't anybody else's."""
    source = """\
import atexit

import numpy as np
import pyarrow as pa
import zerrow


@zerrow.model()
def made():
    values = np.zeros(1_000_000)
    atexit.register(values.fill, 1)
    return pa.table({"x": values})


@zerrow.expectation()
def is_of_one_piece(made=zerrow.Model("made")):
    import time

    before = made["x"].to_numpy().copy()
    time.sleep(0.2)
    return set(before) <= {0.0, 1.0} and (before == made["x"].to_numpy()).all()
"""
    outcome = zerrow("run", "-p", project({"models.py": source}), "--strict", "--backend", backend)
    assert outcome.code == 0, outcome


LIBRARIES = {
    "polars": "import polars as pl; LOG.append(pl.DataFrame({'a': range(300_000)}).lazy()"
    ".group_by('a').len().collect())",
    "pandas": "import pandas as pd; LOG.append(pd.DataFrame({'a': range(9)}).groupby('a').sum())",
    "duckdb": "import duckdb; LOG.append(duckdb.connect('d.duckdb'))\n"
    "LOG[0].sql('CREATE TABLE t AS SELECT * FROM range(300000)')",
    "datafusion": "import datafusion; LOG.append(datafusion.SessionContext())\n"
    "LOG.append(LOG[0].sql('SELECT 1').collect())",
    "arrow": "import pyarrow.dataset as ds\n"
    "pq.write_table(pa.table({'a': range(300_000)}), 'p.parquet')\n"
    "LOG.append(ds.dataset('p.parquet').scanner().to_reader()); LOG[0].read_next_batch()",
    "pool": "from concurrent.futures import ThreadPoolExecutor, ProcessPoolExecutor\n"
    "LOG.append(ThreadPoolExecutor()); LOG[0].submit(time.sleep, 0.1)\n"
    "LOG.append(ProcessPoolExecutor(2)); LOG[1].submit(time.sleep, 0.1)",
    "logging": "import logging; logging.basicConfig(filename='l.log'); logging.error('x')",
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_libraries_do_not_hang_at_the_end(run, library):
    _, outcome = run(LIBRARIES[library])
    assert outcome.code == 0, outcome
