"""The zygote's side of a process that has imported a project."""

import json
import os
import signal
import socket

from zerrow._worker.importers import Importers
from zerrow._worker.watcher import Watcher


def sleeping():
    """A child that does nothing; its number."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    return pid


def test_one_that_was_stopped_with_its_worker_goes_on():
    """The engine stops a worker with all that it has started, and that worker may end so."""
    importers = Importers(Watcher(), lambda *_: None, lambda: None)
    importer, theirs = importers.begin(7, None)
    pid = sleeping()
    try:
        with socket.socket(fileno=theirs) as worker:
            socket.send_fds(worker, [json.dumps({"op": "ready"}).encode()], [os.pidfd_open(pid)])
        os.kill(pid, signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
        assert importers.stays(importer)
        _, status = os.waitpid(pid, os.WCONTINUED | os.WNOHANG)
        assert os.WIFCONTINUED(status)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
