"""Forks processes for page_kinds.py, which starts it: a request per line of stdin, JSON.

Under the shim it is the workers' chunk broker as well; its tmpfs is mounted in a mount namespace
of its own and goes with it.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "python" / "shim"))

import chunk_broker  # noqa: E402
import library_functions  # noqa: E402
import rounds  # noqa: E402

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000


def check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def mount_huge_tmpfs() -> Path:
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    check(libc.unshare(CLONE_NEWNS | (CLONE_NEWUSER if uid else 0)))
    if uid:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    folder = Path(tempfile.mkdtemp())
    check(libc.mount(b"zerrow-bench", bytes(folder), b"tmpfs", 0, b"huge=advise,mode=0700"))
    return folder


def worker(function: str, path: str) -> Callable[[int], bytes]:
    def work(socket_fd: int) -> bytes:
        shim = chunk_broker.Shim() if chunk_broker.Shim.loaded() else None
        if shim:
            shim.start(socket_fd)
        table = library_functions.converter(function)(rounds.map_ipc(path))
        before = resource.getrusage(resource.RUSAGE_SELF)
        begin = time.perf_counter()
        result = getattr(library_functions, function)(table)
        wall = time.perf_counter() - begin
        after = resource.getrusage(resource.RUSAGE_SELF)
        figures = {
            "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "system_s": after.ru_stime - before.ru_stime,
            "wall_s": wall,
            "faults": after.ru_minflt - before.ru_minflt,
        }
        if shim:
            stats = shim.stats()
            figures |= {
                key: stats[key]
                for key in ("granted_bytes", "zeroed_bytes", "punched_bytes", "copied_bytes")
            }
        del result
        return json.dumps(figures).encode()

    return work


def main() -> None:
    folder = mount_huge_tmpfs() if chunk_broker.Shim.loaded() else None
    library_functions.import_everything()
    brokers = {
        "plain": chunk_broker.ChunkBroker(),
        "memfd": chunk_broker.ChunkBroker(recycle=False),
        "memfd recycled": chunk_broker.ChunkBroker(),
        "huge": chunk_broker.ChunkBroker(folder, recycle=False),
        "huge recycled": chunk_broker.ChunkBroker(folder),
    }
    for line in sys.stdin:
        request = json.loads(line)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        broker = brokers[request["kind"]]
        status, answer = broker.run(worker(request["function"], request["path"]))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if status != 0:
            raise RuntimeError(f"{request}: wait status {status}")
        figures = json.loads(answer)
        figures["whole_cpu_s"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(json.dumps(figures), flush=True)
    for broker in brokers.values():
        broker.close()


if __name__ == "__main__":
    main()
