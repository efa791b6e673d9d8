"""The resident engine from outside: its life, its clients' deaths, what a run brings with it."""

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

TIMEOUT_S = 120

NUMBERS = """import pyarrow as pa
import zerrow

@zerrow.model()
def numbers():
    return pa.table({"n": list(range(10))})
"""

ENDLESS = """import time
import pyarrow as pa
import zerrow

@zerrow.model()
def endless():
    print("begun", flush=True)
    time.sleep(600)
    return pa.table({"n": [1]})
"""

TALKATIVE = """import pyarrow as pa
import zerrow

@zerrow.model()
def talkative():
    for i in range(200_000):
        print(i, "x" * 200)
    return pa.table({"n": [1]})
"""

SURROUNDINGS = """import json, os, resource
import pyarrow as pa
import zerrow

@zerrow.model()
def here():
    seen = {
        "variable": os.environ.get("MINE"),
        "terminal": os.environ.get("TERM"),
        "umask": os.umask(0),
        "niceness": os.getpriority(os.PRIO_PROCESS, 0),
        "cpus": sorted(os.sched_getaffinity(0)),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }
    print(json.dumps(seen))
    return pa.table({"n": [1]})
"""


@pytest.fixture
def project(tmp_path):
    """Writes a project of one file."""

    def write(text, name="project"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "zerrow_project.yml").write_text("name: tiny\n")
        (folder / "models.py").write_text(text)
        return folder

    return write


def await_line(process, text):
    while text not in (line := process.stdout.readline()):
        assert line, process.communicate()


def gone(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def descendants(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(child)]
    return found


# --- its life


def test_it_is_started_looked_at_and_stopped(nobody, project):
    started = nobody.run("engine", "start", "-O", "json")
    assert started.returncode == 0, started
    pid = json.loads(started.stdout)["pid"]
    status = nobody.status()
    assert status["running"]
    assert status["pid"] == pid
    assert set(status["memory"]) == {
        "tables", "cache", "pool", "zygotes", "workers", "engine"
    }  # fmt: skip
    assert nobody.run("run", "-p", project(NUMBERS)).returncode == 0
    again = nobody.run("engine", "start")
    assert again.returncode == 1
    assert f"runs already, as process {pid}" in again.stderr
    stopped = nobody.run("engine", "stop", "-O", "json")
    assert json.loads(stopped.stdout) == {"stopped": True, "cancelled_runs": 0}
    assert gone(pid)
    assert not (nobody.folder / "zerrow" / "engine.sock").exists()


def test_without_one_it_is_said_so(nobody, project):
    assert nobody.run("engine", "stop").returncode == 0
    assert nobody.run("engine", "status").returncode == 1
    done = nobody.run("run", "-p", project(NUMBERS))
    assert done.returncode == 1
    assert "start it: zerrow engine start" in done.stderr
    assert nobody.run("run", "-p", "project", cwd=nobody.folder.parent, env=AUTO).stderr == ""


AUTO = {"ZERROW_ENGINE": "auto"}


def test_several_that_are_started_at_once_become_one(nobody):
    starting = [nobody.popen("engine", "start") for _ in range(5)]
    codes = sorted(process.wait(TIMEOUT_S) for process in starting)
    assert codes == [0, 1, 1, 1, 1]
    assert nobody.run("engine", "stop").returncode == 0


def test_a_refused_start_leaves_the_log_of_the_one_that_runs(nobody):
    assert nobody.run("engine", "start").returncode == 0
    log = nobody.folder / "zerrow" / "engine.log"
    log.write_text("something went wrong\n")
    assert nobody.run("engine", "start").returncode == 1
    assert log.read_text() == "something went wrong\n"
    assert nobody.run("engine", "stop").returncode == 0
    assert nobody.run("engine", "start").returncode == 0
    assert log.read_text() == ""
    assert nobody.run("engine", "stop").returncode == 0


def test_closed_streams_are_in_nobodys_way(nobody):
    def closed(*words):
        return nobody.run(*words, before=["sh", "-c", 'exec "$0" "$@" <&- >&-'])

    # There is nobody to tell, which is an error, but what was asked for is done.
    assert "couldn't be written" in closed("engine", "start").stderr
    assert nobody.status()["running"]
    assert closed("engine", "status").returncode == 1
    assert closed("engine", "stop").returncode == 1
    assert nobody.run("engine", "status").returncode == 1


def test_a_stopped_one_is_not_waited_for_for_ever(resident):
    resident.engine.send_signal(signal.SIGSTOP)
    waiting = []
    with contextlib.suppress(BlockingIOError):
        while len(waiting) < 1000:
            waiting.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            waiting[-1].setblocking(False)
            waiting[-1].connect(str(resident.folder / "zerrow" / "engine.sock"))
    done = resident.run("engine", "status")
    assert done.returncode == 1
    assert "doesn't answer" in done.stderr
    waiting.clear()


def test_what_a_killed_one_has_left_is_in_nobodys_way(resident):
    resident.engine.kill()
    resident.engine.wait()
    assert (resident.folder / "zerrow" / "engine.sock").exists()
    assert resident.run("engine", "status").returncode == 1
    resident.end()
    resident.start()
    assert resident.status()["running"]


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_it_and_its_clients_hear_of_it(resident, project, signal_number):
    client = resident.popen("run", "-p", project(ENDLESS))
    await_line(client, "begun")
    processes = descendants(resident.engine.pid)
    resident.engine.send_signal(signal_number)
    assert resident.engine.wait(TIMEOUT_S) == 0
    assert client.wait(TIMEOUT_S) == 130
    assert all(gone(pid) for pid in processes)


def test_idle_memory_goes_back_in_steps(nobody, project):
    config = nobody.folder / "zerrow" / "config.toml"
    config.parent.mkdir(mode=0o700)
    config.write_text("rest_after_s = 1\nzygotes_end_after_s = 3\n")
    nobody.start()
    for number in range(3):
        done = nobody.run("run", "-p", project(NUMBERS, f"p{number}"), env={"NUMBER": str(number)})
        assert done.returncode == 0, done
    nobody.wait_for(lambda status: len(status["zygotes"]) == 1)
    assert nobody.status()["memory"]["pool"] == 0
    nobody.wait_for(lambda status: status["zygotes"] == [])
    assert nobody.status()["memory"]["engine"] < 40 << 20
    assert nobody.run("run", "-p", nobody.folder.parent / "p1").returncode == 0
    nobody.end()


# --- who may be served


def test_a_folder_that_others_can_enter_is_refused(nobody, project):
    folder = nobody.folder / "zerrow"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    for words in (["engine", "start"], ["engine", "status"], ["run", "-p", project(NUMBERS)]):
        done = nobody.run(*words)
        assert done.returncode != 0
        assert "chmod 700" in done.stderr
    done = nobody.run("run", "-p", nobody.folder.parent / "project", env=AUTO)
    assert done.returncode == 0
    assert "chmod 700" in done.stderr


def test_a_link_in_the_folders_place_is_refused(nobody, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (nobody.folder / "zerrow").symlink_to(tmp_path / "elsewhere")
    done = nobody.run("engine", "start")
    assert done.returncode != 0
    assert "isn't a folder" in done.stderr


def hello(resident, version="0.1.0", protocol=5):
    """A client of ours: the channel, and what it was told first."""
    from zerrow import _native

    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(str(resident.folder / "zerrow" / "engine.sock"))
    channel = _native.Channel(connection.detach())
    channel.send({"op": "hello", "version": version, "protocol": protocol}, [])
    return channel, channel.receive()[0]


def test_another_version_is_refused(resident):
    assert hello(resident)[1]["refusal"] == ""
    assert "another version" in hello(resident, version="0.0.9")[1]["refusal"]
    assert "another version" in hello(resident, protocol=1)[1]["refusal"]


@pytest.mark.parametrize("choice", ["auto", "resident"])
def test_a_client_of_another_version_runs_its_own_engine_and_says_so(nobody, project, choice):
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    (nobody.folder / "zerrow").mkdir(mode=0o700)
    listening.bind(str(nobody.folder / "zerrow" / "engine.sock"))
    listening.listen()
    from zerrow import _native  # takes longer than a client waits

    client = nobody.popen("run", "-p", project(NUMBERS), env={"ZERROW_ENGINE": choice})
    channel = _native.Channel(listening.accept()[0].detach())
    channel.receive()
    refusal = "it is of another version, 9.9"
    welcome = {"op": "welcome", "version": "9.9", "protocol": 7, "pid": 1, "refusal": refusal}
    channel.send(welcome, [])
    _, err = client.communicate(timeout=TIMEOUT_S)
    assert refusal in err
    assert client.returncode == (0 if choice == "auto" else 1), err


@pytest.mark.parametrize(
    ("namespace", "flag"), [("mnt", "--mount"), ("pid", "--fork --pid"), ("net", "--net")]
)
def test_a_client_in_another_namespace_runs_its_own_engine(resident, project, namespace, flag):
    before = ["unshare", "--user", "--map-root-user", *flag.split()]
    if subprocess.run([*before, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no namespaces can be made here")
    done = resident.run("run", "-p", project(NUMBERS), before=before, env=AUTO)
    assert "the resident engine can't do this run" in done.stderr, done
    assert done.returncode == 0, done


@pytest.mark.parametrize(
    "message",
    [
        {"op": "run"},
        {"op": "run", "options": 7},
        {"op": "nonsense"},
        {"op": "hello", "version": "0.1.0", "protocol": 2},
        [1, 2],
    ],
)
def test_nonsense_ends_nothing_but_its_connection(resident, project, message):
    channel, _ = hello(resident)
    channel.send(message, [])
    answer = channel.receive()
    assert answer is None or answer[0]["op"] == "failed"
    del channel
    assert resident.run("run", "-p", project(NUMBERS)).returncode == 0


def test_a_hundred_idle_clients_take_nothing_from_a_run(resident, project):
    clients = [hello(resident)[0] for _ in range(100)]
    assert resident.run("run", "-p", project(NUMBERS)).returncode == 0
    del clients
    resident.wait_until_idle()


# --- what a run brings


def test_a_run_brings_its_surroundings(resident, project):
    folder = project(SURROUNDINGS)
    cpu = max(os.sched_getaffinity(0))

    def take_on():
        os.umask(0o027)
        os.nice(3)
        os.sched_setaffinity(0, [cpu])
        resource.setrlimit(resource.RLIMIT_CORE, (0, 4096))
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 4096))

    done = resident.run(
        "run",
        *("-p", folder.name),
        cwd=folder.parent,
        env={"MINE": "a b\udcff", "TERM": "screen"},
        preexec_fn=take_on,
    )
    assert done.returncode == 0, done
    line = next(line for line in done.stdout.splitlines() if "variable" in line)
    assert json.loads(line.partition("|")[2]) == {
        "variable": "a b\udcff",
        "terminal": "screen",
        "umask": 0o027,
        "niceness": 3,
        "cpus": [cpu],
        "core": [0, 4096],
        "files": 200,
    }


def test_a_terminal_of_another_size_makes_no_other_zygote(resident, project):
    folder = project(SURROUNDINGS)
    for name in ("vt100", "screen"):
        done = resident.run("run", "-p", folder, env={"TERM": name, "COLUMNS": "91"})
        assert f'"terminal": "{name}"' in done.stdout
    assert len(resident.status()["zygotes"]) == 1
    resident.run("run", "-p", folder, env={"MINE": "1"})
    assert len(resident.status()["zygotes"]) == 2


def test_output_is_written_as_by_the_client(resident, project):
    folder = project(NUMBERS)
    done = resident.run(
        "run", "-p", ".", "--output", "out", cwd=folder, preexec_fn=lambda: os.umask(0o077)
    )
    assert done.returncode == 0, done
    assert (folder / "out").stat().st_mode & 0o777 == 0o700
    assert (folder / "out" / "numbers.parquet").stat().st_mode & 0o777 == 0o600


# --- clients that end


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_run_ends_with_its_client(resident, project, signal_number):
    client = resident.popen("run", "-p", project(ENDLESS))
    await_line(client, "begun")
    assert resident.status()["runs"][0]["running"] == ["endless"]
    client.send_signal(signal_number)
    code = client.wait(TIMEOUT_S)
    assert code == (-9 if signal_number == signal.SIGKILL else 130)
    resident.wait_until_idle()
    assert resident.status()["memory"]["workers"] == 0


def test_a_reader_that_goes_away_ends_the_run(resident, project):
    client = resident.popen("run", "-p", project(TALKATIVE))
    await_line(client, "talkative")
    client.stdout.close()
    assert client.wait(TIMEOUT_S) != 0
    resident.wait_until_idle()


def test_a_stopped_client_stops_nobody_else(resident, project):
    client = resident.popen("run", "-p", project(TALKATIVE, "loud"))
    await_line(client, "talkative")
    client.send_signal(signal.SIGSTOP)
    assert resident.run("run", "-p", project(NUMBERS)).returncode == 0
    assert resident.status()["memory"]["engine"] < 100 << 20
    client.send_signal(signal.SIGCONT)
    out, err = client.communicate(timeout=TIMEOUT_S)
    assert client.returncode == 0, err
    assert "199999 x" in out


def test_each_client_sees_its_own_output_only(resident, project):
    text = NUMBERS.replace("return", "print('mine is', __file__)\n    return")
    folders = [project(text, f"p{number}") for number in range(4)]
    clients = [resident.popen("run", "-p", folder) for folder in folders]
    for folder, client in zip(folders, clients, strict=True):
        out, err = client.communicate(timeout=TIMEOUT_S)
        assert client.returncode == 0, err
        said = [line for line in out.splitlines() if "mine is" in line]
        assert len(said) == 1
        assert str(folder) in said[0]


def test_whichever_process_of_a_zygote_is_killed_the_next_runs_are_done(resident, project):
    folder = project(NUMBERS)
    assert resident.run("run", "-p", folder).returncode == 0
    zygote = resident.status()["zygotes"][0]["pid"]
    descriptors = resident.descriptors()
    for depth in range(len(descendants(zygote)) + 1):
        processes = [zygote, *descendants(zygote)]
        os.kill(processes[min(depth, len(processes) - 1)], signal.SIGKILL)
        resident.run("run", "-p", folder)  # it may be what notices
        done = resident.run("run", "-p", folder)
        assert done.returncode == 0, done
        zygote = resident.status()["zygotes"][0]["pid"]
    resident.wait_until_idle()
    # The sessions of clients that have gone end a little later, with two descriptors each.
    resident.wait_for_descriptors(descriptors)


def test_clients_of_a_killed_engine_say_so(resident, project):
    clients = [resident.popen("run", "-p", project(ENDLESS, f"p{i}")) for i in range(2)]
    for client in clients:
        await_line(client, "begun")
    processes = descendants(resident.engine.pid)
    assert len(processes) >= 3
    resident.engine.kill()
    for client in clients:
        _, err = client.communicate(timeout=TIMEOUT_S)
        assert client.returncode == 1
        assert "the resident engine ended before the run did" in err
    end = time.monotonic() + 30
    while not all(gone(pid) for pid in processes) and time.monotonic() < end:
        time.sleep(0.02)
    assert all(gone(pid) for pid in processes)
