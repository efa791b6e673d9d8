"""The zygote: workers come and go, and nothing of them stays."""

import os
import signal
import time

import pyarrow as pa
import pytest

ONE = pa.table({"x": [1]})


def processes():
    """The command lines of all processes, by pid."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                found[int(pid)] = file.read().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def descendants(pid):
    """All processes below `pid`, as seen from outside of its namespaces."""
    parents = {}
    for other in processes():
        try:
            with open(f"/proc/{other}/stat") as file:
                parents[other] = int(file.read().rsplit(")", 1)[1].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found, grown = {pid}, True
    while grown:
        more = {child for child, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found - {pid}


def test_the_function_gets_a_process_of_its_own(zygote, tmp_path):
    outcome = zygote.call(
        tmp_path,
        """
import os, sys
def f(a):
    assert os.getcwd() == os.path.dirname(os.path.abspath(__file__))
    assert os.getpid() != 1
    assert sorted(map(int, os.listdir("/proc/self/fd")))[:3] == [0, 1, 2]
    assert "LD_PRELOAD" not in os.environ and "ZERROW_ZYGOTE_FD" not in os.environ
    print("to stdout")
    print("to stderr", file=sys.stderr)
    assert sys.stdin.read() == ""
    return a
""",
        [("a", ONE)],
    )
    assert outcome.answer["op"] == "output", outcome
    assert outcome.table.equals(ONE)
    assert (outcome.stdout, outcome.stderr) == ("to stdout\n", "to stderr\n")
    assert outcome.exit_code == 0
    assert outcome.exited["cpu_s"] > 0
    assert outcome.exited["max_rss_bytes"] > 10 << 20


def test_no_descriptor_but_the_granted(zygote, tmp_path):
    outcome = zygote.call(
        tmp_path,
        """
import os
def f(a):
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found[int(fd)] = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            pass
    return [{"fd": fd, "what": what} for fd, what in found.items()]
""",
        [("a", ONE)],
    )
    found = {row["fd"]: row["what"] for row in outcome.table.to_pylist()}
    assert found.pop(0) == "/dev/null"
    assert found.pop(1).startswith("pipe:")
    assert found.pop(2).startswith("pipe:")
    assert found.pop(max(found)).startswith("socket:")  # the channel to the engine
    assert not found


@pytest.mark.parametrize(
    ("code", "killed_by"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", signal.SIGKILL),
        ("os.abort()", signal.SIGABRT),
        ("ctypes.string_at(0)", signal.SIGSEGV),
        ("signal.raise_signal(signal.SIGTERM)", signal.SIGTERM),
    ],
)
def test_a_worker_that_dies_leaves_its_signal(zygote, tmp_path, code, killed_by):
    source = f"import os, signal, ctypes\ndef f(a):\n    {code}\n"
    outcome = zygote.call(tmp_path, source, [("a", ONE)])
    assert outcome.answer is None
    assert os.WTERMSIG(outcome.exited["wait_status"]) == killed_by


def test_os_exit_leaves_no_answer(zygote, tmp_path):
    outcome = zygote.call(tmp_path, "import os\ndef f(a):\n    os._exit(0)\n", [("a", ONE)])
    assert outcome.answer is None
    assert outcome.exited["wait_status"] == 0


def test_killed_on_request(zygote, tmp_path):
    zygote.write(
        tmp_path,
        "import time, subprocess\ndef f(a):\n"
        "    subprocess.Popen(['sleep', '1000'])\n    print('up', flush=True)\n"
        "    time.sleep(1000)\n",
    )
    worker = zygote.start()
    worker.send(tmp_path, "python", [("a", ONE)], model="m", file="model.py", function="f")
    os.read(worker.stdout, 2)
    worker.kill()
    outcome = worker.finish()
    assert os.WTERMSIG(outcome.exited["wait_status"]) == signal.SIGKILL
    assert not any("sleep 1000" in line for line in processes().values())


DAEMONIZE = """
import os, time, subprocess, multiprocessing
def f(a):
    for depth in range(3):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execvp("sleep", ["sleep", "4321"])
            os._exit(0)
    subprocess.Popen(["setsid", "sleep", "4321"], start_new_session=True)
    if os.fork() == 0:
        os.setsid()
        while True:
            time.sleep(0.01)
            if os.fork() != 0:
                os._exit(0)  # always in a new process
    time.sleep(0.1)
    return a
"""


def test_daemonized_descendants_are_gone_at_exited(zygote, tmp_path):
    before = descendants(zygote.process.pid)
    outcome = zygote.call(tmp_path, DAEMONIZE, [("a", ONE)])
    after = descendants(zygote.process.pid)
    assert outcome.table is not None
    assert not any("sleep 4321" in line for line in processes().values())
    # The nursery may have made the next namespace's first process meanwhile.
    assert len(after) <= len(before) + 1, [processes().get(pid) for pid in after - before]


def test_a_grandchild_of_one_worker_does_not_cost_another(zygote, tmp_path):
    zygote.write(
        tmp_path,
        "import subprocess, time\ndef f(a):\n"
        "    child = subprocess.Popen(['sleep', '1.5'])\n    print('up', flush=True)\n"
        "    assert child.wait() == 0\n    return a\n",
    )
    slow = zygote.start()
    slow.send(tmp_path, "python", [("a", ONE)], model="m", file="model.py", function="f")
    os.read(slow.stdout, 2)
    project = tmp_path / "other"
    project.mkdir()
    assert zygote.call(project, DAEMONIZE, [("a", ONE)]).table is not None
    assert slow.finish().table is not None


def test_two_hundred_workers(zygote, tmp_path):
    zygote.write(tmp_path, "def f(a):\n    return a\n")
    before = len(descendants(zygote.process.pid))
    fields = {"model": "m", "file": "model.py", "function": "f"}
    for _ in range(25):
        batch = [zygote.start() for _ in range(8)]
        for worker in batch:
            worker.send(tmp_path, "python", [("a", ONE)], **fields)
        for worker in batch:
            outcome = worker.finish()
            assert outcome.table is not None, outcome
    assert len(descendants(zygote.process.pid)) <= before + 1


def test_random_numbers_differ_between_workers(zygote, tmp_path):
    source = (
        "import random, numpy\ndef f(a):\n"
        "    return [{'r': random.random(), 'n': float(numpy.random.rand())}]\n"
    )
    rows = [zygote.call(tmp_path, source, [("a", ONE)]).table.to_pylist()[0] for _ in range(3)]
    assert len({row["r"] for row in rows}) == 3
    assert len({row["n"] for row in rows}) == 3


def test_own_pid_namespace(start_zygote, tmp_path):
    zygote = start_zygote(preload="")
    if not zygote.ready["isolation"]["pid_namespace"]:
        pytest.skip("no PID namespaces here")
    outcome = zygote.call(
        tmp_path,
        "import os\ndef f(a):\n"
        "    seen = [p for p in os.listdir('/proc') if p.isdigit()]\n"
        "    return [{'pid': os.getpid(), 'seen': len(seen)}]\n",
        [("a", ONE)],
    )
    row = outcome.table.to_pylist()[0]
    assert 1 < row["pid"] < 10
    assert row["seen"] == 2  # itself and its namespace's first process


def test_the_engine_is_out_of_reach(start_zygote, tmp_path):
    zygote = start_zygote(preload="")
    if not zygote.ready["isolation"]["user_namespace"]:
        pytest.skip("no user namespaces here")
    outcome = zygote.call(
        tmp_path,
        f"import ctypes, os\ndef f(a):\n"
        f"    traced = ctypes.CDLL(None).ptrace(16, {os.getpid()}, 0, 0)\n"
        f"    return [{{'traced': traced, 'seen': os.path.exists('/proc/{os.getpid()}/fd')}}]\n",
        [("a", ONE)],
    )
    assert outcome.table.to_pylist() == [{"traced": -1, "seen": False}]


@pytest.mark.parametrize("isolation", ["", "none"])
def test_the_end_of_the_engine_is_the_end_of_all(start_zygote, tmp_path, isolation):
    zygote = start_zygote(isolation=isolation, preload="")
    zygote.write(tmp_path, DAEMONIZE.replace("return a", "time.sleep(1000)"))
    workers = [zygote.start() for _ in range(2)]
    for worker in workers:
        worker.send(tmp_path, "python", [("a", ONE)], model="m", file="model.py", function="f")
    time.sleep(0.5)
    known = descendants(zygote.process.pid)
    zygote.close()
    left = [line for pid, line in processes().items() if pid in known]
    assert not left
    assert not any("sleep 4321" in line for line in processes().values())


def test_a_killed_zygote_takes_all_with_it(start_zygote, tmp_path):
    zygote = start_zygote(preload="")
    if not zygote.ready["isolation"]["pid_namespace"]:
        pytest.skip("no PID namespaces here")
    zygote.write(tmp_path, DAEMONIZE.replace("return a", "time.sleep(1000)"))
    worker = zygote.start()
    worker.send(tmp_path, "python", [("a", ONE)], model="m", file="model.py", function="f")
    time.sleep(0.5)
    known = descendants(zygote.process.pid)
    zygote.process.kill()
    zygote.process.wait()
    deadline = time.monotonic() + 30
    while known & processes().keys() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not known & processes().keys()


def test_a_library_that_is_not_there_is_no_problem(start_zygote):
    zygote = start_zygote(preload="no_such_library,pandas")
    assert zygote.ready["python"]


IMPORTED = """
import gc, os, sys
def f(a):
    own = "zerrow._worker.tasks_source"
    names = ["pandas", "pyarrow.parquet", "sqlglot.dialects.postgres", own]
    return [{
        "imported": [name for name in names if name in sys.modules],
        "collects": gc.isenabled(),
        "blas": os.environ.get("OPENBLAS_THREAD_TIMEOUT"),
    }]
"""


@pytest.mark.parametrize(
    ("preload", "imported"),
    [
        ("", ["pandas"]),  # pyarrow's
        ("sqlglot", ["pandas", "sqlglot.dialects.postgres"]),
        ("pyarrow.parquet", ["pandas", "pyarrow.parquet", "zerrow._worker.tasks_source"]),
    ],
)
def test_workers_find_imported_what_the_project_needs(start_zygote, tmp_path, preload, imported):
    outcome = start_zygote(preload=preload).call(tmp_path, IMPORTED, [("a", ONE)])
    assert outcome.table.to_pylist() == [{"imported": imported, "collects": True, "blas": None}]


def test_what_the_user_tells_openblas_holds(start_zygote, tmp_path):
    zygote = start_zygote(preload="", env={"OPENBLAS_THREAD_TIMEOUT": "8"})
    outcome = zygote.call(tmp_path, IMPORTED, [("a", ONE)])
    assert outcome.table.to_pylist()[0]["blas"] == "8"
