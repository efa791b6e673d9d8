"""A swap file of the benchmark's own: the kernel can swap what a cgroup's limit squeezes."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

LEFT_FREE = 8 << 30  # of the disk
PATIENCE_S = 60


class NoSwapError(RuntimeError):
    """Says why the kernel can't be made to swap here."""


@contextlib.contextmanager
def swap_file(size: int, folder: Path) -> Iterator[None]:
    """On for as long as it is entered; NoSwapError."""
    for tool in ("mkswap", "swapon", "swapoff"):
        if shutil.which(tool) is None:
            raise NoSwapError(f"{tool} isn't there")
    if Path("/proc/swaps").read_text().count("\n") > 1:
        raise NoSwapError("the machine has swap of its own already")
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < size + LEFT_FREE:
        raise NoSwapError(f"{folder} has {free >> 20:,} MiB free, and {size >> 20:,} are wanted")
    with tempfile.NamedTemporaryFile(dir=folder, prefix="swap-") as file:
        os.posix_fallocate(file.fileno(), 0, size)  # a swap file may have no holes
        _run("mkswap", file.name)
        _run("swapon", file.name)
        try:
            yield
        finally:
            _swap_off(file.name)


def _swap_off(path: str) -> None:
    """What an ended process had there may take the kernel a moment to forget."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return _run("swapoff", path)
        except NoSwapError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoSwapError(f"{command[0]}: {done.stderr.strip()}")
