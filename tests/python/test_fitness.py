"""What is looked for in a process that has imported a project, before it is forked."""

import gc
import os
import pickle
import random
import threading
import time
import traceback

import numpy
import pytest
from zerrow._worker import fitness, random_states, threads


def in_a_fork(call):
    """What `call` returns in a process of its own, which has one thread."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            answer = call()
        except BaseException:
            answer = traceback.format_exc()
        os.write(theirs, pickle.dumps(answer))
        os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return pickle.loads(answer)


@pytest.fixture
def problem(tmp_path):
    """Why a process that has run a project's file of that text may not be forked."""

    def problem(text, files=1):
        path = tmp_path / "m.py"
        path.write_text(text)

        def run():
            gc.freeze()  # as zygotes do: what other tests have made isn't looked at
            watch = fitness.Watch(str(tmp_path))
            module = {"__name__": "m", "__file__": str(path)}
            exec(compile(text, path, "exec"), module)
            return watch.problem(files, own_namespace=False)

        return in_a_fork(run)

    return problem


@pytest.mark.parametrize(
    "text",
    [
        "",
        "with open(__file__) as file: file.read()",
        "import threading; thread = threading.Thread(target=int); thread.start(); thread.join()",
        "import subprocess; subprocess.run(['true'])",
        "import mmap; PRIVATE = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE)",
        "import mmap\nwith open(__file__) as f: READ = mmap.mmap(f.fileno(), 0, prot=1)\n"
        "del READ, f",
        "import atexit, json; json.loads('1')",
        "import signal; signal.signal(signal.SIGUSR1, signal.SIG_IGN)",
        "import signal; signal.alarm(100); signal.alarm(0)",
        "import logging; logging.getLogger('m').warning('')",
        "import threading; LOCK = threading.Lock(); LOCK.acquire()",
        "import random, numpy; random.seed(1); R = numpy.random.default_rng(5)",
        "import tempfile; NAME = tempfile.mktemp()",
        "import random; R = random.SystemRandom()",
        "class Plain: pass\nPLAIN = Plain()",
        "import numpy; ONES = numpy.ones((300, 300)) @ numpy.ones((300, 300))",
    ],
)
def test_fit(problem, text):
    assert problem(text) == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import os; os.dup2(os.open(__file__, os.O_RDONLY), 200)", "m.py open"),
        ("import selectors; S = selectors.DefaultSelector()", "anon_inode:[eventpoll] open"),
        ("import os; os.memfd_create('x')", "memfd:x"),
        ("import numpy; R = numpy.random.RandomState(1)", "without a seed (MT19937)"),
        ("import numpy; R = [numpy.random.Generator(numpy.random.PCG64())]", "(PCG64)"),
        ("import threading; threading.Timer(100, int).start()", "left the Python thread"),
        ("import weakref; F = weakref.finalize(weakref, print, 1)", "(print)"),
        ("import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)", "handles SIGCHLD"),
        ("import atexit\n\n@atexit.register\ndef at_end(): pass", "(m.py:3)"),
    ],
)
def test_unfit(problem, text, why):
    assert why in problem(text)


def test_a_seed_counts_where_other_files_would_share_it(problem):
    text = "import random; random.seed(1)"
    assert problem(text, files=1) == ""
    assert "seeds random numbers" in problem(text, files=2)
    assert problem("import random; random.random()", files=2) == ""


def test_calls_are_no_longer_noted_afterwards(tmp_path):
    import atexit

    original = atexit.register, os.register_at_fork
    fitness.Watch(str(tmp_path)).problem(1, own_namespace=False)
    assert (atexit.register, os.register_at_fork) == original


@pytest.mark.parametrize("drawn", [0, 1, 623, 624, 625, 100_000])
def test_drawing_numbers_is_no_seed(drawn):
    before = random_states.states()
    for _ in range(drawn):
        random.getrandbits(32)
    numpy.random.bytes(4 * drawn)
    assert random_states.seeded(before) == {}


@pytest.mark.parametrize(
    ("seed", "library"),
    [
        (lambda: random.seed(1), "random"),
        (lambda: numpy.random.seed(1), "numpy"),
        (lambda: random.setstate(random.Random(1).getstate()), "random"),
    ],
)
def test_a_seed_is_kept(seed, library):
    before = random_states.states()
    seed()
    seeded = random_states.seeded(before)
    assert set(seeded) == {library}
    values = random.random(), numpy.random.rand()
    random_states.renew(seeded)
    again = random.random(), numpy.random.rand()
    assert (values[0] == again[0], values[1] == again[1]) == (
        library == "random",
        library == "numpy",
    )


def test_whose_thread_it_is():
    def other_thread():
        stop = threading.Event()
        thread = threading.Thread(target=stop.wait)
        thread.start()
        while not (libraries := threads._libraries_of(thread.native_id, threads.mappings())):
            time.sleep(0.01)  # until it waits
        stop.set()
        thread.join()
        return libraries

    assert any("python" in library for library in in_a_fork(other_thread))
