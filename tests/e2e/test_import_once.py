"""A project is imported once in a run, and its functions see what they would see otherwise.

Each test runs a project both ways: imported once, and by each worker ($ZERROW_IMPORT_ONCE=0).
"""

import os
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

HEADER = """\
import os, random, signal, sys, tempfile, threading, time, uuid

import numpy
import pyarrow as pa
import zerrow

TOKEN = uuid.uuid4().hex  # another one in each process that imports this file


def model(name):
    def declare(function):
        def call():
            return pa.table({{"token": [TOKEN], "value": [repr(function())]}})
        call.__name__ = name
        return zerrow.model()(call)
    return declare

{body}
"""

# Two models that return what `look` does.
TWINS = """\
@model("first")
def f():
    return look()

@model("second")
def g():
    return look()
"""


class Result:
    """What the models of a finished run returned."""

    def __init__(self, outcome, folder):
        self.outcome = outcome
        assert outcome.code == 0, outcome
        self.rows = {
            path.stem: pq.read_table(path).to_pylist()[0] for path in folder.glob("*.parquet")
        }
        self.why = outcome.report["import_again"]

    @property
    def tokens(self):
        return {row["token"] for row in self.rows.values()}

    @property
    def values(self):
        return [self.rows[name]["value"] for name in ("first", "second")]


@pytest.fixture(params=["namespaces", "none"])
def run(request, zerrow, project, monkeypatch):
    """Runs a project of one file with such a body."""
    if request.param == "none":
        monkeypatch.setenv("ZERROW_ISOLATION", "none")

    def run(body, *, once=True, files=None):
        monkeypatch.setenv("ZERROW_IMPORT_ONCE", "1" if once else "0")
        folder = project({"models.py": HEADER.format(body=body), **(files or {})})
        output = folder / f"once_{once}"
        words = ("run", "-p", folder, "-O", "json", "--account", "--output", output)
        return Result(zerrow(*words), output)

    return run


@pytest.fixture
def both(run):
    """Both ways: what was returned where the project was imported once, and where each did."""

    def both(body):
        once, each = run(body), run(body, once=False)
        assert once.why == "", once.outcome
        assert "ZERROW_IMPORT_ONCE" in each.why
        assert (len(once.tokens), len(each.tokens)) == (1, 2)
        return once, each

    return both


def test_what_an_import_leaves_is_seen(both):
    once, each = both(
        "signal.signal(signal.SIGUSR1, lambda *_: None)\n"
        "os.environ['SET'] = 'here'\n"
        "os.makedirs('inner', exist_ok=True); os.chdir('inner')\n"
        "sys.path.append('/nowhere'); sys.setrecursionlimit(1234); os.umask(0o027)\n"
        "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))\n"
        "def look():\n"
        "    umask = os.umask(0)\n"
        "    return (signal.getsignal(signal.SIGUSR1).__name__, os.environ['SET'], os.getcwd(),\n"
        "            sys.path[-1], sys.path.count(os.path.dirname(os.getcwd())), oct(umask),\n"
        "            sys.getrecursionlimit(), resource.getrlimit(resource.RLIMIT_NOFILE),\n"
        "            sorted(set(os.environ) & {'LD_PRELOAD', 'ZERROW_ISOLATION'}), sys.argv,\n"
        "            sorted(map(int, os.listdir('/proc/self/fd')))[:3],\n"
        "            threading.main_thread() is threading.current_thread(), __name__)\n" + TWINS
    )
    assert once.values == each.values
    assert "'here'" in once.values[0]


def test_printed_while_importing_is_shown_once(run):
    for once in (True, False):
        outcome = run(
            "print('one line'); print('no newline', end='')\nos.write(2, b'raw\\n')\n"
            "def look():\n    print('from the model')\n" + TWINS,
            once=once,
        ).outcome
        assert outcome.err.count("one line") == 1, outcome
        assert outcome.err.count("no newline") == 1
        assert outcome.err.count("raw") == 1
        assert outcome.err.count("from the model") == 2


def test_what_a_model_changes_is_its_own(both):
    for result in both(
        "SEEN = []\ndef look():\n    SEEN.append(1); time.sleep(0.3)\n    return SEEN\n" + TWINS
    ):
        assert result.values == ["[1]", "[1]"]


def test_each_model_draws_its_own_numbers(both):
    for result in both(
        "random.random(); numpy.random.rand(1000)\nNAME = tempfile.mktemp()\n"
        "def look():\n"
        "    return [random.random(), float(numpy.random.rand()), tempfile.mktemp()]\n" + TWINS
    ):
        first, second = map(eval, result.values)
        assert not set(first) & set(second)


def test_a_seed_that_the_import_sets_holds(both):
    once, each = both(
        "random.seed(7); numpy.random.seed(7); random.random(); GENERATOR = random\n"
        "RNG = numpy.random.default_rng(7)\n"
        "def look():\n"
        "    return [random.random(), float(numpy.random.rand()), float(RNG.random())]\n" + TWINS
    )
    assert once.values == each.values
    assert once.values[0] == once.values[1]


UNFIT = {
    "thread": (
        "threading.Thread(target=time.sleep, args=[100], name='idler', daemon=True).start()",
        "the Python thread 'idler'",
    ),
    "polars": (
        "import polars\npolars.DataFrame({'a': range(99)}).lazy().group_by('a').len().collect()",
        "a thread of _polars_runtime",
    ),
    "duckdb": ("import duckdb\nduckdb.sql('select 1').fetchall()", "a thread of _duckdb"),
    "datafusion": (
        "import datafusion\ndatafusion.SessionContext().sql('select 1').collect()",
        "datafusion running",  # a thread of it, and maybe of Python's beside it
    ),
    "file": ("FILE = open(__file__)", "models.py open"),
    "socket": ("import socket; SOCKET = socket.socket()", "a socket open"),
    "pipe": ("PIPE = os.pipe()", "a pipe open"),
    "child": (
        "import subprocess; CHILD = subprocess.Popen(['sleep', '100'])",
        "left a process running (",
    ),
    "daemon": (
        "os.system('setsid sleep 100 >/dev/null 2>&1 &')",
        "left a process running (",
    ),
    "memory": ("import mmap; SHARED = mmap.mmap(-1, 4096)", "forked processes would share"),
    "semaphore": (
        "import multiprocessing; LOCK = multiprocessing.Lock()",
        "forked processes would share",
    ),
    "timer": ("signal.setitimer(signal.ITIMER_VIRTUAL, 100)", "a timer running"),
    "alarm": ("signal.alarm(100)", "a timer running"),
    "alarm handler": ("signal.signal(signal.SIGALRM, lambda *_: None)", "handles SIGALRM"),
    "children's signal": (
        "signal.signal(signal.SIGCHLD, lambda *_: os.waitpid(-1, 0))",
        "handles SIGCHLD",
    ),
    "exit handler": ("import atexit; atexit.register(print)", "at a process's end (models.py:"),
    "fork handler": (
        "os.register_at_fork(after_in_child=int)",
        "where a process is forked (models.py:",
    ),
    "temporary folder": ("FOLDER = tempfile.TemporaryDirectory()", "TemporaryDirectory"),
    "deletion": (
        "class Thing:\n    def __del__(self): pass\nTHING = Thing()",
        "an object whose deletion does something (Thing)",
    ),
    "generator": ("RNG = numpy.random.default_rng()", "without a seed (PCG64)"),
    "random object": ("RNG = random.Random()", "without a seed (Random)"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_is_unfit_is_imported_by_each(run, name):
    body, why = UNFIT[name]
    result = run(f"{body}\ndef look():\n    return 1\n{TWINS}")
    assert why in result.why
    assert len(result.tokens) == 2
    assert result.values == ["1", "1"]


def test_a_seed_is_not_shared_with_other_files(run):
    other = "import zerrow\n@zerrow.model()\ndef other():\n    return [{'x': 1}]\n"
    result = run("random.seed(1)\ndef look(): pass\n" + TWINS, files={"other.py": other})
    assert "seeds random numbers in one file" in result.why


def test_libraries_that_survive_a_fork_may_have_been_used(run):
    """Arrow's and OpenBLAS's threads are there when it is forked, and work in its workers."""
    result = run(
        "import pyarrow.parquet as pq\n"
        "pq.write_table(pa.table({'a': range(200_000), 'b': range(200_000)}), 'x.parquet')\n"
        "LOOKUP = pq.read_table('x.parquet')\n"
        "ONES = numpy.ones((600, 600)); PRODUCT = ONES @ ONES\n"
        "THREADS = len(os.listdir('/proc/self/task'))\n"
        "def look():\n"
        "    read = pq.read_table('x.parquet')\n"
        "    return THREADS > 2, read.equals(LOOKUP), bool(((ONES @ ONES) == PRODUCT).all())\n"
        + TWINS
    )
    assert result.why == ""
    assert result.values == ["(True, True, True)"] * 2


@pytest.mark.parametrize("backend", ["auto", "memfd", "copy"])
def test_a_table_of_the_module_is_copied_once(zerrow, project, backend):
    source = (
        "import zerrow, pyarrow as pa\nTABLE = pa.table({'n': list(range(300_000))})\n"
        "@zerrow.model()\ndef made():\n    return TABLE\n"
    )
    for name in ("a", "b"):
        source += f"@zerrow.model()\ndef {name}(made=zerrow.Model('made')):\n    return made\n"
    words = ("-O", "json", "--account", "--backend", backend)
    outcome = zerrow("run", "-p", project({"models.py": source}), *words)
    assert outcome.report["import_again"] == ""
    assert outcome.models["made"]["bytes"] >= 2_400_000
    assert outcome.models["made"]["copied_bytes"] >= 2_400_000
    if backend != "copy":
        for name in ("a", "b"):
            assert outcome.models[name]["reshared_bytes"] == 2_400_000
            assert outcome.models[name]["copied_bytes"] < 4096


@pytest.mark.parametrize(
    "body",
    [
        "import missing_module",
        "def broken(:",
        "raise ValueError('at import')",
        "sys.exit(3)",
        "os._exit(3)",
        "os.kill(os.getpid(), signal.SIGKILL)",
        "def look():\n    raise KeyError('in a function')\n" + TWINS,
        "def look():\n    os._exit(5)\n" + TWINS,
        "def look():\n    os.kill(os.getpid(), signal.SIGSEGV)\n" + TWINS,
        "import atexit\ndef look():\n    atexit.register(lambda: os._exit(6))\n" + TWINS,
    ],
)
def test_errors_are_the_same(zerrow, project, monkeypatch, body):
    folder = project({"models.py": HEADER.format(body=body)})
    found = []
    for once in ("1", "0"):
        monkeypatch.setenv("ZERROW_IMPORT_ONCE", once)
        report = zerrow("run", "-p", folder, "-O", "json").report
        models = [(m["name"], m["status"], m["error"]) for m in report["models"]]
        found.append((models, report.get("errors")))
    assert found[0] == found[1]
    assert any(error for *_, error in found[0][0]) or found[0][1]


def test_an_import_that_fails_only_in_a_worker_fails_its_model(zerrow, project, monkeypatch):
    """As where each worker imports; the import's own output is shown then."""
    monkeypatch.setenv("ZERROW_IMPORT_ONCE", "0")
    body = (
        "if os.path.exists('read'):\n    print('going to fail')\n    raise ValueError('again')\n"
        "open('read', 'w').close()\ndef look(): pass\n" + TWINS
    )
    outcome = zerrow("run", "-p", project({"models.py": HEADER.format(body=body)}), "-O", "json")
    assert outcome.models["first"]["status"] == "failed"
    assert "again" in outcome.models["first"]["error"]["message"]
    assert "going to fail" in outcome.err


SLEEPS = """\
def look():
    if not os.path.exists("begun"):
        import subprocess
        open("begun", "w").close()
        subprocess.run(["sleep", "1000"])
    return 1
@model("first")
def f():
    return look()
"""


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def importer_of(started):
    """The process that has forked the worker which has started the program."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for pid, command in started.processes().items():
            if command == "sleep 1000":
                return parent_of(parent_of(pid))
        time.sleep(0.02)
    raise AssertionError("the function wasn't called")


@pytest.mark.parametrize("isolation", ["", "none"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV])
def test_the_importer_is_lost(start, project, monkeypatch, number, isolation):
    monkeypatch.setenv("ZERROW_ISOLATION", isolation)
    folder = project({"models.py": HEADER.format(body=SLEEPS)})
    started = start("run", "-p", folder, "-O", "json", "--account", "--preview", "10")
    importer = importer_of(started)
    os.kill(importer, number)
    if number == signal.SIGSTOP:  # it won't reap its worker any more
        for pid, command in started.processes().items():
            if command == "sleep 1000":
                os.kill(parent_of(pid), signal.SIGKILL)
    outcome = started.finish()
    assert outcome.code == 0, outcome
    assert outcome.models["first"]["status"] == "success"
    assert "lost during the run" in outcome.report["import_again"]


@pytest.mark.parametrize(
    "body",
    [
        "os.fork = os.wait4 = os.pidfd_open = None",
        "import ctypes  # gives up all capabilities\n"
        "ctypes.CDLL(None).capset((ctypes.c_uint * 2)(0x20080522), (ctypes.c_uint * 6)())",
        "import json; json.dumps = lambda *_: '[' * 4000",
        "import json; real = json.dumps\njson.dumps = lambda body: real({**body, 'worker': 99})",
        "import socket; real = socket.send_fds\n"
        "socket.send_fds = lambda s, text, fds: real(s, text, [os.pidfd_open(os.getpid())])",
        "os.register_at_fork = None; import gc; gc.get_objects = None",
    ],
)
def test_an_import_that_breaks_things(run, body):
    """Whatever it does to what an importer uses, the functions are called."""
    result = run(body + "\ndef look():\n    return 1\n" + TWINS)
    assert result.values == ["1", "1"]


def test_explain_says_how(zerrow, project):
    folder = project({"models.py": HEADER.format(body="def look(): pass\n" + TWINS)})
    assert "the project is imported once\n" in zerrow("explain", "-p", folder).out
    (folder / "models.py").write_text(HEADER.format(body="F = open(__file__)\n" + TWINS))
    told = zerrow("explain", "-p", folder).out
    assert f"importing it left {folder}/models.py open" in told
    assert zerrow("explain", "-p", folder, "-O", "json").report["import_again"] != ""
