"""The flights demo with the kernel module: the same tables as with other backends, nothing left.

    python flights.py [BACKEND...]      kernelzero and what it is compared with (memfd copy)

Runs in the virtual machine of `make test-kernel-zerrow`, which judges by the last line.
"""

import gc
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zerrow

PROJECT = Path(__file__).resolve().parents[2] / "examples" / "flights"
PARAMETERS = Path("/sys/module/kernelzero/parameters")
FINAL = {"delay_by_plane_age", "delays_by_weather", "headlines", "worst_days"}


def live_files() -> int:
    """How many files the module has."""
    return int((PARAMETERS / "live_files").read_text())


def sum_up(report: Mapping[str, Any], what: str) -> int:
    """A figure of all models together."""
    return sum(model[what] or 0 for model in report["models"])


def run(backend: str) -> dict[str, pa.Table]:
    """Every model's table, and the final ones as they were written to Parquet."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as output:
        result = zerrow.run(PROJECT, backend=backend, output=output, account=True)
        written = {path.stem: pq.read_table(path) for path in Path(output).glob("*.parquet")}
    report = result.report.document
    assert report["backend"] == backend, report["backend"]
    assert set(written) == FINAL, written
    mib = {what: sum_up(report, f"{what}_bytes") / 2**20 for what in ("new", "reshared", "copied")}
    print(
        f"{backend}: new {mib['new']:.1f} MiB, reshared {mib['reshared']:.1f} MiB, "
        f"copied_bytes {sum_up(report, 'copied_bytes')}, files of the module {live_files()}, "
        f"{time.monotonic() - begin:.0f} s"
    )
    if backend == "kernelzero":
        assert live_files() > 0, "the module was not used"
        counted = report["kernelzero"]
        assert result.report.kernelzero == counted
        print(f"counted {counted}")
        ended = ("moved", "copied_")
        pages = sum(count for name, count in counted.items() if name.startswith(ended))
        assert pages * 4096 >= sum_up(report, "new_bytes"), counted
        assert counted["pieces"] > 0, counted
        assert mib["new"] > 20, mib
        # Besides edges: what a table has of a huge page, if that is less than 7/16 of it. Columns
        # have one or two huge pages here, so by where they begin that may be a fourth of all.
        assert mib["copied"] < mib["new"] / 2, mib
    else:
        assert live_files() == 0, "another backend used the module"
        assert "kernelzero" not in report
    print(f"ok runs_with_{backend.replace('-', '_')}")
    tables = {name: result.table(name) for name in result.tables}
    return {**tables, **{f"{name}.parquet": table for name, table in written.items()}}


AT_EXIT = """
import atexit
from pathlib import Path

import bauplan
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@bauplan.model()
def numbers():
    table = pa.table({"n": np.arange(2_000_000)})
    atexit.register(lambda: Path("seen").write_text(str(pc.sum(table["n"]))))
    return table
"""
TWICE = "-- zerrow: name=twice\nSELECT n * 2 AS m FROM numbers\n"


def check_memory_after_publishing() -> None:
    """A function's own code finds its table as it was; what SQL made, which is emptied, arrives."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        (project / "models.py").write_text(AT_EXIT)
        (project / "zerrow_project.yml").write_text("name: after\n")
        (project / "twice.sql").write_text(TWICE)
        result = zerrow.run(project, backend="kernelzero", keep=["numbers", "twice"])
        moved = sum_up(result.report.document, "new_bytes")
        assert moved > 24_000_000, moved
        assert np.array_equal(np.sort(result.table("twice")["m"]), np.arange(0, 4_000_000, 2))
        seen, deadline = project / "seen", time.monotonic() + 600
        # The run doesn't wait for it, and what is there may be half written.
        while not seen.exists() or seen.read_text() != str(sum(range(2_000_000))):
            assert time.monotonic() < deadline, seen.exists() and seen.read_text()
            time.sleep(0.1)
    print("ok memory_after_publishing")


def check_same(name: str, table: pa.Table, other: pa.Table) -> None:
    """The same rows; of floating point numbers, which are summed up in any order, nearly so."""
    if table.equals(other):
        return
    assert table.schema.equals(other.schema), name
    assert table.num_rows == other.num_rows, name
    order = [(column, "ascending") for column in table.column_names]
    table, other = table.sort_by(order), other.sort_by(order)
    for column in table.column_names:
        left, right = table[column], other[column]
        if pa.types.is_floating(left.type):
            close = np.allclose(left.to_numpy(), right.to_numpy(), rtol=1e-9, equal_nan=True)
            assert close, f"{name}.{column}"
        else:
            assert left.equals(right), f"{name}.{column}"


def main() -> None:
    """Runs with each backend and compares every table with those of kernelzero."""
    # Libraries are imported by a processor that is emulated.
    for variable in ("START", "IMPORT", "EXIT"):
        os.environ[f"ZERROW_{variable}_TIMEOUT_S"] = "900"
    files_before = live_files()
    assert files_before == 0, f"{files_before} files of the module before the first run"
    others = {backend: run(backend) for backend in sys.argv[1:] or ("memfd", "copy")}
    tables = run("kernelzero")
    for backend, expected in others.items():
        assert tables.keys() == expected.keys(), backend
        for name, table in tables.items():
            check_same(f"{backend}: {name}", table, expected[name])
    print(f"{len(tables)} tables are the same\nok same_tables")
    del tables, table, name
    check_memory_after_publishing()
    gc.collect()
    assert live_files() == 0, f"{live_files()} files of the module are left"
    print("ok nothing_left\nOK flights")


if __name__ == "__main__":
    main()
