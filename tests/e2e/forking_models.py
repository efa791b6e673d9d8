"""Models of all kinds, with what each library and each way to make a process or thread allocates.

test_many_forks.py copies this file into a project as models_0.py, models_1.py and so on; the number
is in the models' names, and decides on their values. Run as a program it is the same functions in a
plain process, without an engine: what they return goes to the folder `plain`.
"""

import ctypes
import mmap
import multiprocessing
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datafusion
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import zerrow

ROUND = int(Path(__file__).stem.rpartition("_")[2])
# Chunks are used again: with other values next time, what was in them before isn't right by chance.
VARIANT = ROUND % 2
PLAIN = Path(__file__).parent / "plain" / str(VARIANT)
ROWS = 300_000
LARGE_BYTES = 64 << 10
DAEMON_S = float(os.environ.get("DAEMON_S", "600"))
KINDS = []


def kind(function):
    """A model; beside it the plain function is listed."""
    KINDS.append(function)
    return zerrow.model(name=f"{function.__name__}_{ROUND}")(function)


def numbers():
    return (np.arange(ROWS) + VARIANT) * 7919 % 1_000_003


def table():
    ids = pa.array(np.arange(ROWS))
    return pa.table({"id": ids, "value": numbers() / 8, "name": pc.cast(ids, pa.string())})


# Those that fork come first: in the plain process, a fork after polars or duckdb ran would hang.


@kind
def with_subprocess():
    data = numbers()
    columns = []
    for preexec_fn in (None, os.getpid):  # with one it forks
        echo = subprocess.run(
            ["cat"], input=data.tobytes(), stdout=subprocess.PIPE, check=True, preexec_fn=preexec_fn
        )
        columns.append(np.frombuffer(echo.stdout, np.int64))
    return pa.table([data, *columns], ["data", "spawned", "forked"])


@kind
def with_multiprocessing():
    data = numbers()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        parts = pool.map(np.sort, np.array_split(data, 4))
    return pa.table({"data": data, "sorted": np.concatenate(parts)})


@kind
def with_threads():
    """They allocate while the process forks."""
    data = numbers()

    def work(i):
        for _ in range(3):
            column = np.sort(np.concatenate([data, data * i]))
        return column

    with ThreadPoolExecutor(4) as pool:
        columns = pool.map(work, range(4))
        for _ in range(3):
            if (pid := os.fork()) == 0:
                os._exit(0)
            os.waitpid(pid, 0)
        return pa.table({f"column{i}": column for i, column in enumerate(columns)})


@kind
def with_daemon():
    """A grandchild writes into the memory that it has inherited, long after the others' end."""
    data = numbers()
    writes, started = os.pipe()
    if (pid := os.fork()) == 0:
        os.setsid()
        if os.fork() == 0:
            end = time.monotonic() + DAEMON_S
            data[:] = -1
            os.write(started, b"!")
            while time.monotonic() < end:
                data[:] -= 1
                time.sleep(0.001)
        os._exit(0)
    os.waitpid(pid, 0)
    os.read(writes, 1)
    return pa.table({"before": data, "after": data + 1})


@kind
def with_numpy():
    data = numbers()
    return pa.table({"root": np.sqrt(data), "order": np.argsort(data), "even": data[::2].repeat(2)})


@kind
def with_pyarrow():
    kept = table().filter(pc.field("value") < 100_000)
    return kept.append_column("upper", pc.utf8_upper(kept["name"])).sort_by("value")


@kind
def with_pandas() -> pd.DataFrame:
    frame = table().to_pandas()
    frame["double"] = frame["value"] * 2
    return frame.sort_values("value", ignore_index=True)


@kind
def with_polars() -> pl.DataFrame:
    return pl.from_arrow(table()).sort("value").with_columns(third=pl.col("value") / 3)


@kind
def with_duckdb():
    return duckdb.from_arrow(table()).project("id, value * 2 AS double, upper(name) AS upper")


@kind
def with_datafusion():
    context = datafusion.SessionContext()
    context.from_arrow(table(), "t")
    query = "SELECT id, value * 2 AS double, name || '!' AS name FROM t ORDER BY value, id"
    return context.sql(query).to_arrow_table()


@zerrow.expectation(name=f"right_and_immutable_{ROUND}")
def right_and_immutable(
    *,
    with_subprocess=zerrow.Model(f"with_subprocess_{ROUND}"),
    with_multiprocessing=zerrow.Model(f"with_multiprocessing_{ROUND}"),
    with_threads=zerrow.Model(f"with_threads_{ROUND}"),
    with_daemon=zerrow.Model(f"with_daemon_{ROUND}"),
    with_numpy=zerrow.Model(f"with_numpy_{ROUND}"),
    with_pyarrow=zerrow.Model(f"with_pyarrow_{ROUND}"),
    with_pandas=zerrow.Model(f"with_pandas_{ROUND}"),
    with_polars=zerrow.Model(f"with_polars_{ROUND}"),
    with_duckdb=zerrow.Model(f"with_duckdb_{ROUND}"),
    with_datafusion=zerrow.Model(f"with_datafusion_{ROUND}"),
):
    for name, output in dict(locals()).items():
        buffers = [b for column in output.columns for c in column.chunks for b in c.buffers() if b]
        large = [buffer.address for buffer in buffers if buffer.size >= LARGE_BYTES]
        assert large, name
        assert not any(map(ways_to_write, large)), name
        expected = pa.ipc.open_file(PLAIN / f"{name}.arrow").read_all()
        assert output.equals(expected), name
    return True


def ways_to_write(address):
    """What of the obvious the kernel lets through; src/shm/hostile_reader.cc knows all the rest."""
    through = []
    page = ctypes.c_void_p(address & -mmap.PAGESIZE)
    writable = mmap.PROT_READ | mmap.PROT_WRITE
    if ctypes.CDLL(None).mprotect(page, ctypes.c_size_t(1), writable) == 0:
        through.append("mprotect")
    for line in Path("/proc/self/maps").read_text().splitlines():
        area = line.split()[0]
        begin, end = (int(bound, 16) for bound in area.split("-"))
        if begin <= address < end:
            break
    for path, offset in ("/proc/self/mem", address), (f"/proc/self/map_files/{area}", 0):
        try:
            with open(path, "r+b", buffering=0) as file:
                os.pwrite(file.fileno(), b"!", offset)
            through.append(path)
        except OSError:
            continue
    return through


def main():
    PLAIN.mkdir(parents=True)
    for function in KINDS:
        output = pa.table(function())
        with pa.ipc.new_file(PLAIN / f"{function.__name__}.arrow", output.schema) as file:
            file.write_table(output)


if __name__ == "__main__":
    main()
