"""Plays the engine: starts the zygote, forks workers, gives them tasks and reads their answers."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from zerrow import _native

TIMEOUT_S = 60
TASK = json.loads((Path(__file__).parents[2] / "messages.json").read_text())["task"]
PLAIN = {"backend": "copy", "account": False, "content_reshare": False, "environment": {}}
USUAL = {
    "discover": {"query": None},
    "source": {"have": []},
    "sql": {"contract": ""},
    "export": {"format": "parquet", "rows": None},
}


@dataclass
class Outcome:
    """What became of one worker."""

    answer: dict[str, Any] | None = None
    table: pa.Table | None = None
    entries: list[tuple[dict[str, Any], pa.Table]] = field(default_factory=list)  # of a source
    stdout: str = ""
    stderr: str = ""
    exited: dict[str, Any] = field(default_factory=dict)

    @property
    def error(self):
        return self.answer["error"]

    @property
    def exit_code(self):
        return os.waitstatus_to_exitcode(self.exited["wait_status"])


class Worker:
    """A forked worker, from the engine's side."""

    def __init__(self, harness, number):
        self.harness = harness
        self.number = number
        ours, theirs = _native.Channel.make_pair()
        self.channel = ours
        self.stdout, out = os.pipe()
        self.stderr, err = os.pipe()
        given = [os.open(os.devnull, os.O_RDONLY), out, err]
        harness.channel.send({"op": "fork", "worker": number}, [theirs.fileno(), *given])
        for fd in given:
            os.close(fd)
        del theirs
        self.pidfd = harness.wait_for("forked", number)[1][0]

    def send(self, project_dir, kind, tables=(), **fields):
        """Sends a task; `tables` are pairs of parameter and table, or whole input entries."""
        fds, inputs = [], []
        for parameter, table, *more in tables:
            _, (fd,) = _native.Handover().publish(table, backend="copy")
            inputs.append(
                {
                    "parameter": parameter,
                    "model": parameter,
                    "format": "arrow_file",
                    "message": len(fds),
                    "rows": table.num_rows,
                    "segments": [],
                    **(more[0] if more else {}),
                }
            )
            fds.append(fd)
        body = {**TASK, **PLAIN, **USUAL.get(kind, {}), "kind": kind, "inputs": inputs}
        self.channel.send({**body, "project_dir": str(project_dir), **fields}, fds)
        for fd in fds:
            os.close(fd)

    def finish(self):
        """Waits for the answer and the end of the worker."""
        outcome = Outcome()
        received = self.channel.receive(timeout_ms=TIMEOUT_S * 1000)
        while received is not None and received[0]["op"] == "decoded":
            for entry, fd in zip(received[0]["entries"], received[1], strict=True):
                outcome.entries.append((entry, _native.Handover().open("sipc", fd)))
                os.close(fd)
            received = self.channel.receive(timeout_ms=TIMEOUT_S * 1000)
        if received is not None:
            outcome.answer, fds = received
            if outcome.answer["op"] == "output":
                outcome.table = _native.Handover().open(outcome.answer["format"], fds[0])
            for fd in fds:
                os.close(fd)
        outcome.exited = self.harness.wait_for("exited", self.number)[0]
        for name in ("stdout", "stderr"):
            with open(getattr(self, name), encoding="utf-8") as pipe:
                setattr(outcome, name, pipe.read())
        os.close(self.pidfd)
        return outcome

    def kill(self):
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)


class Harness:
    """The zygote and what it has said so far."""

    def __init__(self, isolation="", preload="pandas,polars", env=None):
        self.channel, theirs = _native.Channel.make_pair()
        os.set_inheritable(theirs.fileno(), True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "zerrow._worker.zygote"],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "ZERROW_ZYGOTE_FD": str(theirs.fileno()),
                "ZERROW_PRELOAD": preload,
                "ZERROW_ISOLATION": isolation,
                "ARROW_DEFAULT_MEMORY_POOL": "system",
                **(env or {}),
            },
            pass_fds=[theirs.fileno()],
        )
        del theirs
        self.messages = []
        self.count = 0
        self.ready = self.wait_for("ready")[0]

    def wait_for(self, op, worker=None):
        """The zygote's next message of that kind for that worker; others wait their turn."""
        for i, (body, _) in enumerate(self.messages):
            if body["op"] == op and body.get("worker") == worker:
                return self.messages.pop(i)
        while True:
            received = self.channel.receive(timeout_ms=TIMEOUT_S * 1000)
            assert received is not None, "the zygote is gone"
            body, fds = received
            if body["op"] == op and body.get("worker") == worker:
                return body, fds
            self.messages.append((body, fds))

    def start(self):
        self.count += 1
        return Worker(self, self.count)

    def run(self, project_dir, kind, tables=(), **fields):
        worker = self.start()
        worker.send(project_dir, kind, tables, **fields)
        return worker.finish()

    def call(self, project_dir, source, tables=(), function="f", kind="python", **fields):
        """Runs a function whose file has the given text, as the model or expectation "m"."""
        self.write(project_dir, source, function, kind)
        return self.run(
            project_dir,
            kind,
            tables,
            model="m",
            file="model.py",
            function=function,
            **fields,
        )

    def write(self, project_dir, source, function="f", kind="python"):
        decorator = "expectation" if kind == "expectation" else "model"
        declared = f"\nimport zerrow\nzerrow.{decorator}(name='m')({function})\n"
        (project_dir / "model.py").write_text(source + declared)

    def close(self):
        del self.channel
        self.process.wait(timeout=TIMEOUT_S)


@pytest.fixture(scope="session", params=["namespaces", "none"])
def zygote(request):
    """A zygote with namespaces, where they are permitted, and one without."""
    harness = Harness(isolation="none" if request.param == "none" else "")
    if request.param == "namespaces" and not harness.ready["isolation"]["pid_namespace"]:
        harness.close()
        pytest.skip("no PID namespaces here")
    yield harness
    harness.close()


@pytest.fixture(scope="session")
def plain_zygote():
    """One zygote, whatever isolation there is: for what doesn't depend on it."""
    harness = Harness()
    yield harness
    harness.close()


@pytest.fixture
def start_zygote():
    """Starts zygotes of the test's own."""
    with contextlib.ExitStack() as stack:

        def start(**arguments):
            harness = Harness(**arguments)
            stack.callback(lambda: harness.process.poll() is None and harness.close())
            return harness

        yield start
