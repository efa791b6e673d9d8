"""Kernel swap as a way to evict: tables pushed out by MADV_PAGEOUT, against an O_DIRECT file.

    python bench/pageout.py [--mib 512] [--repeats 5] [--folder FOLDER]

Makes a swap file of its own and removes it; says so where it may not. Both lie in the same folder
and take turns. Out: until the memory is free. In: until it can be read again. CPU is this
process's, the kernel's threads' apart.
"""

from __future__ import annotations

import argparse
import ctypes
import mmap
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import kernel_swap

MIB = 1 << 20
PIECE = 4 * MIB
MADV_PAGEOUT = 21
MADV_POPULATE_READ = 22


class Memory:
    """A memfd of random bytes, mapped as the engine would map it."""

    def __init__(self, size: int) -> None:
        self.fd = os.memfd_create("pageout")
        os.ftruncate(self.fd, size)
        self.map = mmap.mmap(self.fd, size)
        noise = os.urandom(PIECE)
        for at in range(0, size, PIECE):
            self.map[at : at + PIECE] = noise
            self.map[at : at + 8] = at.to_bytes(8, "little")

    def advise(self, advice: int) -> None:
        """Raises OSError."""
        self.map.madvise(advice)

    def resident(self) -> int:
        """Bytes that are in memory, as the page tables of this mapping say."""
        first = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        pages = len(self.map) // mmap.PAGESIZE
        with open("/proc/self/pagemap", "rb", buffering=0) as file:
            file.seek(first // mmap.PAGESIZE * 8)
            entries = file.read(pages * 8)
        return sum(entries[at] >> 7 for at in range(7, len(entries), 8)) * mmap.PAGESIZE

    def close(self) -> None:
        """And free it."""
        self.map.close()
        os.close(self.fd)


def timed(what: Callable[[], None]) -> tuple[float, float]:
    """Seconds of wall and of CPU."""
    before, begin = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    what()
    took, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_SELF)
    return took, sum(after[:2]) - sum(before[:2])


def by_swap(size: int) -> list[tuple[float, float]]:
    """Out, and in again."""
    memory = Memory(size)
    out = timed(lambda: memory.advise(MADV_PAGEOUT))
    left = memory.resident()
    back = timed(lambda: memory.advise(MADV_POPULATE_READ))
    memory.close()
    if left > size // 10:
        print(f"  {left // MIB} of {size // MIB} MiB stayed in memory", file=sys.stderr)
    return [out, back]


def by_file(size: int, folder: Path) -> list[tuple[float, float]]:
    """The same with a file without a name."""
    memory = Memory(size)
    fd = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_DIRECT, 0o600)
    pieces = range(0, size, PIECE)
    view = memoryview(memory.map)

    def write() -> None:
        for at in pieces:
            os.pwritev(fd, [view[at : at + PIECE]], at)

    def read() -> None:
        for at in pieces:
            os.preadv(fd, [view[at : at + PIECE]], at)

    results = [timed(write), timed(read)]
    os.close(fd)
    view.release()
    memory.close()
    return results


def show(name: str, size: int, results: list[list[tuple[float, float]]]) -> None:
    """Medians."""
    for way, index in (("out", 0), ("in", 1)):
        wall = statistics.median(result[index][0] for result in results)
        cpu = statistics.median(result[index][1] for result in results)
        rate, cost = size / MIB / wall, cpu / (size / (1 << 30))
        print(f"{name:5} {way:4} {rate:7.0f} MiB/s, {cost:5.2f} s of CPU for a GiB")


def main() -> None:
    """Both ways, in turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path.home() / ".cache")
    options = parser.parse_args()
    size = options.mib * MIB
    swapped, written = [], []
    try:
        with (
            tempfile.TemporaryDirectory(dir=options.folder) as folder,
            kernel_swap.swap_file(2 * size, Path(folder)),
        ):
            for _ in range(options.repeats):
                swapped.append(by_swap(size))
                written.append(by_file(size, Path(folder)))
    except kernel_swap.NoSwapError as problem:
        print(f"skipped: {problem}")
        return
    show("swap", size, swapped)
    show("file", size, written)


if __name__ == "__main__":
    main()
