"""A table is handed on before its process is gone, and only if nobody can write to it any more."""

import pytest

MODELS = """\
import ctypes, mmap, os, signal, socket, stat, subprocess, sys, threading, time
import numpy as np, pyarrow as pa, zerrow

ROWS = 1_000_000


@zerrow.model()
def made():
    values = np.arange(ROWS)
    {body}
    return pa.table({{"n": values}})


@zerrow.expectation()
def is_as_made(made=zerrow.Model("made")):
    time.sleep(0.3)
    return made["n"].to_numpy().tolist() == list(range(ROWS))
"""

# Each keeps a way to the output's memory, or tries to disturb the end of the process.
BODIES = {
    "nothing": "pass",
    "a thread that reads it": """
def reads():
    while True:
        values.sum()
threading.Thread(target=reads, daemon=True).start()""",
    "a forked child": """
if os.fork() == 0:
    time.sleep(0.2)
    values[:] = 7
    os._exit(0)""",
    "a forked grandchild of a session of its own": """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for _ in range(1000):
            values[:] = 7
            time.sleep(0.01)
    os._exit(0)
os.wait()""",
    "its chunks' descriptors, inherited": """
for fd in map(int, os.listdir("/proc/self/fd")):
    try:
        os.set_inheritable(fd, True)
    except OSError:
        pass
subprocess.Popen(["sleep", "100"], close_fds=False)""",
    "its chunks, in a message that nobody reads": """
kept = socket.socketpair()
for fd in map(int, os.listdir("/proc/self/fd")):
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            socket.send_fds(kept[0], [b"x"], [fd])
    except OSError:
        pass
subprocess.Popen(["sleep", "100"], pass_fds=[kept[1].fileno()])""",
    "its chunks, mapped once more": """
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
for fd in map(int, os.listdir("/proc/self/fd")):
    libc.mmap(None, ctypes.c_size_t(1 << 21), 3, mmap.MAP_SHARED, fd, ctypes.c_long(0))""",
    "handlers of signals": """
for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGTERM):
    signal.signal(number, lambda *_: os._exit(3))""",
}


@pytest.mark.parametrize("backend", ["memfd", "copy"])
@pytest.mark.parametrize("kept", BODIES)
def test_what_is_kept_of_an_output_changes_nothing(zerrow, project, kept, backend):
    source = MODELS.format(body=BODIES[kept].strip().replace("\n", "\n    "))
    folder = project({"models.py": source})
    outcome = zerrow("run", "-p", folder, "-O", "json", "--strict", "--backend", backend)
    assert outcome.code == 0, outcome.err
    report = outcome.report
    assert {model["status"] for model in report["models"]} == {"success"}


def test_workers_that_waited_share_nothing(zerrow, project):
    """They are forked one after the other from the same process, before their tasks are known."""
    source = """\
import os, random, tempfile
import numpy as np, pyarrow as pa, zerrow

SEEN = []
"""
    for i in range(6):
        source += f"""
@zerrow.model()
def m{i}({f'before=zerrow.Model("m{i - 1}")' if i else ""}):
    SEEN.append({i})
    drawn = [str(random.random()), str(np.random.random()), tempfile.mktemp(), os.urandom(4).hex()]
    return pa.table({{"seen": [len(SEEN)] * 4, "drawn": drawn}})
"""
    folder = project({"models.py": source})
    names = [f"m{i}" for i in range(6)]
    selected = [word for name in names for word in ("--select", name)]
    outcome = zerrow("run", "-p", folder, "-O", "json", "--preview", "9", *selected)
    assert outcome.code == 0, outcome.err
    previews = outcome.report["previews"]
    rows = [tuple(row) for preview in previews for row in preview["rows"]]
    assert len(rows) == 24
    assert {seen for seen, _ in rows} == {1}
    assert len({drawn for _, drawn in rows}) == 24
