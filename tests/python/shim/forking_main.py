"""Stands for the zygote: imports every library, allocates, forks workers and tells what they did.

Usage: forking_main.py share|behave COUNT. Run by test_shim.py, with the shim preloaded or without
it; prints one JSON document. Workers start the shim if it is there. Libraries are imported, not
run, before the fork: polars and duckdb start threads when they first work.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import zlib

import chunk_broker
import datafusion
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

ROWS = 500_000
LARGE = 64 << 10


def make_table() -> pa.Table:
    ids = np.arange(ROWS)
    values = (ids * 7919 % 1000).astype("float64")
    return pa.table({"id": ids, "value": values, "name": pc.cast(pa.array(ids), "string")})


def pyarrow_model(table):
    kept = table.filter(pc.less(table["value"], 900.0))
    return kept.append_column("upper", pc.utf8_upper(kept["name"])).sort_by("value")


def numpy_model(table):
    value = table["value"].to_numpy()
    ident = table["id"].to_numpy()
    return pa.table({"root": np.sqrt(value), "sum": value + ident, "order": np.argsort(value)})


def pandas_model(table):
    frame = table.select(["id", "value"]).to_pandas(split_blocks=True)
    frame["double"] = frame["value"] * 2
    return pa.Table.from_pandas(frame.sort_values("value"), preserve_index=False)


def polars_model(table):
    frame = pl.from_arrow(table).sort("value", "id")
    return pa.table(frame.with_columns((pl.col("value") / 3).alias("third")))


def duckdb_model(table):
    query = "SELECT id, value * 2 AS double, upper(name) AS upper FROM t"
    connection = duckdb.connect(config={"threads": 2})
    connection.register("t", table)
    return connection.sql(query).to_arrow_table()


def datafusion_model(table):
    context = datafusion.SessionContext()
    context.from_arrow(table, "t")
    return context.sql("SELECT id, value * 2 AS v, name || '!' AS name FROM t").to_arrow_table()


MODELS = (pyarrow_model, numpy_model, pandas_model, polars_model, duckdb_model, datafusion_model)


def large_buffers(table: pa.Table) -> dict[int, int]:
    """Address and size of each buffer of the table, once however many chunks share it."""
    buffers = (b for column in table.columns for c in column.chunks for b in c.buffers() if b)
    return {b.address: b.size for b in buffers if b.size >= LARGE}


def share(shim, table) -> dict:
    ranges = shim.ranges()

    def inside(address, size):
        return any(
            r.address <= address and address + size <= r.address + r.size_bytes for r in ranges
        )

    buffers = large_buffers(table)
    shared = sum(size for address, size in buffers.items() if inside(address, size))
    asked = all(shim.shareable(a, s) == inside(a, s) for a, s in buffers.items())
    return {"bytes": sum(buffers.values()), "shared": shared, "consistent": asked}


def digest(array: np.ndarray) -> int:
    return zlib.crc32(array.tobytes())


def in_fork(data: np.ndarray) -> list:
    """A child changes its copy, the parent its own; each keeps what it had."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        data[::2] = -1
        time.sleep(0.01)
        os.write(into, str(digest(data)).encode())
        os._exit(0)
    data[1::2] = -2
    os.waitpid(pid, 0)
    answer = int(os.read(out, 100))
    os.close(out)
    os.close(into)
    return [answer, digest(data)]


def in_pool(data: np.ndarray) -> list:
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        sums = pool.map(np.sum, np.array_split(data, 8))
    return [int(s) for s in sums] + [digest(data)]


def in_subprocess(data: np.ndarray) -> list:
    text = data[:200_000].tobytes()
    plain = subprocess.run(["wc", "-c"], input=text, capture_output=True, check=True)
    code = "import os; os.write(2, b'in the child')"
    other = subprocess.run(  # a preexec_fn makes it fork
        [sys.executable, "-c", code], capture_output=True, check=True, preexec_fn=os.getpid
    )
    return [plain.stdout.decode(), other.stderr.decode(), digest(data)]


def in_threads(data: np.ndarray) -> list:
    results = [0] * 4

    def work(index):
        for i in range(4):
            part = np.sort(np.concatenate([data, data[::-1]]))
            results[index] = (results[index] * 31 + digest(part[i::4])) % (1 << 32)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    forked = in_fork(np.copy(data))
    for thread in threads:
        thread.join()
    return results + forked


def in_daemon(data: np.ndarray) -> list:
    """A grandchild outlives its parent and still has the data, which the worker has changed."""
    go_out, go_into = os.pipe()
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        os.read(go_out, 1)
        os.write(into, str(digest(data)).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    data[:] = 0
    os.write(go_into, b"g")
    answer = int(os.read(out, 100))
    return [answer, digest(data)]


BEHAVIOURS = (in_fork, in_pool, in_subprocess, in_threads, in_daemon)


def start_shim(socket_fd: int) -> chunk_broker.Shim | None:
    if not chunk_broker.Shim.loaded():
        return None
    shim = chunk_broker.Shim()
    shim.start(socket_fd)
    return shim


def share_worker(model):
    def work(socket_fd):
        shim = start_shim(socket_fd)
        return json.dumps(share(shim, model(make_table()))).encode()

    return work


def behave_worker(behaviour):
    def work(socket_fd):
        shim = start_shim(socket_fd)
        data = np.random.default_rng(7).integers(0, 1 << 40, 300_000)
        answer = [behaviour(data), behaviour(np.sort(data)[:150_000] + 1)]
        retired = shim.stats()["retired_chunks"] if shim else 0
        return json.dumps({"answer": answer, "retired": retired}).encode()

    return work


def main():
    kind, count = sys.argv[1], int(sys.argv[2])
    before = [np.ones(1 << 20), make_table(), pd.DataFrame({"x": np.arange(1 << 18)})]
    broker = chunk_broker.ChunkBroker()
    work, functions = {
        "share": (share_worker, MODELS),
        "behave": (behave_worker, BEHAVIOURS),
    }[kind]
    results = []
    for i in range(count):
        function = functions[i % len(functions)]
        status, answer = broker.run(work(function))
        result = json.loads(answer) if answer else {}
        results.append({"name": function.__name__, "status": status, **result})
    assert before[0].sum() == 1 << 20
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
