"""Functions that fail in every way: a clear error, consumers skipped, the rest finished."""

import time

import pytest


def test_a_function_that_raises(project):
    project.models(
        """
        @zerrow.model()
        def good(t=zerrow.Model("t")):
            return t

        @zerrow.model()
        def bad(t=zerrow.Model("t")):
            helper()

        def helper():
            raise ValueError("no such thing")

        @zerrow.model()
        def after(bad=zerrow.Model("bad")):
            return bad
        """
    )
    run = project.run()
    assert run.code == 1
    assert run.report["status"] == "failed"
    assert run.statuses() == {
        "t": "success",
        "good": "success",
        "bad": "failed",
        "after": "skipped",
    }
    error = run.models["bad"]["error"]
    assert "no such thing" in error["message"]
    assert (error["file"], error["line"]) == ("models/m.py", 11)
    assert "helper()" in error["traceback"]
    assert "_tasks_python" not in error["traceback"]


@pytest.mark.parametrize(
    ("statement", "status", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed", "SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed", "SIGSEGV"),
        ("os.abort()", "killed", "SIGABRT"),
        ("os._exit(3)", "failed", "exited with code 3"),
        ("os._exit(0)", "failed", "exited with code 0"),
        ("sys.exit(4)", "failed", "SystemExit"),
        ("return 7", "failed", "int"),
    ],
)
def test_a_function_that_dies(project, statement, status, said):
    project.models(
        f"""
        @zerrow.model()
        def bad(t=zerrow.Model("t")):
            print("last words", flush=True)
            {statement}

        @zerrow.model()
        def after(bad=zerrow.Model("bad")):
            return bad
        """
    )
    run = project.run()
    assert run.code == 1
    assert run.statuses() == {"t": "success", "bad": status, "after": "skipped"}
    assert said in run.models["bad"]["error"]["message"]
    assert run.models["bad"]["error"]["file"] == "models/m.py"
    assert "bad" in run.stderr
    assert "last words" in run.stderr
    project.expect_nothing_left(0)


def test_a_timeout(project):
    project.models(
        """
        @zerrow.resources(timeout=1)
        @zerrow.model()
        def slow(t=zerrow.Model("t")):
            subprocess.Popen(["sleep", "1000"])
            time.sleep(1000)

        @zerrow.model()
        def after(slow=zerrow.Model("slow")):
            return slow
        """
    )
    started = time.monotonic()
    run = project.run()
    assert time.monotonic() - started < 20
    assert run.statuses() == {"t": "success", "slow": "timeout", "after": "skipped"}
    assert "timeout of 1 s" in run.models["slow"]["error"]["message"]
    project.expect_nothing_left(0)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("raise RuntimeError('at import')", "at import"),
        ("os._exit(5)", "exited with code 5"),
        ("sys.exit(5)", "SystemExit"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
    ],
)
def test_an_import_that_fails(project, statement, said):
    project.models(
        f"""
        {statement}

        @zerrow.model()
        def model(t=zerrow.Model("t")):
            return t
        """
    )
    run = project.run()
    assert run.code == 1
    assert run.report["models"] == []
    [error] = run.report["errors"]
    assert said in error["message"]
    assert error["file"] == "models/m.py"
    project.expect_nothing_left(0)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        # The engine's own limit comes a little later, on a slow machine perhaps first.
        ("", ("still being imported", "hangs")),
        # What Python can't interrupt is the engine's to end.
        ("signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())", ("hangs",)),
    ],
)
def test_an_import_that_hangs(project, monkeypatch, statement, said):
    monkeypatch.setenv("ZERROW_IMPORT_TIMEOUT_S", "2")
    project.models(
        f"""
        {statement}
        time.sleep(1000)

        @zerrow.model()
        def model(t=zerrow.Model("t")):
            return t
        """
    )
    run = project.run()
    [error] = run.report["errors"]
    assert error["file"] == "models/m.py"
    assert any(text in error["message"] for text in said)
    project.expect_nothing_left(0)


def test_a_zygote_that_does_not_start_in_time(project, monkeypatch, tmp_path):
    monkeypatch.setenv("ZERROW_START_TIMEOUT_S", "1")
    folder = tmp_path / "path"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import time\ntime.sleep(1000)\n")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    run = project.run()
    assert run.code == 1
    [error] = run.report["errors"]
    assert "ZERROW_START_TIMEOUT_S" in error["message"]
    project.expect_nothing_left()


def test_descendants_are_gone_before_the_output_is_published(project):
    project.models(
        """
        @zerrow.model()
        def made(t=zerrow.Model("t")):
            for _ in range(3):
                if os.fork() == 0:
                    os.setsid()
                    if os.fork() == 0:
                        time.sleep(1000)
                    os._exit(0)
            subprocess.Popen(["sleep", "1000"], start_new_session=True)
            return t

        @zerrow.model()
        def after(made=zerrow.Model("made")):
            return made.slice(0, 10)
        """
    )
    run = project.run()
    assert run.statuses() == {"t": "success", "made": "success", "after": "success"}
    assert run.models["after"]["rows"] == 10
    project.expect_nothing_left(0)


def test_everything_that_is_printed_arrives(project):
    project.models(
        """
        @zerrow.model()
        def loud(t=zerrow.Model("t")):
            for i in range(20_000):
                print("line", i)
            sys.stderr.write("e" * 100_000 + "\\n")
            sys.stdout.write("no newline at the end")
            return t.slice(0, 1)
        """
    )
    run = project.run()
    assert run.code == 0
    lines = [line for line in run.stderr.splitlines() if "| line " in line]
    assert [line.rsplit(" ", 1)[1] for line in lines] == [str(i) for i in range(20_000)]
    assert run.stderr.count("e" * 100) >= 990  # in pieces, each marked with its model
    assert "no newline at the end" in run.stderr


def test_expectations(project):
    project.models(
        """
        @zerrow.expectation()
        def unmet(t=zerrow.Model("t")):
            return t.num_rows == 0

        @zerrow.model()
        def model(t=zerrow.Model("t")):
            return t
        """
    )
    run = project.run()
    assert (run.code, run.models["unmet"]["expectation"]) == (0, False)
    strict = project.run("--strict")
    assert strict.code == 1
    assert strict.statuses() == {"t": "success", "unmet": "failed", "model": "success"}


def test_errors_of_the_graph_come_together_and_nothing_runs(project):
    project.models(
        """
        @zerrow.model()
        def a(b=zerrow.Model("b"), x=zerrow.Model("tt")):
            return b

        @zerrow.model()
        def b(a=zerrow.Model("a"), t=zerrow.Model("t", columns=["xx"])):
            return a
        """
    )
    run = project.run()
    assert run.code == 1
    assert run.report["models"] == []
    messages = [error["message"] for error in run.report["errors"]]
    assert any('"tt"; did you mean "t"?' in message for message in messages)
    assert any('"xx" of "t"; did you mean "x"?' in message for message in messages)
    assert any("a -> b -> a" in message or "b -> a -> b" in message for message in messages)
    assert all(error["file"] == "models/m.py" and error["line"] for error in run.report["errors"])
