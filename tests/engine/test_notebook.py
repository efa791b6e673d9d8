"""`zerrow.run` of functions of the session, in a process of its own and in a real kernel."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest
import zerrow

PYTHON = str(Path(zerrow.__file__).parent.parent)

SCRIPT = """
import os
import sys

import pyarrow as pa
import zerrow

FACTOR = 3


def helped(x):
    if x > 3:
        raise ValueError(f"too large: {x}")
    return x * FACTOR


def make(name, least):
    @zerrow.model(name=name)
    def made(t: "pa.Table" = zerrow.Model("t", columns=["x"], filter="x > $least"),
             least=zerrow.Parameter("least")):
        print("in", name, os.getpid() != PARENT, os.getcwd())
        return pa.table({"y": [helped(x) for x in t["x"].to_pylist()]})
    return made


PARENT = os.getpid()
models = [make(f"m{i}", i) for i in range(2)]

if __name__ == "__main__":
    table = pa.table({"x": range(int(sys.argv[1])), "s": ["text"] * int(sys.argv[1])})
    result = zerrow.run(models, sources={"t": table}, parameters={"least": 0})
    print(result.table("m1")["y"].to_pylist(), result.status)
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    monkeypatch.setenv("PYTHONPATH", PYTHON)

    def run(*words):
        return subprocess.run(
            [sys.executable, path, *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def test_functions_run_with_what_they_use_of_their_session(script, tmp_path):
    done = script("4")
    assert done.returncode == 0, done
    lines = sorted(done.stdout.splitlines())
    assert lines == [
        "[3, 6, 9] success",
        f"m0 | in m0 True {tmp_path}",
        f"m1 | in m1 True {tmp_path}",
    ]


def test_tracebacks_show_the_sessions_own_lines(script, tmp_path):
    done = script("6")
    assert done.returncode == 1, done
    assert "zerrow._run_errors.ModelError" in done.stderr
    path = tmp_path / "script.py"
    assert f"{path}:13: m1: ValueError: too large: 4" in done.stderr
    assert f'File "{path}", line 22, in made' in done.stderr
    assert 'raise ValueError(f"too large: {x}")' in done.stderr


def made_here():
    """As in a session: not in a module that a worker could import."""

    @zerrow.model()
    def reads(t=zerrow.Model("t")):
        return t

    return reads


reads = made_here()


@pytest.mark.parametrize(
    ("project", "sources", "said"),
    [
        ([reads, len], {}, "neither a project's folder nor a function with @zerrow.model"),
        (5, None, "neither a project's folder"),
        ([reads], {"t": 5}, "source 't' is neither a path nor a table"),
        ([reads], {5: "t.parquet"}, "named by texts"),
        ([reads], ["t.parquet"], "by name"),
        (".", {"t": "t.parquet"}, "zerrow_project.yml"),
        ([reads], {}, "unknown input"),
        ([reads], {"t": "nowhere.parquet"}, "nowhere.parquet"),
    ],
)
def test_what_makes_no_sense_is_refused(project, sources, said):
    with pytest.raises(zerrow.ZerrowError, match=said):
        zerrow.run(project, sources=sources)


def test_what_is_of_a_module_that_no_worker_finds_is_told(tmp_path, monkeypatch):
    (tmp_path / "ghost.py").write_text(
        "import zerrow\ndef helper(): ...\n@zerrow.model()\ndef made(): return helper()\n"
    )
    spec = importlib.util.spec_from_file_location("ghost", tmp_path / "ghost.py")
    ghost = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "ghost", ghost)
    spec.loader.exec_module(ghost)
    namespace = {"zerrow": zerrow, "helper": ghost.helper, "__name__": "__main__"}
    exec("@zerrow.model()\ndef uses(): return helper()\n", namespace)
    for function, named in [(ghost.made, "made()"), (namespace["uses"], "what the functions use")]:
        with pytest.raises(zerrow.InvalidProjectError) as raised:
            zerrow.run(function)
        assert f"{named} can't be loaded" in str(raised.value)
        assert "No module named 'ghost'" in str(raised.value)
        assert "put the module's folder on sys.path" in str(raised.value)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "ghost.py").write_text("")
    with pytest.raises(zerrow.InvalidProjectError, match=r"made\(\) can't be loaded .* on disk"):
        zerrow.run(ghost.made)


CELLS = [
    """
import pyarrow as pa
import zerrow
limit = 2
""",
    """
@zerrow.model()
def few(t=zerrow.Model("t")):
    print("hello from", "few")
    return t.slice(0, limit)

@zerrow.model()
def broken(few=zerrow.Model("few")):
    return few["nowhere"]
""",
    """
result = zerrow.run([few], sources={"t": pa.table({"a<b": ["<i>x</i>", None] * 50})})
result
""",
    "result.table('few')",
    "zerrow.run([few, broken], sources={'t': pa.table({'a': [1]})}, check=False)",
]


def test_in_a_notebook(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", PYTHON)
    cells = [nbformat.v4.new_code_cell(text.strip()) for text in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()

    def html_of(i):
        found = [output.get("data", {}).get("text/html", "") for output in cells[i].outputs]
        return "\n".join(found)

    streams = [output for output in cells[2].outputs if output.output_type == "stream"]
    assert [output.text for output in streams] == ["few | hello from few\n"]
    assert "[2/2]" in html_of(2)
    assert "<td>few</td><td>success</td><td>2</td>" in html_of(2)
    assert "<th>a&lt;b<br><small>string</small></th>" in html_of(3)
    assert "<td>&lt;i&gt;x&lt;/i&gt;</td>" in html_of(3)
    assert "2 rows, 1 columns" in html_of(3)
    assert "In[2]:8: broken: KeyError" in html_of(4).replace("&#x27;", "'")
    assert "return few[&quot;nowhere&quot;]" in html_of(4)
