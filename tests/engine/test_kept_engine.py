"""What `zerrow.run` keeps between calls, and that it goes with the process."""

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import zerrow
from zerrow._kept_engine import kept

# What is kept doesn't depend on how tables are handed over.
pytestmark = pytest.mark.parametrize("project", ["memfd"], indirect=True)

PACKAGE = str(Path(zerrow.__file__).parent.parent)
MODELS = """
    @zerrow.model()
    def doubled(t=zerrow.Model("t")):
        return t.append_column("y", pa.array([2 * x for x in t["x"].to_pylist()]))
"""
TIMEOUT_S = 120


@pytest.fixture(autouse=True)
def _no_engine():
    kept.stop()
    yield
    kept.stop()


def children():
    """This process's own, by number."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # the thread has ended
            found.update(map(int, (task / "children").read_text().split()))
    return found


def start_host(project, script):
    """A Python process of its own that runs the script, with the project's folder as `project`."""
    name, value = project.marker.split("=")
    here = f"project, backend = {str(project.folder)!r}, {project.backend!r}"
    header = f"import os, sys, zerrow\n{here}\n"
    return subprocess.Popen(
        [sys.executable, "-c", header + textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, name: value, "PYTHONPATH": PACKAGE},
    )


def finish(host):
    stdout, stderr = host.communicate(timeout=TIMEOUT_S)
    assert host.returncode == 0, stderr
    assert stderr == ""
    return stdout


@pytest.fixture
def run(project):
    def run(**arguments):
        return zerrow.run(project.folder, **{"backend": project.backend, **arguments})

    return run


def printed(run, **arguments):
    lines = []
    run(on_line=lambda model, stream, line: lines.append(line), **arguments)
    return lines


def test_the_second_run_starts_no_process_of_its_own(project, run):
    project.models(MODELS)
    before = children()
    run()
    kept_by_first = children() - before
    assert kept_by_first
    run()
    assert children() - before == kept_by_first
    kept.stop()
    assert children() == before


def test_results_stay_valid(project, run):
    project.models(MODELS)
    result = run()
    opened = result.table("doubled")
    run()
    kept.stop()
    late = result.table("doubled")
    for table in (opened, late):
        table.validate(full=True)
        assert table["y"].to_pylist() == [2 * x for x in range(100_000)]


def test_a_new_engine_serves_after_one_was_stopped(project, run):
    project.models(MODELS)
    first = run().table("doubled")
    kept.stop()
    assert run().table("doubled").equals(first)


def test_two_threads_at_once(project):
    # Each waits for the other: one after the other they would wait for ever.
    project.models(
        """
        @zerrow.model()
        def met(t=zerrow.Model("t"), own=zerrow.Parameter("own"), other=zerrow.Parameter("other")):
            open(own, "w").close()
            while not os.path.exists(other):
                time.sleep(0.01)
            print("I am", own)
            return t
        """
    )
    project.write(
        "zerrow_project.yml",
        "name: test\nsources:\n  t: t.parquet\nparameters:\n"
        "  own: {type: str, required: true}\n  other: {type: str, required: true}\n",
    )
    lines = {"a": [], "b": []}

    def work(own, other):
        zerrow.run(
            project.folder,
            backend=project.backend,
            parameters={"own": own, "other": other},
            on_line=lambda model, stream, line: lines[own].append(line),
        )

    threads = [threading.Thread(target=work, args=names) for names in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert lines == {"a": ["I am a"], "b": ["I am b"]}


def test_the_environment_is_that_of_the_call(project, run, monkeypatch):
    project.models(
        """
        @zerrow.model()
        def told(t=zerrow.Model("t")):
            open("made", "w").close()
            print(os.environ.get("TOLD"), oct(os.stat("made").st_mode & 0o777), os.getcwd())
            os.unlink("made")
            return t
        """
    )
    monkeypatch.delenv("TOLD", raising=False)
    umask = os.umask(0o022)
    try:
        assert printed(run) == [f"None 0o644 {project.folder}"]
        monkeypatch.setenv("TOLD", "something")
        os.umask(0o077)
        monkeypatch.chdir("/")
        assert printed(run) == [f"something 0o600 {project.folder}"]
        monkeypatch.setitem(os.environb, b"TOLD", b"\xff")
        assert printed(run) == [rf"\udcff 0o600 {project.folder}"]
    finally:
        os.umask(umask)


def test_another_environment_in_each_run(project, run, monkeypatch):
    project.models(MODELS)
    before = children()
    for number in range(8):
        monkeypatch.setenv("NUMBER", str(number))
        run()
    assert len(children() - before) <= 5


def test_a_relative_python_path_is_that_of_the_call(project, run, monkeypatch, tmp_path):
    project.models(
        """
        @zerrow.model()
        def found(t=zerrow.Model("t")):
            import found_by_path
            print(found_by_path.PLACE)
            return t
        """
    )
    monkeypatch.setenv("PYTHONPATH", f"lib:{PACKAGE}")
    for place in ("here", "there"):
        (tmp_path / place / "lib").mkdir(parents=True)
        (tmp_path / place / "lib" / "found_by_path.py").write_text(f"PLACE = {place!r}\n")
        monkeypatch.chdir(tmp_path / place)
        assert printed(run) == [place]


def test_on_line_raises(project, run):
    project.models(
        """
        @zerrow.model()
        def talks(t=zerrow.Model("t")):
            print("hello", flush=True)
            time.sleep(1000)
        """
    )

    def on_line(model, stream, line):
        assert threading.current_thread() is threading.main_thread()
        raise LookupError(line)

    with pytest.raises(LookupError, match="hello"):
        run(on_line=on_line)
    project.models(MODELS)
    assert run().status == "success"


def test_on_line_runs_a_project(project, run):
    project.models(MODELS + '\n    print("read")')
    inner = []
    run(on_line=lambda *line: inner or inner.append(run(on_line=lambda *line: None)))
    assert inner[0].status == "success"


def test_what_is_found_by_content_can_be_stored_instead(project, run):
    project.models("""
        import numpy as np

        @zerrow.model()
        def numbers():
            return pa.table({"n": np.arange(100_000)})

        @zerrow.model()
        def copied(numbers=zerrow.Model("numbers")):
            return pa.table({"n": numbers["n"].to_numpy().copy()})
    """)
    for wanted, found in ((True, 800_000), (False, 0)):
        result = run(content_reshare=wanted)
        copied = result.models["copied"]
        assert copied.content_reshared_bytes == found
        assert copied.new_bytes == 800_000 - found
        assert result.table("copied") == result.table("numbers")


def test_options_that_make_no_sense(project, run):
    project.models(MODELS)
    for arguments in (
        {"backend": "fast"},
        {"backend": None},
        {"jobs": -1},
        {"jobs": 0},
        {"jobs": "many"},
        {"jobs": 1.0},
        {"jobs": True},
        {"jobs": 4097},
        {"jobs": 2**40},
        {"jobs": 2**100},
        {"select": "doubled"},
        {"select": None},
        {"keep": [7]},
        {"strict": "yes"},
        {"account": 1},
        {"content_reshare": 0},
        {"parameters": ["x"]},
        {"parameters": {1: 2}},
        {"output": 7},
        {"output": project.folder / "t.parquet"},
    ):
        with pytest.raises(zerrow.InvalidOptionsError) as raised:
            run(**arguments)
        ((option, value),) = arguments.items()
        assert option in str(raised.value)
        if option == "jobs":
            assert f"a whole number from 1 to 4096, not {value!r}" in str(raised.value)
        assert isinstance(raised.value, zerrow.RunError)
        assert isinstance(raised.value, ValueError)
    with pytest.raises(zerrow.InvalidOptionsError, match="nowhere doesn't exist"):
        zerrow.run(project.folder / "nowhere")


def fork(do):
    """Does it in a forked process; its exit status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        faulthandler.register(signal.SIGALRM, chain=True)  # what hangs here says where
        signal.alarm(120)
        try:
            do()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_fork_between_runs(project, run):
    project.models(MODELS)
    before = children()
    result = run()
    table = result.table("doubled")
    ours = children() - before

    def in_child():
        nonlocal result, table
        assert result.table("doubled").equals(table)
        del result, table
        assert not children()
        assert run().table("doubled")["y"][7].as_py() == 14
        kept.stop()

    assert fork(in_child) == 0
    assert children() - before == ours
    assert result.table("doubled").equals(table)
    assert run().table("doubled").equals(table)
    assert children() - before == ours


def test_a_fork_of_what_outlived_its_engine(project, run):
    project.models(MODELS)
    result = run()
    kept.stop()

    def in_child():
        nonlocal result
        del result

    assert fork(in_child) == 0
    run()  # takes the memory that was given back
    assert result.table("doubled")["y"].to_pylist() == [2 * x for x in range(100_000)]


def test_a_fork_while_a_function_runs(project, run):
    project.models(
        """
        @zerrow.model()
        def waits(t=zerrow.Model("t")):
            print("hello", flush=True)
            while not os.path.exists("go"):
                time.sleep(0.01)
            return t
        """
    )

    def in_child():
        raise SystemExit(0)

    def on_line(model, stream, line):
        if os.fork() == 0:
            raise SystemExit(0)
        project.write("go", "")

    own = os.getpid()
    try:
        assert run(on_line=on_line).status == "success"
    except SystemExit as left:
        assert os.getpid() != own
        os._exit(left.code)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0


def run_in_child(folder, backend):
    return zerrow.run(folder, backend=backend).table("doubled")["y"][7].as_py()


def test_multiprocessing(project, run):
    project.models(MODELS)
    run()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        arguments = [(project.folder, project.backend)] * 4
        assert pool.starmap(run_in_child, arguments) == [14] * 4
    assert run().status == "success"


def test_a_forked_process_doesnt_keep_ours(project):
    project.models(MODELS)
    host = start_host(
        project,
        """
        import signal, warnings
        zerrow.run(project, backend=backend)
        warnings.simplefilter("ignore")  # from 3.12 on of forking amid threads
        child = os.fork()
        if child == 0:
            signal.pause()
        from zerrow._kept_engine import kept
        kept.stop()
        listed = open(f"/proc/self/task/{os.getpid()}/children").read().split()
        print(listed == [str(child)])
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        """,
    )
    assert finish(host) == "True\n"
    project.expect_nothing_left()


@pytest.mark.parametrize(
    "end",
    [
        "",
        "sys.exit()",
        "import threading; threading.Thread(target=zerrow.run, args=[project]).start()",
        "os._exit(0)",
    ],
)
def test_nothing_is_left_at_exit(project, end):
    project.models(MODELS)
    host = start_host(
        project,
        f"""
        import atexit
        atexit.register(lambda: zerrow.run(project, backend=backend))  # after ours
        result = zerrow.run(project, backend=backend)
        table = result.table("doubled")
        {end}
        """,
    )
    finish(host)
    project.expect_nothing_left()


def test_a_daemon_thread_runs_at_exit(project):
    project.models(
        """
        @zerrow.model()
        def slow(t=zerrow.Model("t")):
            print("hello", flush=True)
            time.sleep(1000)
        """
    )
    host = start_host(
        project,
        """
        import threading
        began = threading.Event()
        def work():
            zerrow.run(project, backend=backend, check=False, on_line=lambda *line: began.set())
        threading.Thread(target=work, daemon=True).start()
        began.wait()
        """,
    )
    finish(host)
    project.expect_nothing_left()


@pytest.mark.parametrize("running", [False, True])
def test_the_host_is_killed(project, running):
    body = 'open("there", "w").write("yes"); time.sleep(1000)' if running else "return t"
    project.models(f'@zerrow.model()\ndef m(t=zerrow.Model("t")):\n    {body}\n')
    host = start_host(
        project,
        f"""
        zerrow.run(project, backend=backend)
        open({str(project.folder / "there")!r}, "w").write("yes")
        import signal
        signal.pause()
        """,
    )
    project.wait_for_file("there")
    assert len(project.processes()) > 1
    host.kill()
    host.communicate(timeout=TIMEOUT_S)
    project.expect_nothing_left()


def test_the_host_waits_for_all_its_children(project, run):
    project.models(MODELS)
    before = children()
    run()
    for pid in children() - before:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert run().status == "success"
    kept.stop()
    assert children() == before


def zygotes():
    found = set()
    for pid in children():
        with contextlib.suppress(OSError):  # it has ended
            if b"zerrow._worker.zygote" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(pid)
    return found


def test_what_nobody_needs_is_ended(project, run, monkeypatch):
    monkeypatch.setattr("zerrow._kept_engine._ZYGOTE_IDLE_S", 0.2)
    project.models(MODELS)
    run()
    deadline = time.monotonic() + TIMEOUT_S
    while zygotes():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert run().status == "success"
