"""Namespaces: the zygote enters its own, and each worker gets a PID namespace below them.

What must happen before threads exist (entering a user namespace) is done with `zerrow._process`
alone, before any library is imported. Without permission for namespaces the zygote runs without.
"""

import contextlib
import errno
import os
import signal
import socket
from collections.abc import Callable
from os import fork
from typing import NoReturn

from zerrow import _process
from zerrow._worker.messages import Namespaces

_USER = _process.CLONE_NEWUSER
_PID = _process.CLONE_NEWPID
_MOUNT = _process.CLONE_NEWNS


# The best first. As root the user namespace matters too: it keeps workers from tracing the engine.
_LEVELS = [
    Namespaces(user_namespace=True, pid_namespace=True, mount_namespace=True),
    Namespaces(user_namespace=False, pid_namespace=True, mount_namespace=True),
]
_NONE = Namespaces(user_namespace=False, pid_namespace=False, mount_namespace=False)


def run_isolated(run: Callable[[Namespaces], NoReturn]) -> NoReturn:
    """Calls `run` in a forked process with as many namespaces as permitted, and exits as it does.

    That process is pid 1 of its PID namespace: when it ends, all that it left behind is killed by
    the kernel, and only then does this process end. `ZERROW_ISOLATION=none` asks for no namespaces.
    Call while there is one thread.
    """
    if os.environ.get("ZERROW_ISOLATION") != "none":
        for level in _LEVELS:
            status = _try_level(level, run)
            if status is not None:
                os._exit(status)
    run(_NONE)


def _try_level(level: Namespaces, run: Callable[[Namespaces], NoReturn]) -> int | None:
    """The exit status of `run`, or None if this level of isolation isn't permitted."""
    ours, theirs = _socket_pair()
    child = os.fork()
    if child == 0:
        ours.close()
        _process.die_with_parent(signal.SIGKILL)
        try:
            _enter(level, theirs)
        except OSError:
            os._exit(1)
        _hold(level, theirs, run)
    theirs.close()
    # The child asks for its user namespace's identity maps: only from outside can root map all ids.
    entered = False
    while message := ours.recv(16):
        if message == b"entered":
            entered = True
            break
        try:
            _write_id_maps(child)
            ours.send(b"mapped")
        except OSError:
            ours.send(b"failed")
    ours.close()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) & 0xFF if entered else None


def _enter(level: Namespaces, supervisor: socket.socket) -> None:
    flags = _PID | _MOUNT | (_USER if level["user_namespace"] else 0)
    _process.unshare(flags)
    if level["user_namespace"]:
        supervisor.send(b"unshared")
        if supervisor.recv(16) != b"mapped":
            raise PermissionError("identity maps")
    _keep_mounts_here()


def _keep_mounts_here() -> None:
    """Mounts made here don't show in the namespace that this one was copied from."""
    try:
        _process.mount(None, "/", None, _process.MS_REC | _process.MS_PRIVATE)
    except OSError as problem:
        if problem.errno != errno.EINVAL:
            raise
        # In a chroot / is no mount; /proc is the one that is mounted over.
        _process.mount(None, "/proc", None, _process.MS_PRIVATE)


def _hold(
    level: Namespaces, supervisor: socket.socket, run: Callable[[Namespaces], NoReturn]
) -> NoReturn:
    """Forks the first process of the new PID namespace and waits for its end."""
    zygote = os.fork()
    if zygote == 0:
        _process.die_with_parent(signal.SIGKILL)
        try:
            _mount_proc()
            Nursery.check()
        except OSError:
            os._exit(1)
        supervisor.send(b"entered")
        supervisor.close()
        run(level)
    supervisor.close()
    _, status = os.waitpid(zygote, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _write_id_maps(pid: int) -> None:
    """Every id that exists here exists there under the same number; unprivileged: only our own."""
    for kind, own in (("uid", os.geteuid()), ("gid", os.getegid())):
        ranges = [f"{own} {own} 1"]
        if os.geteuid() == 0:
            with open(f"/proc/self/{kind}_map") as known:
                ranges = [f"{start} {start} {count}" for start, _, count in map(str.split, known)]
        elif kind == "gid":
            _write(f"/proc/{pid}/setgroups", "deny")
        _write(f"/proc/{pid}/{kind}_map", "\n".join(ranges) + "\n")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _mount_proc() -> None:
    _process.mount("proc", "/proc", "proc", _process.MS_NOSUID_NODEV_NOEXEC)


def enter_worker_mounts() -> None:
    """In a new worker: a /proc that shows its own PID namespace and nothing else."""
    _process.unshare(_MOUNT)
    _mount_proc()


class Nursery:
    """A small process that makes a PID namespace for each worker.

    It is forked before the zygote grows, so that a namespace's first process, which only reaps,
    is small and quickly made. It dies with the zygote. `nested` makes namespaces with a nursery as
    their first process: namespaces below them can only be made, and entered, from inside.
    """

    def __init__(self) -> None:
        own_namespace = own_pid_namespace()
        self._socket, theirs = _socket_pair()
        pid = os.fork()
        if pid == 0:
            self._socket.close()
            _process.die_with_parent(signal.SIGKILL)
            _serve_namespaces(theirs, own_namespace)
        theirs.close()
        self.pidfd = os.pidfd_open(pid)
        os.close(own_namespace)
        self._begin()

    def _begin(self) -> None:
        self._made: list[int] = []
        self._socket.send(b"+")  # one is always being made in advance

    @staticmethod
    def check() -> None:
        """Raises OSError unless nested PID namespaces can be made and entered here."""
        child = os.fork()
        if child == 0:
            try:
                _process.unshare(_PID)
                _process.setns(own_pid_namespace(), _PID)
            except OSError:
                os._exit(1)
            os._exit(0)
        if os.waitpid(child, 0)[1] != 0:
            raise PermissionError("nested PID namespaces")

    def take(self) -> int:
        """The pidfd of the first process of a new PID namespace; killing it kills all in it.

        Raises OSError.
        """
        if self._made:
            return self._made.pop()
        self._socket.send(b"+")
        return self._receive()

    def nested(self) -> tuple["Nursery", int]:
        """A nursery inside of a new PID namespace, and the pidfd of its first process.

        What is forked into that namespace next isn't the second process there but a later one:
        libraries that know a fork by its pid would take a worker, which is the second process of
        its own, for the one that it was forked from. Raises OSError.
        """
        ours, theirs = _socket_pair()
        with theirs:
            socket.send_fds(self._socket, [b"n"], [theirs.fileno()])
        try:
            self._made.append(self._receive())  # of those in advance
        finally:
            init_pidfd = self._receive()
            self._socket.send(b"+")
        nursery = Nursery.__new__(Nursery)
        nursery._socket = ours
        nursery._begin()
        nursery._made.append(nursery.take())
        return nursery, init_pidfd

    def close(self) -> None:
        """Ends it, and with it all of the namespace whose first process it is."""
        self._socket.close()
        for pidfd in self._made:
            os.close(pidfd)

    def _receive(self) -> int:
        answer, fds, _, _ = socket.recv_fds(self._socket, 256, 1)
        if not fds:
            raise OSError(f"no PID namespace for a worker: {answer.decode() or 'nursery is gone'}")
        return fds[0]


def own_pid_namespace() -> int:
    """A descriptor of the PID namespace that this process is in."""
    return os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)


def numbers_of(pid: int) -> list[str]:
    """A process in each of the PID namespaces that it is in, ours first; none: it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("NSpid:"):
                return line.split()[1:]
    return []


def fork_into(init_pidfd: int, own_namespace: int) -> int:
    """os.fork() into the PID namespace of that first process."""
    _process.setns(init_pidfd, _PID)
    try:
        pid = fork()
    except OSError:
        _process.setns(own_namespace, _PID)
        raise
    if pid != 0:
        _process.setns(own_namespace, _PID)
    return pid


def kill(pidfd: int) -> None:
    """Kills a process, which may be gone already, and with a namespace's first one all in it."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _serve_namespaces(requests: socket.socket, own_namespace: int) -> NoReturn:
    # Nobody waits for the first processes: the kernel reaps them when they are killed.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while (nested := _asked(requests)) is not None:
        try:
            _process.unshare(_PID)
            pid = _fork_first(requests, own_namespace, nested)
            _process.setns(own_namespace, _PID)
            pidfd = os.pidfd_open(pid)
        except OSError as problem:
            requests.send(str(problem).encode())
            continue
        finally:
            for fd in nested or ():
                os.close(fd)
        socket.send_fds(requests, [b"+"], [pidfd])
        os.close(pidfd)
    os._exit(0)


def _asked(requests: socket.socket) -> list[int] | None:
    """For a nested nursery its socket; empty for a plain namespace. None: nobody asks any more."""
    try:
        request, fds, _, _ = socket.recv_fds(requests, 1, 1)
    except ConnectionResetError:
        return None  # the zygote is gone
    return fds if request else None


def _fork_first(requests: socket.socket, own_namespace: int, nested: list[int]) -> int:
    """Forks the first process of a namespace, which is a nursery itself or only reaps."""
    pid: int
    if not nested:
        pid = _process.fork_reaper([requests.fileno(), own_namespace])
        return pid
    pid = os.fork()
    if pid == 0:
        _process.die_with_parent(signal.SIGKILL)
        requests.close()
        os.close(own_namespace)
        _serve_namespaces(socket.socket(fileno=nested[0]), own_pid_namespace())
    return pid
