"""What a client does when the resident engine doesn't take its run, or can't tell what it left."""

import os
import signal
import socket
import subprocess
import sys

import pytest

TIMEOUT_S = 120
AUTO = {"ZERROW_ENGINE": "auto"}

NUMBERS = """import pyarrow as pa
import zerrow

@zerrow.model()
def numbers():
    return pa.table({"n": list(range(10))})
"""


@pytest.fixture
def project(tmp_path):
    """Writes a project of one file."""

    def write(text=NUMBERS):
        folder = tmp_path / "project"
        folder.mkdir()
        (folder / "zerrow_project.yml").write_text("name: tiny\n")
        (folder / "models.py").write_text(text)
        return folder

    return write


class Puppet:
    """An engine of which only the socket is there: what it says is the test's word."""

    def __init__(self, folder):
        (folder / "zerrow").mkdir(mode=0o700)
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listening.bind(str(folder / "zerrow" / "engine.sock"))
        self.listening.listen()

    def accept(self):
        """A client that has said hello."""
        from zerrow import _native

        channel = _native.Channel(self.listening.accept()[0].detach())
        assert channel.receive()[0]["op"] == "hello"
        return channel

    def welcome(self):
        """A client that has sent its run."""
        channel = self.accept()
        welcome = {"op": "welcome", "version": "0.1.0", "protocol": 2, "pid": 1, "refusal": ""}
        channel.send(welcome, [])
        assert channel.receive()[0]["op"] == "run"
        return channel


@pytest.fixture
def puppet(nobody):
    return Puppet(nobody.folder)


# --- one that doesn't answer


def test_one_that_is_stopped_is_done_without(resident, project):
    resident.engine.send_signal(signal.SIGSTOP)
    done = resident.run("run", "-p", project(), env=AUTO)
    assert done.returncode == 0, done
    assert "one of its own: the resident engine doesn't answer within 2000 ms" in done.stderr
    refused = resident.run("explain", "-p", resident.folder.parent / "project")
    assert refused.returncode == 1
    assert "can't do this run: the resident engine doesn't answer within 10000 ms" in refused.stderr


@pytest.mark.parametrize("words", [["run"], ["show", "numbers"], ["explain"]])
@pytest.mark.parametrize("greeted", [False, True])
def test_waiting_for_it_can_be_interrupted(nobody, puppet, project, words, greeted):
    client = nobody.popen(*words, "-p", project())
    channel = puppet.welcome() if greeted else puppet.accept()
    client.send_signal(signal.SIGINT)
    _, err = client.communicate(timeout=TIMEOUT_S)
    assert client.returncode == 130, err
    assert "answer" not in err
    del channel


@pytest.mark.parametrize("greeted", [False, True])
def test_waiting_for_it_in_python_can_be_interrupted(nobody, puppet, project, greeted):
    script = "import sys, zerrow; zerrow.Connection().run(sys.argv[1])"
    client = subprocess.Popen(
        [sys.executable, "-c", script, str(project())],
        env=nobody.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    channel = puppet.welcome() if greeted else puppet.accept()
    client.send_signal(signal.SIGINT)
    _, err = client.communicate(timeout=TIMEOUT_S)
    assert client.returncode == -signal.SIGINT, err
    assert err.strip().endswith("KeyboardInterrupt")
    assert "EngineError" not in err
    assert "OSError" not in err
    del channel


# --- one that ends, or says no, between hello and the run


@pytest.mark.parametrize("refusal", ["", "it is stopping"])
@pytest.mark.parametrize("choice", ["auto", "resident"])
def test_a_run_that_it_has_not_begun_is_done_elsewhere(nobody, puppet, project, refusal, choice):
    client = nobody.popen("run", "-p", project(), env={"ZERROW_ENGINE": choice})
    channel = puppet.welcome()
    if refusal:
        channel.send({"op": "failed", "code": 5, "message": refusal}, [])
    del channel
    out, err = client.communicate(timeout=TIMEOUT_S)
    assert client.returncode == (0 if choice == "auto" else 1), err
    assert "the resident engine can't do this run" in err
    assert (refusal or "has closed the connection") in err
    assert ("numbers" in out) == (choice == "auto")


def test_a_run_that_it_has_begun_is_not_done_twice(nobody, puppet, project):
    client = nobody.popen("run", "-p", project(), env=AUTO)
    channel = puppet.welcome()
    channel.send({"op": "accepted"}, [])
    del channel
    out, err = client.communicate(timeout=TIMEOUT_S)
    assert client.returncode == 1
    assert "the resident engine ended before the run did" in err
    assert "numbers" not in out


# --- what it can't tell


VERBOSE = (
    NUMBERS
    + """
def verbose(name):
    def model(numbers=zerrow.Model("numbers", filter="n = '" + name * 12_000_000 + "'")):
        return numbers
    zerrow.model(name=name)(model)

for name in "abcd":
    verbose(name)
"""
)


def test_an_answer_that_is_too_large_is_an_error_with_words(resident, project):
    done = resident.run("explain", "-p", project(VERBOSE))
    assert done.returncode == 1
    assert "the explanation is too large for the resident engine to send" in done.stderr
    assert "use --engine own" in done.stderr
    few = resident.run("explain", "-p", resident.folder.parent / "project", "--select", "a")
    assert few.returncode == 0, few.stderr


# --- where functions find their modules


@pytest.mark.parametrize("choice", ["own", "resident"])
@pytest.mark.parametrize("form", ["{}:", ":{}", "{}::/nowhere"])
def test_empty_entries_of_pythonpath_are_the_clients_folder(resident, project, choice, form):
    here = resident.folder.parent / "here"
    here.mkdir()
    (here / "only_here.py").write_text("")
    path = form.replace("{}", os.environ.get("PYTHONPATH") or "/nowhere")
    folder = project("import only_here\n" + NUMBERS)
    environment = {"PYTHONPATH": path, "ZERROW_ENGINE": choice}
    done = resident.run("run", "-p", folder, cwd=here, env=environment)
    assert done.returncode == 0, done


@pytest.mark.skipif("PYTHONPATH" in os.environ, reason="it says where the package is")
@pytest.mark.parametrize("choice", ["own", "resident"])
def test_an_empty_pythonpath_is_none(resident, project, choice):
    here = resident.folder.parent / "here"
    here.mkdir()
    (here / "only_here.py").write_text("")
    folder = project("import only_here\n" + NUMBERS)
    environment = {"PYTHONPATH": "", "ZERROW_ENGINE": choice}
    done = resident.run("run", "-p", folder, cwd=here, env=environment)
    assert done.returncode == 1
    assert "only_here" in done.stderr
