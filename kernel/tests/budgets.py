"""Memory limits where cgroups are of version 2: kept to by every policy, and nobody is killed.

    python budgets.py [PART...]      root module user swapping

Runs in the virtual machine of `make test-kernel-limits`, which judges by the last line. `root` runs
in a cgroup of the machine's root, `module` likewise with the kernel module, `user` in a subtree
that was delegated to an ordinary user, all without swap space; `swapping` as root with it.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import zerrow

MIB = 1 << 20
TABLES = 6
TABLE_BYTES = 32 * MIB
LIMIT_BYTES = 320 * MIB
# What the engine itself touches is charged elsewhere: the cgroup's limit follows a moment later.
MOST_BYTES = LIMIT_BYTES + 8 * MIB
POLICIES = ("swap", "rollback", "adaptive")
USER = 1000

CGROUPS = Path("/sys/fs/cgroup")
DISK = Path("/mnt")

# Each table is read before the gate and after it, so that all of them must survive it. What they
# need is said: this is about the kernel, not about guesses.
MODELS = """
import numpy as np
import pyarrow as pa
import zerrow

def total(table):
    return float(table["x"].chunk(0).to_numpy().sum())
"""
MODEL = """
@zerrow.resources(memory="{needed}")
@zerrow.model()
def table{i}():
    return pa.table({{"x": np.arange({rows}, dtype="f8") + {i}}})

@zerrow.resources(memory="8MiB")
@zerrow.model()
def sum{i}(t=zerrow.Model("table{i}")):
    return pa.table({{"sum": [total(t)]}})

@zerrow.resources(memory="8MiB")
@zerrow.model()
def share{i}(t=zerrow.Model("table{i}"), all=zerrow.Model("gate")):
    return pa.table({{"share": [total(t) / all["sum"][0].as_py()]}})
"""
GATE = """
@zerrow.model()
def gate({arguments}):
    return pa.table({{"sum": [{total}]}})
"""


def write_project(folder: Path) -> Path:
    """Two passes over some tables that together are more than the limit."""
    models = [MODELS]
    models += [
        MODEL.format(i=i, rows=TABLE_BYTES // 8, needed=3 * TABLE_BYTES // 2) for i in range(TABLES)
    ]
    arguments = ", ".join(f's{i}=zerrow.Model("sum{i}")' for i in range(TABLES))
    total = " + ".join(f's{i}["sum"][0].as_py()' for i in range(TABLES))
    models.append(GATE.format(arguments=arguments, total=total))
    (folder / "models").mkdir(parents=True, exist_ok=True)
    (folder / "models" / "two_passes.py").write_text("".join(models))
    (folder / "zerrow_project.yml").write_text("name: budgets\n")
    return folder


def expected_shares() -> list[float]:
    """What the project must give, without Zerrow."""
    sums = [float((np.arange(TABLE_BYTES // 8, dtype="f8") + i).sum()) for i in range(TABLES)]
    return [one / sum(sums) for one in sums]


def field(path: Path, name: str) -> int:
    """One of a file of lines such as `anon 1234`."""
    fields = dict(line.split() for line in path.read_text().splitlines())
    return int(fields[name])


def oom_kills() -> int:
    """Of the whole machine, since it was started."""
    return field(Path("/proc/vmstat"), "oom_kill")


class Watch:
    """Looks at the cgroups that Zerrow makes below a folder, from a thread, until it is closed."""

    def __init__(self, parent: Path) -> None:
        self.used_bytes = self.peak_bytes = self.kills = self.looks = self.limited = 0
        self._parent = parent
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._look_until_the_end)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def _look_until_the_end(self) -> None:
        while not self._ends.wait(0.03):
            for folder in self._parent.glob("zerrow-*"):
                try:
                    self._look(folder)
                except (OSError, ValueError):
                    continue  # it is gone by now

    def _look(self, folder: Path) -> None:
        stat = folder / "memory.stat"
        self.used_bytes = max(self.used_bytes, field(stat, "anon") + field(stat, "shmem"))
        self.peak_bytes = max(self.peak_bytes, int((folder / "memory.peak").read_text()))
        self.kills += field(folder / "memory.events", "oom_kill")
        self.limited += (folder / "memory.max").read_text().strip() != "max"
        self.looks += 1


def zerrow_command(*arguments: object) -> list[str]:
    """Through this interpreter."""
    return [sys.executable, "-m", "zerrow", *map(str, arguments)]


def run_limited(project: Path, parent: Path, policy: str, backend: str = "memfd") -> dict[str, Any]:
    """The run's report, once what it was measured by has been checked."""
    begin = time.monotonic()
    kills_before = oom_kills()
    with Watch(parent) as watch:
        done = subprocess.run(
            zerrow_command(
                "run", "-p", project, "--engine", "own", "--memory-limit", LIMIT_BYTES, "--jobs", 2,
                "--backend", backend, "--eviction", policy, "--spill-dir", project / "spill",
                "--output", project / "out", "-O", "json",
            ),
            stdout=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    report: dict[str, Any] = json.loads(done.stdout)
    print(
        f"{policy} with {backend} at {LIMIT_BYTES / MIB:.0f} MiB: rc {done.returncode}, "
        f"peak of the report {report['peak_memory_bytes'] / MIB:.0f}, "
        f"anon + shmem {watch.used_bytes / MIB:.0f}, memory.peak {watch.peak_bytes / MIB:.0f} MiB "
        f"in {watch.looks} looks, evicted {report['evicted_bytes'] / MIB:.0f} MiB, "
        f"{time.monotonic() - begin:.0f} s",
        flush=True,
    )
    assert watch.limited > 0, "no cgroup was seen that had a limit"
    assert watch.kills == 0, f"{watch.kills} killed in the cgroup"
    assert oom_kills() == kills_before, "the kernel has killed somebody for memory"
    assert watch.used_bytes <= LIMIT_BYTES
    assert watch.peak_bytes <= LIMIT_BYTES
    assert report["peak_memory_bytes"] <= MOST_BYTES, report
    assert not list((project / "spill").glob("*"))
    return report


def check_policy(project: Path, parent: Path, policy: str, backend: str = "memfd") -> None:
    """It evicts what doesn't fit, to the result that is expected."""
    report = run_limited(project, parent, policy, backend)
    failed = [model for model in report["models"] if model["status"] != "success"]
    assert not failed, failed
    assert report["backend"] == backend, report["backend"]
    assert report["evicted_bytes"] >= TABLE_BYTES, report["evictions"]
    ways = {eviction["how"] for eviction in report["evictions"]}
    assert ways <= ({policy} if policy != "adaptive" else {"swap", "rollback"}), ways
    shares = [
        pq.read_table(project / "out" / f"share{i}.parquet")["share"][0].as_py()
        for i in range(TABLES)
    ]
    assert shares == expected_shares(), shares
    shutil.rmtree(project / "out")
    print(f"ok keeps_to_the_limit_with_{policy}")


def check_policies(project: Path, parent: Path) -> None:
    """All of them; without any what doesn't fit is refused in words."""
    for policy in POLICIES:
        check_policy(project, parent, policy)
    report = run_limited(project, parent, "none")
    errors = [model["error"]["message"] for model in report["models"] if model.get("error")]
    assert any("memory limit" in message for message in errors), report
    print("ok is_refused_in_words_without_eviction")


GREEDY = """
import pyarrow as pa
import zerrow

@zerrow.model()
def greedy():
    block = bytearray(600 << 20)
    block[::4096] = b"x" * len(block[::4096])
    return pa.table({"x": [len(block)]})

@zerrow.model()
def modest():
    return pa.table({"x": [1]})
"""


def check_greedy(project: Path, parent: Path) -> None:
    """A function that can't fit fails in words, and by nobody's doing but Zerrow's."""
    (project / "models" / "two_passes.py").write_text(GREEDY)
    report = run_limited(project, parent, "adaptive")
    models = {model["name"]: model for model in report["models"]}
    assert models["modest"]["status"] == "success", report
    assert models["greedy"]["status"] == "failed", report
    assert "memory limit" in models["greedy"]["error"]["message"], report
    print("ok a_function_that_cannot_fit_fails_alone")


def check_counts(project: Path) -> None:
    """At any moment of two runs: what the engine counts is what the kernel says."""
    engine = subprocess.Popen(
        zerrow_command(
            "engine", "start", "--foreground", "--memory-limit", LIMIT_BYTES, "--eviction", "swap"
        )
    )
    try:
        connection = connect()
        command = zerrow_command("run", "-p", project, "-O", "json")
        runs = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
        looks = on_their_way = 0
        while any(run.poll() is None for run in runs):
            status = connection.status().document
            limits, memory = status["limits"], status["memory"]
            near = max(16 * MIB, limits["segments"] // 50)
            assert abs(limits["segments"] - limits["backed"]) <= near, status
            assert limits["segments"] <= limits["charged"], status
            assert limits["hard_limit"], status
            # For a moment what was let go isn't in the pool yet.
            counted = max(memory["tables"], limits["charged"]) + memory["pool"]
            on_their_way += limits["shmem"] - counted > max(16 * MIB, counted // 50)
            assert limits["used"] <= MOST_BYTES, status
            looks += 1
        assert [run.returncode for run in runs] == [0, 0]
        assert on_their_way <= looks // 2 + 1, (on_their_way, looks)
        print(f"{looks} looks\nok what_is_counted_is_what_the_kernel_says")
    finally:
        engine.terminate()
        engine.wait()


def connect() -> zerrow.Connection:
    """To the engine that is being started."""
    for _ in range(120):
        try:
            return zerrow.connect()
        except zerrow.EngineError:
            time.sleep(1)
    return zerrow.connect()


def check_info() -> None:
    """`zerrow info` says by what memory is measured."""
    done = subprocess.run(
        zerrow_command("info", "-O", "json"), stdout=subprocess.PIPE, check=True, text=True
    )
    memory = json.loads(done.stdout)["memory"]
    assert memory["method"].startswith("cgroup v2"), memory
    assert memory["hard_limit"], memory
    print(f"measured by {memory['method']}\nok info_tells_version_2")


def check_all(project: Path, parent: Path) -> None:
    """In whatever cgroup this process is."""
    check_info()
    write_project(project)
    check_policies(project, parent)
    check_counts(project)
    check_greedy(project, parent)
    for _ in range(60):  # its janitor's business, where an engine was terminated
        if not (left := list(parent.glob("zerrow-*"))):
            return
        time.sleep(0.5)
    raise AssertionError(f"left: {left}")


def delegate(name: str) -> Path:
    """A subtree of cgroups that an ordinary user may change, with a leaf to be in."""
    parent = CGROUPS / name
    leaf = parent / "session"
    leaf.mkdir(parents=True)
    (parent / "cgroup.subtree_control").write_text("+memory")
    for folder in (parent, leaf):
        for path in (folder, folder / "cgroup.procs", folder / "cgroup.subtree_control"):
            os.chown(path, USER, USER)
    return leaf


def open_way_to(path: str) -> None:
    """Anybody may go there: in this machine alone, whose files lie in memory above the host's."""
    for folder in Path(path).resolve().parents:
        mode = folder.stat().st_mode
        if mode & 0o005 != 0o005:
            folder.chmod(mode | 0o005)


def run_as_user() -> None:
    """The same checks by a child without rights, in a subtree that is its own."""
    leaf = delegate("delegated")
    open_way_to(sys.executable)
    open_way_to(__file__)
    home = DISK / "user"
    home.mkdir()
    os.chown(home, USER, USER)

    def enter() -> None:
        (leaf / "cgroup.procs").write_text("0")
        os.setgroups([])
        os.setgid(USER)
        os.setuid(USER)

    subprocess.run(
        [sys.executable, __file__, "as-user"],
        check=True, preexec_fn=enter, env={**os.environ, "HOME": str(home)},
    )  # fmt: skip


def make_disk() -> None:
    """A file system that isn't in memory as far as anybody can tell, to spill to."""
    device = Path("/sys/block/zram1")
    (device / "disksize").write_text("1G")
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "/dev/zram1"], check=True)
    subprocess.run(["mount", "/dev/zram1", DISK], check=True)


def main() -> None:
    """The named parts, or all."""
    # Libraries are imported by a processor that is emulated.
    for variable in ("START", "IMPORT", "EXIT"):
        os.environ[f"ZERROW_{variable}_TIMEOUT_S"] = "900"
    parts = sys.argv[1:] or ["root", "module", "user", "swapping"]
    if parts == ["as-user"]:
        check_all(Path.home() / "project", CGROUPS / "delegated")
        return
    make_disk()
    subprocess.run(["swapoff", "-a"], check=True)
    if "root" in parts:
        check_all(DISK / "project", CGROUPS)
        print("ok as_root")
    if "module" in parts:
        check_policy(write_project(DISK / "module"), CGROUPS, "swap", "kernelzero")
        print("ok with_the_module")
    if "user" in parts:
        run_as_user()
        print("ok in_a_delegated_subtree")
    if "swapping" in parts:
        subprocess.run(["swapon", "/dev/zram0"], check=True)
        check_policy(write_project(DISK / "swapping"), CGROUPS, "adaptive")
        print("ok with_swap_space")
    print("OK budgets")


if __name__ == "__main__":
    main()
