"""Chunks for workers that run with the allocator shim preloaded, without an engine.

One thread serves every worker: a worker waits for its chunk with the GIL held, so the broker has
to run in another process than its workers, here in their parent. Chunks that come back are granted
again, as dirty ones, if `recycle` is set.
"""

import contextlib
import ctypes
import os
import select
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path

GRANT, RELEASE = 1, 2
REQUEST = struct.Struct("=IIQQ")
REPLY = struct.Struct("=QQII")


@dataclass
class Chunk:
    segment: int
    size: int
    fd: int
    dirty: bool = False


@dataclass
class Worker:
    """What the broker knows of a worker: its socket and the chunks that it holds."""

    socket: socket.socket
    held: dict[int, Chunk] = field(default_factory=dict)


class ChunkBroker:
    """Grants memfds, or files in `folder` (a tmpfs) where one is given."""

    def __init__(self, folder: Path | None = None, recycle: bool = True):
        self.folder = folder
        self.recycle = recycle
        self.free: list[Chunk] = []
        self.made = 0

    def run(self, work, timeout_s: float = 120.0) -> tuple[int, bytes]:
        """Forks a worker that calls `work(socket_fd)` and writes what it returns (bytes).

        Returns its wait status and those bytes; a worker that hangs is killed.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        out, into = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                ours.close()
                os.close(out)
                with open(into, "wb") as pipe:
                    pipe.write(work(theirs.detach()))
                status = 0
            finally:
                os._exit(status)
        theirs.close()
        os.close(into)
        worker = Worker(ours)
        try:
            answer = self._serve(worker, out, pid, timeout_s)
        finally:
            os.close(out)
            ours.close()
        _, status = os.waitpid(pid, 0)
        self._take_back(worker)
        return status, answer

    def close(self):
        for chunk in self.free:
            os.close(chunk.fd)
        self.free.clear()

    def _serve(self, worker: Worker, out: int, pid: int, timeout_s: float) -> bytes:
        """Until the worker has closed its pipe."""
        poll = select.poll()
        poll.register(worker.socket, select.POLLIN)
        poll.register(out, select.POLLIN)
        answer = b""
        while True:
            events = poll.poll(timeout_s * 1000)
            if not events:
                os.kill(pid, 9)
                return answer
            for fd, _ in events:
                if fd == worker.socket.fileno():
                    if not self._answer(worker):
                        poll.unregister(worker.socket)
                    continue
                part = os.read(out, 1 << 16)
                if not part:
                    return answer
                answer += part

    def _answer(self, worker: Worker) -> bool:
        with contextlib.suppress(ConnectionError):
            request = worker.socket.recv(64)
            if len(request) == REQUEST.size:
                operation, _, size, segment = REQUEST.unpack(request)
                if operation == GRANT:
                    chunk = self._find_or_make(size)
                    worker.held[chunk.segment] = chunk
                    reply = REPLY.pack(chunk.segment, chunk.size, 0, chunk.dirty)
                    socket.send_fds(worker.socket, [reply], [chunk.fd])
                else:
                    self._free(worker.held.pop(segment))
                return True
        return False

    def _find_or_make(self, size: int) -> Chunk:
        fitting = [c for c in self.free if size <= c.size <= 2 * size]
        if fitting:
            best = min(fitting, key=lambda c: (c.size, not c.dirty))
            self.free.remove(best)
            return best
        self.made += 1
        if self.folder is None:
            fd = os.memfd_create("chunk")
        else:
            path = self.folder / str(self.made)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
            path.unlink()
        os.ftruncate(fd, size)
        return Chunk(self.made, size, fd)

    def _free(self, chunk: Chunk):
        if self.recycle:
            chunk.dirty = True
            self.free.append(chunk)
        else:
            os.close(chunk.fd)

    def _take_back(self, worker: Worker):
        for chunk in worker.held.values():
            self._free(chunk)


class Range(ctypes.Structure):
    _fields_ = (
        ("segment", ctypes.c_uint64),
        ("address", ctypes.c_uint64),
        ("size_bytes", ctypes.c_uint64),
    )


class Stats(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            "allocations",
            "allocated_bytes",
            "refused",
            "grants",
            "granted_bytes",
            "releases",
            "zeroed_bytes",
            "punched_bytes",
            "copied_bytes",
            "retired_chunks",
        )
    )


class Shim:
    """The preloaded shim's C interface (src/shm/shim/shim.h)."""

    def __init__(self):
        self.library = ctypes.CDLL(None)
        self.library.zerrow_shim_ranges.restype = ctypes.c_size_t
        self.library.zerrow_shim_partial_ranges.restype = ctypes.c_size_t
        self.library.zerrow_shim_shareable.argtypes = (ctypes.c_void_p, ctypes.c_size_t)

    @staticmethod
    def loaded() -> bool:
        return hasattr(ctypes.CDLL(None), "zerrow_shim_start")

    def start(self, broker_fd: int):
        error = self.library.zerrow_shim_start(broker_fd)
        if error != 0:
            raise OSError(error, os.strerror(error))

    def ranges(self, partial: bool = False) -> list[Range]:
        function = (
            self.library.zerrow_shim_partial_ranges if partial else self.library.zerrow_shim_ranges
        )
        out = (Range * 4096)()
        return list(out[: function(out, 4096)])

    def shareable(self, address: int, size: int) -> bool:
        return bool(self.library.zerrow_shim_shareable(address, size))

    def stats(self) -> dict[str, int]:
        stats = Stats()
        self.library.zerrow_shim_get_stats(ctypes.byref(stats))
        return {name: getattr(stats, name) for name, _ in Stats._fields_}
