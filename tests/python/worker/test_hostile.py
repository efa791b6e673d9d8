"""Functions that do something to their own process: their answers arrive, and are true."""

import pyarrow as pa
import pytest

TABLE = pa.table({"x": [1, 2, 3]})

HEAD = """\
import atexit, builtins, codecs, ctypes, gc, io, json, linecache, os, resource, signal, sys
import threading, time, traceback

def refuse(*args, **kwargs):
    raise RuntimeError("not in this model")

class Swallow:
    def write(self, text):
        return len(text)

def hook(*args):
    raise RuntimeError("hooked")

def interrupt(*args):
    raise KeyboardInterrupt

def f(a):
"""

# What a function may do and then return its input, or raise.
DEEDS = {
    "json": "json.dumps = json.loads = refuse",
    "os.write": "os.write = os.close = os.open = os.fstat = os._exit = refuse",
    "os.path": "os.path.realpath = os.path.join = os.path.isfile = os.lstat = os.stat = refuse",
    "posix": "import posix; posix.stat = posix._exit = refuse",
    "stdout": "sys.stdout = Swallow()",
    "no streams": "sys.stdout = sys.stderr = sys.stdin = None",
    "closed streams": "sys.stdout.close(); sys.stderr.close()",
    "closed 0, 1, 2": "os.closerange(0, 3)",
    "print": "builtins.print = refuse",
    "builtins": "builtins.isinstance = builtins.len = builtins.type = builtins.str = refuse",
    "all builtins": (
        "names = vars(builtins); [names.pop(name) for name in dir(builtins) if name.islower()]"
    ),
    "its except": "builtins.BaseException = builtins.AssertionError = builtins.OSError = refuse",
    "import": "builtins.__import__ = refuse",
    "time": "time.perf_counter = time.process_time = time.monotonic = None",
    "traceback": "vars(traceback).clear(); vars(linecache).clear()",
    "modules": "sys.modules.clear()",
    "path": "sys.path.clear(); sys.meta_path.clear()",
    "closed descriptors": "os.closerange(3, 256)",
    "reused descriptors": "os.closerange(3, 256); [os.open('/dev/null', os.O_RDWR) for _ in '12']",
    "folder": "os.chdir('/')",
    "recursion limit": "sys.setrecursionlimit(30)",
    "profile": "threading.setprofile(refuse); sys.setprofile(lambda *args: None)",
    "trace": "sys.settrace(lambda *args: None)",
    "alarm": "signal.signal(signal.SIGALRM, interrupt); signal.setitimer(0, 0.002, 1e-6)",
    "profiling timer": "signal.setitimer(signal.ITIMER_PROF, 0.001)",
    "signals": "[signal.signal(s, interrupt) for s in (1, 2, 10, 12, 14, 15, 17)]",
    "pipe": "signal.signal(signal.SIGPIPE, signal.SIG_DFL)",
    "memory": "resource.setrlimit(resource.RLIMIT_AS, (1 << 20, resource.RLIM_INFINITY))",
    "files": "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 5000))",
    "file size": "resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))",
    "gc": "gc.disable(); gc.freeze(); gc.set_threshold(1)",
    "exit handlers": "atexit._clear(); atexit._run_exitfuncs = refuse",
    "threading": "threading._shutdown = refuse",
    "codecs": "codecs.register_error('backslashreplace', refuse)",
    "hooks": "sys.excepthook = sys.unraisablehook = refuse",
    "asynchronous exception": (
        "ctypes.pythonapi.PyThreadState_SetAsyncExc("
        "ctypes.c_ulong(threading.get_ident()), ctypes.py_object(KeyError)) "
        "if a is None else None"
    ),
    "environment": "os.environ.clear(); os.unsetenv('PATH')",
    "io": "vars(io).clear()",
    "umask": "os.umask(0o777)",
}


@pytest.mark.parametrize("deed", DEEDS)
def test_a_result_arrives(plain_zygote, tmp_path, deed):
    source = f"{HEAD}    {DEEDS[deed]}\n    return a\n"
    outcome = plain_zygote.call(tmp_path, source, [("a", TABLE)])
    assert outcome.table is not None, outcome
    assert outcome.table.equals(TABLE)
    assert outcome.exit_code == 0


@pytest.mark.parametrize("deed", DEEDS)
def test_an_error_arrives_with_its_place(plain_zygote, tmp_path, deed):
    source = f"{HEAD}    {DEEDS[deed]}\n    raise LookupError('this one')\n"
    outcome = plain_zygote.call(tmp_path, source, [("a", TABLE)])
    assert outcome.answer is not None, outcome
    assert outcome.error["message"] == "LookupError: this one"
    assert (outcome.error["file"], outcome.error["line"]) == ("model.py", HEAD.count("\n") + 2)
    assert "LookupError: this one" in outcome.error["traceback"]
    assert outcome.exit_code == 0


@pytest.mark.parametrize("deed", DEEDS)
def test_an_expectation_answers(plain_zygote, tmp_path, deed):
    source = f"{HEAD}    {DEEDS[deed]}\n    assert not a, 'there are rows'\n"
    outcome = plain_zygote.call(tmp_path, source, [("a", TABLE)], kind="expectation")
    assert outcome.answer is not None, outcome
    value = outcome.answer["value"]
    assert (value["met"], value["message"]) == (False, "there are rows")
    assert (value["file"], value["line"]) == ("model.py", HEAD.count("\n") + 2)


@pytest.mark.parametrize("kind", ["setprofile", "settrace"])
def test_a_hook_that_raises_is_the_functions_own_error(plain_zygote, tmp_path, kind):
    source = f"{HEAD}    sys.{kind}(hook)\n    return a.slice(1)\n"
    outcome = plain_zygote.call(tmp_path, source, [("a", TABLE)])
    if outcome.table is None:  # a trace function is only called in frames that begin then
        assert outcome.error["message"] == "RuntimeError: hooked"
    assert outcome.exit_code == 0


def test_every_descriptor_closed(plain_zygote, tmp_path):
    outcome = plain_zygote.call(
        tmp_path, f"{HEAD}    os.closerange(3, 1 << 16)\n    return a\n", [("a", TABLE)]
    )
    assert outcome.answer is None
    assert outcome.exit_code == 121
    assert "closed file descriptors that it hasn't opened" in outcome.stderr


def test_a_forked_process_that_comes_back_does_not_answer(plain_zygote, tmp_path):
    source = "import os\ndef f(a):\n    return a.slice(1) if os.fork() == 0 else os.wait() and a\n"
    outcome = plain_zygote.call(tmp_path, source, [("a", TABLE)])
    assert outcome.table.equals(TABLE)
    assert "had forked came back" in outcome.stderr


EXCEPTIONS = """
class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")
    __repr__ = __str__

class Number(Exception):
    def __str__(self):
        return 7

class Text(str):
    def strip(self, *_):
        raise RuntimeError
    split = __len__ = __add__ = __format__ = strip

class Sly(Exception):
    def __str__(self):
        return Text("sly")

class Nameless(type):
    __name__ = property(lambda self: 1 / 0)

class Odd(Exception, metaclass=Nameless):
    pass

class Fatal(BaseException):
    pass

def circle():
    a, b = ValueError("a"), ValueError("b")
    a.__cause__, b.__cause__ = b, a
    return a

def chain():
    problem = None
    for i in range(20_000):
        problem, last = ValueError(i), problem
        problem.__cause__ = last
    return problem

def group(depth):
    members = [ValueError("first one"), KeyError("second")]
    if depth:
        members += [group(depth - 1) for _ in range(12)] if depth < 3 else [group(depth - 1)]
    return BaseExceptionGroup("several at once", members)

def syntax():
    problem = SyntaxError()
    problem.msg = problem.filename = problem.lineno = object()
    return problem

def f(a):
    raise %s
"""


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        ("Mute", "Mute: (it has no text: its __str__ raised RuntimeError)"),
        ("Number", "Number: (it has no text: its __str__ raised TypeError)"),
        ("Sly", "Sly: sly"),
        ("Odd('x')", "Odd: x"),
        ("Fatal('x')", "Fatal: x"),
        ("ValueError('caf\\udce9.csv')", "ValueError: caf\\udce9.csv"),
        ("ValueError from Mute()", "ValueError"),
        ("circle()", "ValueError: a"),
        ("chain()", "ValueError: 19999"),
        ("group(0)", "ExceptionGroup: several at once (2 sub-exceptions)"),
        ("group(8)", "ExceptionGroup: several at once (3 sub-exceptions)"),
        ("syntax()", "SyntaxError"),
        ("ValueError('x' * 3_000_000)", "ValueError: xxxx"),
        ("StopIteration('x')", "StopIteration: x"),
        ("GeneratorExit", "GeneratorExit"),
        ("MemoryError", "MemoryError"),
    ],
)
def test_exceptions_of_every_kind(plain_zygote, tmp_path, raised, words):
    source = EXCEPTIONS % raised
    outcome = plain_zygote.call(tmp_path, source, [("a", TABLE)])
    assert outcome.answer is not None, outcome
    assert outcome.error["message"].startswith(words)
    assert (outcome.error["file"], outcome.error["line"]) == ("model.py", source.count("\n"))
    assert len(str(outcome.error)) < 200_000
    if "group" in raised:
        assert "ValueError: first one" in outcome.error["traceback"]


UNSAYABLE = [
    ("[{'x': 'plain'}, {'x': 'caf\\udce9'}]", "column 'x': 'caf\\udce9' isn't text"),
    ("[{'caf\\udce9': 1}]", "column 'caf\\udce9'"),
    ("[{1: 1}]", "keys aren't texts: 1"),
    ("pandas.DataFrame({'x': ['caf\\udce9']}, dtype=object)", "isn't text"),
    ("[{'x': 2**70}]", "column 'x'"),
    ("[{'x': 1}, {'x': 'a'}]", "column 'x'"),
    ("[{'x': object()}]", "column 'x'"),
]


@pytest.mark.parametrize(("result", "words"), UNSAYABLE)
def test_results_that_no_table_can_hold(plain_zygote, tmp_path, result, words):
    source = f"import pandas\ndef f(a):\n    return {result}\n"
    error = plain_zygote.call(tmp_path, source, [("a", TABLE)]).error
    assert words in error["message"]
    assert error["traceback"] == ""


def test_printed_surrogates_are_seen(plain_zygote, tmp_path):
    code = "print('caf\\udce9'); print('\\ud800', file=sys.stderr)"
    source = f"import sys\ndef f(a):\n    {code}\n    return a\n"
    outcome = plain_zygote.call(tmp_path, source, [("a", TABLE)])
    assert (outcome.stdout, outcome.stderr) == ("caf\\udce9\n", "\\ud800\n")
    assert outcome.table.equals(TABLE)


def test_an_import_that_replaces_things(plain_zygote, tmp_path):
    source = "import json, os\njson.dumps = os.write = None\ndef f(a):\n    return a\n"
    assert plain_zygote.call(tmp_path, source, [("a", TABLE)]).table.equals(TABLE)


def test_a_reader_that_fails_while_it_is_read(plain_zygote, tmp_path):
    source = """\
import builtins, pyarrow
def batches(a):
    builtins.isinstance = None
    yield from a.to_batches()
    raise LookupError("no more")
def f(a):
    return pyarrow.RecordBatchReader.from_batches(a.schema, batches(a))
"""
    error = plain_zygote.call(tmp_path, source, [("a", TABLE)]).error
    assert "no more" in error["message"]
    assert "LookupError" in error["message"]


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("import pyarrow; pyarrow.scalar('a').cast('int64')", 2),  # Cython's frames are relative
        ("exec(compile('1/0', 'model.txt', 'exec'))", 2),
        ("exec(compile('\\n\\n1/0', 'pyarrow/error.pxi', 'exec'))", 2),
        ("exec(compile('\\n\\n1/0', '<string>', 'exec'))", 2),
        ("import os; os.chdir('/'); 1/0", 2),
        ("import os, runpy; runpy.run_path('script.py')", 3),
        ("import os; os.chdir('/'); compile('(', 'no.py', 'exec')", 2),
    ],
)
def test_only_files_that_are_there_are_the_users(plain_zygote, tmp_path, code, line):
    (tmp_path / "script.py").write_text("\n\n1/0\n")
    error = plain_zygote.call(tmp_path, f"def f(a):\n    {code}\n", [("a", TABLE)]).error
    assert (error["file"], error["line"]) == ("script.py" if line == 3 else "model.py", line)
    assert 'File "pyarrow' not in error["traceback"]
