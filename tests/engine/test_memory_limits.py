"""Runs within a memory limit, through the command: what is evicted, refused, and told."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time

import pytest

MIB = 1 << 20
TABLES = 9
TABLE_BYTES = 48 * MIB
# All tables and what Zerrow needs itself are more than that.
LIMIT_BYTES = 420 * MIB
# What the engine itself touches is charged elsewhere: the cgroup's limit follows a moment later.
MOST_BYTES = LIMIT_BYTES + 8 * MIB

# Each table is read before a gate and after it, so that all of them must survive it.
TWO_PASSES = """
import numpy as np
import zerrow
import pyarrow as pa

def total(table):
    return float(table["x"].chunk(0).to_numpy().sum())

{models}
"""
MODEL = """
@zerrow.model()
def table{i}():
    return pa.table({{"x": np.random.default_rng({i}).random({rows})}})

@zerrow.model()
def sum{i}(t=zerrow.Model("table{i}")):
    return pa.table({{"sum": [total(t)]}})

@zerrow.model()
def share{i}(t=zerrow.Model("table{i}"), all=zerrow.Model("gate")):
    return pa.table({{"share": [total(t) / all["sum"][0].as_py()]}})
"""
GATE = """
@zerrow.model()
def gate({arguments}):
    return pa.table({{"sum": [{total}]}})
"""


def two_passes(tables=TABLES, bytes_each=TABLE_BYTES):
    models = [MODEL.format(i=i, rows=bytes_each // 8) for i in range(tables)]
    arguments = ", ".join(f's{i}=zerrow.Model("sum{i}")' for i in range(tables))
    total = " + ".join(f's{i}["sum"][0].as_py()' for i in range(tables))
    models.append(GATE.format(arguments=arguments, total=total))
    return TWO_PASSES.format(models="\n".join(models))


@pytest.fixture
def pipeline(memfd_project):
    memfd_project.write("models/m.py", two_passes())
    return memfd_project


@pytest.fixture
def limited(pipeline, tmp_path):
    """Runs the pipeline under the limit."""

    def run(*arguments, limit=LIMIT_BYTES):
        return pipeline.run(
            "--engine", "own", "--memory-limit", limit, "--spill-dir", tmp_path / "spill",
            *arguments,
        )  # fmt: skip

    return run


def shares(folder):
    import pyarrow.parquet as pq

    return [pq.read_table(folder / f"share{i}.parquet").to_pydict() for i in range(TABLES)]


def memory_info():
    done = subprocess.run(
        [sys.executable, "-m", "zerrow", "info", "-O", "json"],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    return json.loads(done.stdout)["memory"]


def has_hard_limit():
    """Whether the kernel holds runs to their limits here."""
    return memory_info()["hard_limit"]


@pytest.mark.parametrize(
    ("policy", "ways"),
    [("swap", {"swap"}), ("rollback", {"rollback"}), ("adaptive", {"swap", "rollback"})],
)
def test_a_run_keeps_to_its_limit_with_the_same_result(pipeline, limited, tmp_path, policy, ways):
    unlimited = pipeline.run("--engine", "own", "--output", tmp_path / "all")
    assert unlimited.code == 0, unlimited.stderr
    assert unlimited.report["peak_memory_bytes"] > LIMIT_BYTES
    assert unlimited.report["evictions"] == []
    done = limited("--eviction", policy, "--output", tmp_path / policy)
    assert done.code == 0, done.stderr
    assert shares(tmp_path / policy) == shares(tmp_path / "all")
    assert {eviction["how"] for eviction in done.report["evictions"]} <= ways
    assert any(eviction["model"].startswith("table") for eviction in done.report["evictions"])
    assert done.report["evicted_bytes"] >= TABLE_BYTES
    assert done.report["memory_limit_bytes"] == LIMIT_BYTES
    if has_hard_limit():
        assert done.report["peak_memory_bytes"] <= MOST_BYTES
    assert list(tmp_path.glob("spill/*")) == []
    assert pipeline.processes() == []


def test_without_eviction_a_run_that_does_not_fit_is_refused_in_words(pipeline, limited):
    done = limited("--eviction", "none")
    assert done.code == 1
    failed = [model for model in done.models.values() if model["status"] == "failed"]
    assert failed
    message = failed[0]["error"]["message"]
    assert "memory limit of 440 MB" in message
    assert "needs at least" in message
    assert pipeline.processes() == []


def test_a_function_that_cannot_fit_fails_alone(pipeline, limited):
    pipeline.models(
        """
        @zerrow.model()
        def greedy():
            block = bytearray(600 << 20)
            block[::4096] = b"x" * len(block[::4096])
            return pa.table({"x": [len(block)]})

        @zerrow.model()
        def modest():
            return pa.table({"x": [1]})
        """
    )
    done = limited()
    assert done.code == 1
    assert done.statuses() == {"greedy": "failed", "modest": "success"}
    error = done.models["greedy"]["error"]
    assert error["file"] == "models/m.py"
    assert "the engine's memory limit of 440 MB doesn't allow" in error["message"]
    assert "--memory-limit" in error["message"]
    assert pipeline.processes() == []


@pytest.mark.parametrize("limit", ["1", "60MB", "120MB"])
def test_a_limit_below_what_zerrow_itself_needs_is_an_error_that_says_so(
    memfd_project, limited, limit
):
    if not has_hard_limit():
        pytest.skip("nothing waits where the kernel doesn't hold runs to their limits")
    memfd_project.models(
        """
        import duckdb, pandas, polars

        TEXT = b"x" * (64 << 20)

        @zerrow.model()
        def one(): return pa.table({"x": [1]})
        """
    )
    done = limited(limit=limit)
    assert done.code == 1
    (error,) = done.report["errors"]
    assert re.search(
        r"memory limit of .* is less than Zerrow itself needs, which is .*B at least"
        r"|memory limit of .* doesn't allow beside .*B that Zerrow itself needs",
        error["message"],
    )
    assert "raise --memory-limit" in error["message"]


def test_what_was_decided_is_explained(limited):
    done = limited("--eviction", "swap", "--explain-memory")
    assert done.code == 0, done.stderr
    events = done.report["memory_events"]
    said = "\n".join(event["what"] for event in events)
    assert "written to disk" in said
    assert "read back from disk" in said
    assert [event["at_s"] for event in events] == sorted(event["at_s"] for event in events)


def test_the_end_says_in_words_what_happened(pipeline, tmp_path):
    done = subprocess.run(
        [
            sys.executable, "-m", "zerrow", "run", "-p", pipeline.folder, "--engine", "own",
            "--memory-limit", "420MiB", "--eviction", "swap", "--spill-dir", tmp_path / "spill",
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "of 420.0 MiB" in done.stdout
    assert " by swap)" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("--memory-limit", "much"),
        ("--memory-limit", "0"),
        ("--memory-limit", "-1GB"),
        ("--eviction", "sometimes"),
        ("--priority", "high"),
        ("--spill-limit", "1 ZB"),
        ("--spill-dir", "/dev/shm"),
    ],
)
def test_what_makes_no_sense_is_refused(pipeline, arguments):
    done = subprocess.run(
        [
            sys.executable, "-m", "zerrow", "run", "-p", pipeline.folder, "--engine", "own",
            *arguments,
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done
    assert arguments[0].removeprefix("--").split("-")[0] in done.stderr


def test_a_full_spill_folder_is_no_end(limited):
    """What doesn't go there any more is made again."""
    done = limited("--spill-limit", 60 * MIB)
    assert done.code == 0, done.stderr
    done = limited("--spill-limit", 60 * MIB, "--eviction", "swap")
    assert done.code in (0, 1)
    for model in done.models.values():
        assert model["status"] in ("success", "failed", "skipped")


def test_a_killed_run_leaves_nothing(pipeline, tmp_path):
    spill = tmp_path / "spill"
    for delay_s in (0.3, 0.8, 1.3, 1.8):
        process = pipeline.start(
            "--engine", "own", "--memory-limit", LIMIT_BYTES, "--spill-dir", spill,
            "--eviction", "swap",
        )  # fmt: skip
        time.sleep(delay_s)
        process.kill()
        process.communicate()
        pipeline.expect_nothing_left()
        assert not spill.exists() or list(spill.iterdir()) == []


def test_an_interrupted_run_ends_at_once(pipeline, tmp_path):
    process = pipeline.start(
        "--engine", "own", "--memory-limit", LIMIT_BYTES, "--spill-dir", tmp_path / "spill"
    )
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    done = pipeline.finish(process)
    assert done.code in (0, 130)
    pipeline.expect_nothing_left()


def test_a_run_has_a_limit_of_its_own_at_a_resident_engine(pipeline, resident, tmp_path):
    limit = 150 * MIB  # its tables' share only: the engine has its own
    done = resident.run("run", "-p", pipeline.folder, "--memory-limit", limit, "-O", "json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["memory_limit_bytes"] == limit
    assert report["evictions"]
    free = resident.run("run", "-p", pipeline.folder, "-O", "json")
    assert free.returncode == 0
    assert json.loads(free.stdout)["evictions"] == []


def test_a_project_may_have_a_limit_unless_the_run_says_otherwise(pipeline, resident):
    limit = 150 * MIB
    pipeline.write("zerrow_project.yml", "name: limited\nmemory_limit: 150MiB\n")
    words = ("run", "-p", pipeline.folder, "-O", "json")
    done = json.loads(resident.run(*words).stdout)
    assert done["status"] == "success"
    assert done["memory_limit_bytes"] == limit
    assert done["evictions"]
    done = json.loads(resident.run(*words, "--memory-limit", "none").stdout)
    assert done["memory_limit_bytes"] == resident.status()["limits"]["limit"]
    assert done["evictions"] == []
    own = pipeline.run("--engine", "own")
    assert own.report["memory_limit_bytes"] == limit
    assert own.report["evictions"]
    own = pipeline.run("--engine", "own", "--memory-limit", "none")
    assert own.report["memory_limit_bytes"] == 0
    assert own.report["evictions"] == []


def test_an_engine_may_have_no_limit(pipeline, resident):
    resident.end()
    resident.engine = None
    resident.start("--memory-limit", "none")
    assert resident.status()["limits"]["limit"] is None
    assert "of none used" in resident.run("engine", "status").stdout
    done = resident.run("run", "-p", pipeline.folder, "-O", "json", "--memory-limit", 150 * MIB)
    assert json.loads(done.stdout)["evictions"]


def test_runs_at_the_same_time_share_the_engines_limit(pipeline, resident):
    resident.end()
    resident.engine = None
    resident.start("--memory-limit", LIMIT_BYTES)
    runs = [resident.popen("run", "-p", pipeline.folder, "-O", "json") for _ in range(3)]
    for process in runs:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, (out, err)
        report = json.loads(out)
        assert report["memory_limit_bytes"] == LIMIT_BYTES
        if has_hard_limit():
            assert report["peak_memory_bytes"] <= MOST_BYTES


RESULTS = """
import sys
import zerrow

if __name__ == "__main__":
    result = zerrow.run(sys.argv[1], memory_limit=int(sys.argv[2]), keep=["*"])
    assert result.report.evictions, result.report
    for i in range({tables}):
        share = result.table(f"share{{i}}")["share"][0].as_py()
        table = result.table(f"table{{i}}")
        assert table.num_rows == {rows}
        gate = result.table("gate")["sum"][0].as_py()
        assert abs(table["x"].to_numpy().sum() / gate - share) < 1e-12
    print("same")
"""


def test_results_that_went_to_disk_are_read_when_they_are_wanted(pipeline, tmp_path):
    script = tmp_path / "results.py"
    script.write_text(RESULTS.format(tables=TABLES, rows=TABLE_BYTES // 8))
    done = subprocess.run(
        [sys.executable, script, pipeline.folder, str(170 * MIB)],
        capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "same" in done.stdout


def test_paused_processes_go_on_or_end(pipeline, limited):
    """What a function has started is held up with it, and nothing stays stopped."""
    pipeline.models(
        """
        def grow():
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.5)"])
            block = bytearray(150 << 20)
            for i in range(0, len(block), 4096):
                block[i] = 1
            child.wait()
            return pa.table({"x": [len(block)]})

        @zerrow.model()
        def one():
            return grow()

        @zerrow.model()
        def two():
            return grow()

        @zerrow.model()
        def three():
            return grow()
        """
    )
    done = limited("--jobs", "3")
    assert done.code == 0, done.report
    pipeline.expect_nothing_left()


# As it is where the limit is met: system calls are refused memory. The cache of a file that is
# larger than the limit makes the cgroup full, and is given up without anybody waiting.
REFUSED = """
    def attempt():
        name = "attempts.txt"
        with open(name, "a") as file:
            print(os.getpid(), file=file)
        return len(open(name).readlines())

    def refuse():
        raise OSError(12, os.strerror(12))

    def fill():
        with open("large", "wb", buffering=0) as file:
            for _ in range(30):
                file.write(bytes(8 << 20))
                os.fdatasync(file.fileno())

    @zerrow.model()
    def refused():
        number = attempt()
        {fill}
        if number <= {times}:
            refuse()
        return pa.table({{"attempt": [number]}})
"""


@pytest.mark.parametrize(
    ("fill", "times", "attempts"), [("fill()", 3, 4), ("fill()", 99, 6), ("pass", 99, 1)]
)
def test_who_is_refused_memory_in_a_full_cgroup_is_tried_again(
    pipeline, limited, fill, times, attempts
):
    if not memory_info()["method"].startswith("cgroup v1"):
        pytest.skip("nobody is refused memory here")
    pipeline.write("models/m.py", "import os, pyarrow as pa, zerrow\n" + textwrap.dedent(
        REFUSED.format(fill=fill, times=times)
    ))  # fmt: skip
    done = limited("--explain-memory", limit=200 * MIB)
    model = done.models["refused"]
    succeeds = attempts > times
    assert model["status"] == ("success" if succeeds else "failed"), done.report
    assert len((pipeline.folder / "attempts.txt").read_text().splitlines()) == attempts
    said = "\n".join(event["what"] for event in done.report["memory_events"])
    assert ("it was refused memory" in said) == (attempts > 1), said
    if not succeeds:
        met = "the memory limit was met" in model["error"]["message"]
        assert met == (attempts > 1), model["error"]


def test_info_tells_whether_processes_wait_for_memory():
    stalled = memory_info()["stalled"]
    if os.path.exists("/proc/pressure/memory"):
        assert 0 <= stalled <= 1
    else:
        assert stalled is None


def test_what_is_counted_is_what_the_kernel_says(pipeline, resident):
    """At any moment of runs under a limit, by a look at one moment of the engine's loop."""
    resident.end()
    resident.engine = None
    resident.start("--memory-limit", LIMIT_BYTES, "--eviction", "swap")
    runs = [resident.popen("run", "-p", pipeline.folder, "-O", "json") for _ in range(2)]
    looks = on_their_way = 0
    while any(process.poll() is None for process in runs):
        status = resident.status()
        limits, memory = status["limits"], status["memory"]
        near = max(16 * MIB, limits["segments"] // 50)
        assert abs(limits["segments"] - limits["backed"]) <= near, status
        assert limits["segments"] <= limits["charged"], status
        if limits["hard_limit"]:
            # Tables, those that are being made or published, and what is kept: all that there is.
            # For a moment what was let go isn't in the pool yet.
            counted = max(memory["tables"], limits["charged"]) + memory["pool"]
            on_their_way += limits["shmem"] - counted > max(16 * MIB, counted // 50)
            assert limits["used"] <= MOST_BYTES, status
        looks += 1
    for process in runs:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, (out, err)
    assert on_their_way <= looks // 2 + 1
    resident.wait_until_idle()
    limits = resident.status()["limits"]
    assert limits["segments"] == limits["backed"] == limits["spilled"] == 0
    assert limits["largest_tables"] == []
    assert limits["stalled"] is None or 0 <= limits["stalled"] <= 1
