"""The cache of decoded columns, through the commands that use and show it."""

import json
import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

ROWS = 400_000
GROUP_ROWS = 100_000
LATE = {0: 500_000, ROWS - 1: ROWS - 1}
BLOCKS = 2  # as small row groups are decoded together

MODELS = """import pyarrow as pa
import pyarrow.compute as pc
import zerrow

def total(table, name):
    return pa.table({"rows": [table.num_rows], "sum": [pc.sum(table[name]).as_py()]})

@zerrow.model()
def whole(t=zerrow.Model("t")):
    return total(t, "a")

@zerrow.model()
def of_a(t=zerrow.Model("t", columns=["a"])):
    return total(t, "a")

@zerrow.model()
def of_b(t=zerrow.Model("t", columns=["b", "a"])):
    assert t.column_names == ["b", "a"]
    return total(t, "b")

@zerrow.model()
def few(t=zerrow.Model("t", columns=["b", "s"], filter="late = 399999")):
    assert t.column_names == ["b", "s"]
    return total(t, "b")

@zerrow.model()
def none(t=zerrow.Model("t", columns=["b", "s"], filter="late = 7 and a = 3")):
    return total(t, "b")
"""


def numbers(shift=0):
    """`late` has one row of 399,999, and a larger one before it, so that nothing is pruned."""
    row = pa.array(range(ROWS))
    return pa.table(
        {
            "a": pc.add(row, shift),
            "b": pc.cast(pc.multiply(row, 0.5), pa.float64()),
            "s": pc.cast(row, pa.string()),
            "late": pa.array([LATE.get(i, i * 7919 % 1000) for i in range(ROWS)]),
        }
    )


def settled(path):
    """Longer ago than two changes may have the same time."""
    time.sleep(0.06)
    return path


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "zerrow_project.yml").write_text("name: cached\nsources: {t: t.parquet}\n")
    (folder / "models.py").write_text(MODELS)
    pq.write_table(numbers(), folder / "t.parquet", row_group_size=GROUP_ROWS)
    return settled(folder)


def run(resident, project, *models, arguments=(), code=0):
    words = ["run", "-p", project, "-O", "json", "--preview", 10, *arguments]
    done = resident.run(*words, *(w for model in models for w in ("--select", model)))
    assert code is None or done.returncode == code, done.stderr
    report = json.loads(done.stdout)
    report["models"] = {model["name"]: model for model in report["models"]}
    report["rows"] = {view["model"]: view["rows"] for view in report.get("previews", ())}
    return report


def cache_of(report, source="t"):
    return report["models"][source]["cache"]


def listed(resident):
    return json.loads(resident.run("cache", "ls", "-O", "json").stdout)["entries"]


def test_what_was_decoded_is_a_hit_without_a_process(resident, project):
    first = run(resident, project, "whole")
    assert cache_of(first) | {"saved_s": 0} == {
        "hits": 0,
        "misses": 4 * BLOCKS,
        "hit_bytes": 0,
        "miss_bytes": first["models"]["t"]["new_bytes"],
        "saved_s": 0,
    }
    second = run(resident, project, "whole")
    source = second["models"]["t"]
    assert source["cache"]["misses"] == 0
    assert source["cache"]["hit_bytes"] == cache_of(first)["miss_bytes"]
    assert source["cache"]["saved_s"] > 0
    assert (source["new_bytes"], source["reshared_bytes"]) == (0, cache_of(first)["miss_bytes"])
    assert (source["cpu_s"], source["peak_memory_bytes"]) == (0, 0)  # no process was there
    assert second["rows"] == first["rows"] == {"whole": [[400000, 79999800000]]}


def test_columns_are_shared_by_other_readers(resident, project):
    first = run(resident, project, "of_a")
    assert cache_of(first)["misses"] == BLOCKS
    second = run(resident, project, "of_a", "of_b")
    assert (cache_of(second)["hits"], cache_of(second)["misses"]) == (BLOCKS, BLOCKS)
    third = run(resident, project, "whole", "of_b")
    assert (cache_of(third)["hits"], cache_of(third)["misses"]) == (2 * BLOCKS, 2 * BLOCKS)
    assert third["rows"]["of_b"] == [[400000, 39999900000.0]]


def test_a_selective_filter_pays_for_few_blocks_only(resident, project):
    report = run(resident, project, "few")
    # The filter's column of each block, and what else is asked for of the one that has a row.
    assert cache_of(report)["misses"] == BLOCKS + 2
    assert report["models"]["t#2"]["kind"] == "filter"
    assert report["rows"]["few"] == [[1, 199999.5]]
    again = run(resident, project, "few")
    assert (cache_of(again)["hits"], cache_of(again)["misses"]) == (3, 0)
    assert again["rows"] == report["rows"]


def test_a_filter_that_nothing_passes(resident, project):
    for _ in range(2):
        report = run(resident, project, "none")
        assert report["rows"]["none"][0][0] == 0
        assert report["models"]["t#2"]["rows"] == 0


def test_runs_at_once_decode_once(resident, project):
    with ThreadPoolExecutor(6) as pool:
        reports = list(pool.map(lambda _: run(resident, project, "whole"), range(6)))
    assert sum(cache_of(report)["misses"] for report in reports) == 4 * BLOCKS
    assert len({str(report["rows"]) for report in reports}) == 1


def test_a_changed_file_is_read_anew(resident, project):
    path = project / "t.parquet"
    assert run(resident, project, "of_a")["rows"]["of_a"] == [[400000, 79999800000]]
    before = os.stat(path)
    pq.write_table(numbers(shift=1), path, row_group_size=GROUP_ROWS)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as if it had never changed
    settled(path)
    report = run(resident, project, "of_a")
    assert report["rows"]["of_a"] == [[400000, 80000200000]]
    assert cache_of(report)["hits"] == 0
    # Nothing is left of the file as it was.
    assert {entry["hits"] for entry in listed(resident)} == {0}
    assert len(listed(resident)) == BLOCKS


def test_a_file_of_the_future_is_not_kept(resident, project):
    ahead = time.time() + 3600
    os.utime(project / "t.parquet", (ahead, ahead))
    for _ in range(2):
        assert cache_of(run(resident, project, "of_a"))["hits"] == 0
    assert listed(resident) == []


def test_without_the_cache_everything_is_decoded(resident, project):
    run(resident, project, "of_a")
    report = run(resident, project, "whole", arguments=["--no-cache"])
    assert (cache_of(report)["hits"], cache_of(report)["misses"]) == (0, 4 * BLOCKS)
    assert len(listed(resident)) == BLOCKS  # and nothing was kept


def test_a_small_cache_keeps_to_its_size(nobody, project):
    size = 2_000_000
    nobody.engine = nobody.popen("engine", "start", "--foreground", "--cache-size", "2MB")
    assert "engine started" in nobody.engine.stdout.readline()
    try:
        results = [run(nobody, project, "whole", "of_b")["rows"] for _ in range(3)]
        assert results[0] == results[1] == results[2]
        entries = listed(nobody)
        assert 0 < sum(entry["bytes"] for entry in entries) <= size
        assert nobody.status()["memory"]["tables"] <= size + 100_000
    finally:
        nobody.end()


def test_no_room_at_all(nobody, project):
    nobody.engine = nobody.popen("engine", "start", "--foreground", "--cache-size", "0")
    assert "engine started" in nobody.engine.stdout.readline()
    try:
        for _ in range(2):
            report = run(nobody, project, "whole")
            assert report["rows"] == {"whole": [[400000, 79999800000]]}
            assert cache_of(report)["hits"] == 0
        assert listed(nobody) == []
    finally:
        nobody.end()


def test_the_cache_is_shown_and_emptied(resident, project):
    assert resident.run("cache", "ls").stdout == "the cache is empty\n"
    run(resident, project, "of_a")
    run(resident, project, "of_a")
    entries = listed(resident)
    assert [entry.pop("row_group") for entry in entries] == [0, 2]
    for entry in entries:
        assert entry.pop("bytes") > 8 * ROWS / BLOCKS
        assert entry.pop("saved_s") == entry["decode_s"]
        assert entry.pop("decode_s") > 0
        assert entry == {
            "file": str(project / "t.parquet"),
            "row_groups": 2,
            "column": "a",
            "hits": 1,
        }
    text = resident.run("cache", "ls").stdout
    assert "0-1" in text
    assert "2 column chunks" in text
    freed = json.loads(resident.run("cache", "clear", "-O", "json").stdout)["freed_bytes"]
    assert freed > 8 * ROWS
    assert listed(resident) == []
    resident.wait_for(lambda status: status["memory"]["tables"] == 0)
    assert cache_of(run(resident, project, "of_a"))["misses"] == BLOCKS


def test_emptied_while_it_is_used(resident, project):
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(run, resident, project, "whole", "few") for _ in range(4)]
        while not all(done.done() for done in runs):
            assert resident.run("cache", "clear").returncode == 0
        assert len({str(done.result()["rows"]) for done in runs}) == 1


def test_without_an_engine_there_is_nothing_to_show(nobody):
    assert json.loads(nobody.run("cache", "ls", "-O", "json").stdout)["entries"] == []
    assert "no engine is running" in nobody.run("cache", "ls").stdout
    assert nobody.run("cache", "clear").returncode == 0


def test_a_broken_file_fails_every_run_and_keeps_nothing(resident, project):
    path = project / "t.parquet"
    content = bytearray(path.read_bytes())
    content[100:30_000] = b"\xff" * 29_900
    path.write_bytes(content)
    settled(path)
    with ThreadPoolExecutor(3) as pool:
        for report in pool.map(lambda _: run(resident, project, "whole", code=1), range(3)):
            assert "t.parquet" in report["models"]["t"]["error"]["message"]
            assert report["models"]["whole"]["status"] == "skipped"
    assert listed(resident) == []


def test_a_decoding_worker_that_is_killed_takes_nobody_along(resident, project):
    """The one who waits for its columns decodes them itself."""
    # Large enough that it is found at work.
    large = pa.concat_tables([numbers()] * 12)
    pq.write_table(large, project / "t.parquet", row_group_size=GROUP_ROWS)
    settled(project)
    expected = 12 * sum(range(ROWS))
    killed = 0
    with ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(run, resident, project, "whole", code=None) for _ in range(3)]
        deadline = time.monotonic() + 60
        while killed == 0 and not all(done.done() for done in runs):
            assert time.monotonic() < deadline
            for pid in workers_of(resident):
                os.kill(pid, signal.SIGKILL)
                killed += 1
                break
        reports = [done.result() for done in runs]
    good = [report for report in reports if report["status"] == "success"]
    assert {report["rows"]["whole"][0][1] for report in good} <= {expected}
    assert len(good) >= len(reports) - 1
    assert cache_of(run(resident, project, "whole"))["misses"] == 0


def test_killed_while_it_extends_a_dictionary(resident, project):
    """Others' texts stay what they were, and the next worker extends them."""
    (project / "zerrow_project.yml").write_text("name: cached\nsources: {t: t}\n")
    (project / "counted.sql").write_text("SELECT s, count(*) AS c FROM t GROUP BY s ORDER BY s")
    (project / "models.py").write_text(
        "import pyarrow as pa, zerrow\n"
        "@zerrow.model()\n"
        "def dictionaries(t=zerrow.Model('t', dictionary='auto')):\n"
        "    places = {c.dictionary.buffers()[2].address for c in t['s'].chunks}\n"
        "    return pa.table({'n': [len(places)], 'values': [len(t['s'].chunk(0).dictionary)]})\n"
    )
    folder = project / "t"
    folder.mkdir()
    pq.write_table(pa.table({"s": ["a", "b"] * 1000}), folder / "0.parquet")
    settled(folder)
    assert run(resident, project)["rows"]["counted"] == [["a", 1000], ["b", 1000]]
    large = pa.table({"s": ["c", "b"] * 4_000_000})
    pq.write_table(large, folder / "1.parquet", row_group_size=GROUP_ROWS)
    settled(folder)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, resident, project, code=None)
        deadline = time.monotonic() + 60
        while not (workers := workers_of(resident, "t/1.parquet")):
            assert time.monotonic() < deadline
            assert not running.done()
        os.kill(workers[0], signal.SIGKILL)
        assert running.result()["status"] == "failed"
    report = run(resident, project)
    expected = [["a", 1000], ["b", 4001000], ["c", 4000000]]
    assert report["rows"] == {"counted": expected, "dictionaries": [[1, 3]]}
    assert cache_of(report)["hits"] == 1


def workers_of(resident, file="project/t.parquet"):
    """Processes that decode: they have the file open."""
    found = []
    for fds in Path("/proc").glob("[0-9]*/fd"):
        try:
            names = {os.readlink(fd) for fd in fds.iterdir()}
            ours = str(resident.folder).encode() in (fds.parent / "environ").read_bytes()
        except OSError:
            continue
        reads = any(name.endswith(file) for name in names)
        if ours and reads and (fds.parent / "comm").read_text().strip() != "zerrow":
            found.append(int(fds.parent.name))
    return found


def test_files_of_one_table_share_what_they_can(resident, project):
    """Other orders of columns, a narrower type, folders that name a column."""
    shutil.rmtree(project / "t", ignore_errors=True)
    (project / "zerrow_project.yml").write_text("name: cached\nsources: {t: t}\n")
    for year, type_ in ((2013, pa.int32()), (2014, pa.int64())):
        folder = project / "t" / f"year={year}"
        folder.mkdir(parents=True)
        table = pa.table({"b": [1.5, 2.5], "a": pa.array([1, year], type_)})
        names = ["a", "b"] if year == 2013 else ["b", "a"]
        pq.write_table(table.select(names), folder / "x.parquet")
    (project / "models.py").write_text(
        "import pyarrow as pa, pyarrow.compute as pc, zerrow\n"
        "@zerrow.model()\n"
        "def both(t=zerrow.Model('t')):\n"
        "    assert t.column_names == ['a', 'b', 'year'], t.column_names\n"
        "    assert t.schema.field('a').type == pa.int64()\n"
        "    return t\n"
        "@zerrow.model()\n"
        "def later(t=zerrow.Model('t', columns=['a'], filter='year = 2014')):\n"
        "    return t\n"
    )
    settled(project)
    for hits in (0, 6):
        report = run(resident, project)
        assert report["rows"]["both"] == [
            [1, 1.5, 2013],
            [2013, 2.5, 2013],
            [1, 1.5, 2014],
            [2014, 2.5, 2014],
        ]
        assert report["rows"]["later"] == [[1], [2014]]
        assert cache_of(report)["hits"] == hits
