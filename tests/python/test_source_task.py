"""Source tasks against pyarrow: entries, blocks and what of them each read needs."""

import datetime
import decimal
import os
import random
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from zerrow import _native
from zerrow._errors import SourceError
from zerrow._sources import source_files
from zerrow._sources.parquet import ParquetFile
from zerrow._sql.filters import FilterError, columns_of
from zerrow._worker import tasks_source
from zerrow._worker.tasks import narrow

NAN = float("nan")
COLUMNS = {
    "i8": pa.array([1, None, -128, 127, 0, 5], pa.int8()),
    "u64": pa.array([0, 2**64 - 1, None, 1, 2, 3], pa.uint64()),
    "f": pa.array([1.5, NAN, None, -0.0, float("inf"), 2.0]),
    "half": pa.array(np.array([1, 2, 3, 4, 5, 6], np.float16)),
    "b": pa.array([True, False, None, True, True, False]),
    "s": pa.array(["a", None, "", "ä", "x" * 5000, "b"]),
    "large": pa.array(["a", None, "", "ä", "x", "b"], pa.large_string()),
    "view": pa.array(["a", None, "", "long enough to be elsewhere", "x", "b"], pa.string_view()),
    "bin": pa.array([b"a", None, b"", b"\xff", b"x", b"b"]),
    "fixed": pa.array([b"aa", None, b"bb", b"cc", b"dd", b"ee"], pa.binary(2)),
    "dec": pa.array([decimal.Decimal("1.25"), None] * 3, pa.decimal128(9, 2)),
    "wide": pa.array([decimal.Decimal("1.25"), None] * 3, pa.decimal256(50, 2)),
    "day": pa.array([datetime.date(2020, 1, n + 1) for n in range(6)]),
    "at": pa.array([datetime.datetime(2020, 1, n + 1) for n in range(6)], pa.timestamp("us")),
    "zoned": pa.array([n * 10**9 for n in range(6)], pa.timestamp("ns", "Europe/Paris")),
    "time": pa.array([datetime.time(n) for n in range(6)], pa.time64("us")),
    "took": pa.array([1, 2, None, 4, 5, 6], pa.duration("ms")),
    "dict": pa.array(["a", "b", None, "a", "c", "b"]).dictionary_encode(),
    "list": pa.array([[1, None], [], None, [2], [3, 4], [5]], pa.list_(pa.int32())),
    "fixed_list": pa.array([[1, 2], None, [3, 4], [5, 6], [7, 8], [9, 0]], pa.list_(pa.int8(), 2)),
    "struct": pa.array(
        [{"a": 1, "b": "x"}, None, {"a": None, "b": ""}, {"a": 4, "b": None}] + [None] * 2
    ),
    "deep": pa.array([[{"a": ["x", None]}], [], None, [None], [{"a": []}], [{"a": None}]]),
    "map": pa.array(
        [[("k", 1)], [], None, [("l", None)], [], []], pa.map_(pa.string(), pa.int64())
    ),
    "nothing": pa.nulls(6),
}


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "t.parquet")


def rows_of(table):
    """As text, in which NaN is equal to NaN."""
    return [str(row) for row in table.to_pylist()]


@pytest.mark.parametrize("group_rows", [1, 2, 4, 6])
@pytest.mark.parametrize("block_rows", [1, 3, 1 << 17])
def test_all_types(path, scan, monkeypatch, group_rows, block_rows):
    monkeypatch.setattr("zerrow._sources.scan._BLOCK_ROWS", block_rows)
    table = pa.table(COLUMNS)
    table = pa.concat_tables([table, table.slice(0, 0), table.slice(1, 4)]).combine_chunks()
    pq.write_table(table, path, row_group_size=group_rows)
    found = scan([path])
    expected = pq.read_table(path)
    plain = expected.schema.field("view").with_type(pa.string())
    at = expected.schema.get_field_index("view")
    expected = expected.set_column(at, plain, expected["view"].cast(pa.string()))
    assert found.table().schema == expected.schema
    for name in table.column_names:
        assert rows_of(found.table().select([name])) == rows_of(expected.select([name])), name
    assert sorted(found.entries) == sorted(
        (block, name) for block in range(len(found.answer["blocks"])) for name in COLUMNS
    )
    found.table().validate(full=True)


def test_dictionaries_of_row_groups_become_one(path, scan):
    parts = [["a", "b"], ["b", "c", None], ["d"], [None]]
    schema = pa.schema([("d", pa.dictionary(pa.int32(), pa.string()))])
    with pq.ParquetWriter(path, schema) as writer:
        for part in parts:
            values = pa.array(part, pa.string()).dictionary_encode()
            writer.write_table(pa.table({"d": values}, schema=schema))
    table = scan([path]).table()
    assert table["d"].to_pylist() == [value for part in parts for value in part]


def test_empty_files_and_row_groups(tmp_path, scan, monkeypatch):
    monkeypatch.setattr("zerrow._sources.scan._BLOCK_ROWS", 1)
    files = [str(tmp_path / f"{i}.parquet") for i in range(4)]
    schema = pa.schema([("x", pa.int64()), ("s", pa.string())])
    counts = [[], [0], [0, 2, 0, 1, 0], [3]]
    value = 0
    for file, groups in zip(files, counts, strict=True):
        with pq.ParquetWriter(file, schema) as writer:
            for rows in groups:
                numbers = range(value, value + rows)
                writer.write_table(pa.table({"x": list(numbers), "s": ["t"] * rows}, schema=schema))
                value += rows
    found = scan(files)
    assert [file["blocks"] for file in found.answer["files"]] == [
        [],
        [[0, 1, 0]],
        [[0, 2, 2], [2, 2, 1], [4, 1, 0]],
        [[0, 1, 3]],
    ]
    assert found.answer["blocks"] == [[1, 0], [2, 0], [2, 1], [2, 2], [3, 0]]
    assert found.answer["reads"] == [[1, 2, 4]]
    assert found.table()["x"].to_pylist() == list(range(6))
    for nothing in (files[:1], files[1:2], files[:2]):
        found = scan(nothing)
        assert (found.entries, found.answer["reads"]) == ({}, [[]])
        assert found.table().schema == schema


def test_no_reads_and_no_rows_wanted(path, scan):
    pq.write_table(pa.table({"x": [1, 2, 3]}), path)
    assert scan([path], []).answer["reads"] == []
    found = scan([path], [(["x"], "x > 3"), (["x"], "NULL"), (["x"], "x < 1")])
    assert found.answer["reads"] == [[], [], []]
    assert found.entries == {}
    assert found.table().num_rows == 0


def test_reads_without_columns_count_rows(path, scan):
    pq.write_table(pa.table({"x": range(10)}), path, row_group_size=4)
    found = scan([path], [([], None), ([], "1 = 1"), ([], "NULL"), (["x"], "x > 8")])
    rows = [found.table(read).num_rows for read in range(4)]
    assert rows == [10, 10, 0, 1]
    assert [name for _, name in found.entries] == ["x"]
    assert scan([path], [([], None)]).entries == {}


def several_blocks(path, monkeypatch, rows=40):
    """x ascends; y doesn't, so that statistics say nothing of it."""
    monkeypatch.setattr("zerrow._sources.scan._BLOCK_ROWS", 10)
    table = pa.table(
        {
            "x": range(rows),
            "y": pa.array([(n * 7) % 10 * 1.0 + (n // 10) * 0.5 for n in range(rows)]),
            "s": [f"text {n}" for n in range(rows)],
            "t": [f"more {n}" for n in range(rows)],
        }
    )
    pq.write_table(table, path, row_group_size=5)
    return table


def test_only_blocks_with_survivors_are_decoded(path, scan, monkeypatch):
    several_blocks(path, monkeypatch)
    # 3.25 is within all bounds, 3.0 is in the blocks 0 and 2, 3.5 in the others.
    found = scan([path], [(["s", "y"], "y = 3.25")])
    assert sorted(found.entries) == [(block, "y") for block in range(4)]
    assert found.answer["reads"] == [[]]
    found = scan([path], [(["s", "y"], "y = 3.5")])
    assert found.answer["reads"] == [[1, 3]]
    assert sorted(name for _, name in found.entries) == ["s"] * 2 + ["y"] * 4
    assert found.table(columns=["s"])["s"].to_pylist() == ["text 19", "text 36"]


def test_each_read_gets_what_it_needs_and_nothing_is_decoded_twice(path, scan, monkeypatch):
    table = several_blocks(path, monkeypatch)
    reads = [
        (["x", "s"], "x BETWEEN 12 AND 13"),
        (["y", "t"], "y = 3.5"),
        (["x"], None),
        (["s", "t"], None),
    ]
    found = scan([path], reads)
    # All columns that the second read needs are needed anyway, so nobody has looked at its rows.
    assert found.answer["reads"] == [[1], [0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]]
    for read, (columns, condition) in enumerate(reads):
        assert found.table(read).equals(narrow(table, columns, condition).select(columns))


def test_entries_that_the_engine_has(path, scan, monkeypatch):
    table = several_blocks(path, monkeypatch)
    whole = scan([path])
    have = {(0, 0, "x"), (0, 2, "x"), (0, 4, "s"), (0, 6, "y")}
    cached = {(group // 2, name): whole.entries[group // 2, name] for _, group, name in have}
    for condition in (None, "y = 3.5", "x > 12", "x >= 15 AND s <> 'text 39'"):
        columns = list(dict.fromkeys(["s", "t", *(columns_of(condition) if condition else [])]))
        found = scan([path], [(columns, condition)], have=have)
        assert not set(found.entries) & set(cached)
        found = found.table(have=cached)
        assert found.equals(narrow(table, columns, condition)), condition


@pytest.mark.parametrize("condition", ["x / (x - 5) > 0", "s LIKE '%' AND 10 / (x - 12) = 1"])
def test_filters_that_fail_are_left_to_whoever_applies_them(path, scan, monkeypatch, condition):
    several_blocks(path, monkeypatch)
    found = scan([path], [(["x", "s", "t"], condition)])
    assert len(found.answer["reads"][0]) >= 1
    with pytest.raises(FilterError, match="Divide by zero"):
        found.table()


def test_random_reads_of_random_files(tmp_path, scan, monkeypatch):
    monkeypatch.setattr("zerrow._sources.scan._BLOCK_ROWS", 4)
    conditions = ["f > 0", "f <> 3", "NOT (f < 3)", "s = 'b'", "i IN (1, 2)", "f IS NULL", "i < 2"]
    for seed in range(60):
        choose = random.Random(seed)
        files, tables = [], []
        for part in range(choose.randrange(1, 4)):
            rows = choose.choice([0, 1, 3, 9, 20])

            def pick(*values, rows=rows, choose=choose):
                return [choose.choice(values) for _ in range(rows)]

            narrower = choose.choice([pa.int16(), pa.int64()])
            table = pa.table(
                {
                    "i": pa.array(pick(0, 1, 2, 3, None), narrower),
                    "f": pa.array(pick(3.0, NAN, None, -1.0), pa.float64()),
                    "s": pa.array(pick("a", "b", None), pa.string()),
                }
            )
            order = choose.sample(table.column_names, 3) if part else table.column_names
            files.append(str(tmp_path / f"{seed}.{part}.parquet"))
            pq.write_table(table.select(order), files[-1], row_group_size=choose.choice([1, 3, 50]))
            tables.append(table)
        wide = pa.int64() if any(t.schema.field("i").type == pa.int64() for t in tables) else None
        whole = pa.concat_tables(
            [t.set_column(0, "i", t["i"].cast(wide or pa.int16())) for t in tables]
        )
        reads = []
        for _ in range(choose.randrange(1, 4)):
            condition = choose.choice([None, *conditions])
            columns = choose.sample(["i", "f", "s"], choose.randrange(4))
            columns += [n for n in (columns_of(condition) if condition else []) if n not in columns]
            reads.append((columns, condition))
        found = scan(files, reads)
        for read, (columns, condition) in enumerate(reads):
            wanted = narrow(whole, columns, condition)
            assert found.table(read).num_rows == wanted.num_rows, seed
            assert rows_of(found.table(read)) == rows_of(wanted), seed
            assert found.table(read).schema.types == wanted.schema.types


def test_many_small_files_become_few_entries(tmp_path, scan, monkeypatch):
    monkeypatch.setattr("zerrow._sources.scan.MOST_ENTRIES", 20)
    monkeypatch.setattr(source_files, "_MOST_OPEN", 3)
    files = []
    for part in range(50):
        folder = tmp_path / f"p={part}"
        folder.mkdir()
        file = str(folder / "a.parquet")
        narrow_type = pa.int32() if part % 2 else pa.int64()
        x = pa.array([part, None, 1], narrow_type)
        pq.write_table(pa.table({"x": x, "s": [f"{part}"] * 3}), file, row_group_size=2)
        files.append({"path": file, "partition": {"p": part}})
    columns = ["x", "s", "p"]
    found = scan(files, [(columns, None), (["x"], "x >= 30"), ([], None)])
    assert len(found.entries) <= 20
    assert len(found.answer["files"]) == 50
    assert all(file is None for file, _ in found.answer["blocks"])
    table = found.table()
    assert table["x"].to_pylist() == [n for part in range(50) for n in (part, None, 1)]
    assert table["s"].to_pylist() == [str(part) for part in range(50) for _ in range(3)]
    assert table["p"].to_pylist() == [part for part in range(50) for _ in range(3)]
    assert sorted(found.table(1)["x"].to_pylist()) == list(range(30, 50))
    assert found.table(2).num_rows == 150


def test_entries_are_sent_as_they_get_ready(tmp_path, scan, monkeypatch):
    monkeypatch.setattr("zerrow._sources.scan._BLOCK_ROWS", 1)
    path = str(tmp_path / "t.parquet")
    pq.write_table(pa.table({"x": range(300)}), path, row_group_size=1)
    assert len(os.listdir("/proc/self/fd")) < 200
    found = scan([path])
    assert len(found.entries) == 300
    assert max(len(message["entries"]) for message in found.messages) <= 64
    monkeypatch.setattr(tasks_source, "_MOST_UNSENT_BYTES", 1)
    assert len(scan([path]).messages) == 300


def test_no_descriptor_is_left(path, scan, scan_error, monkeypatch):
    several_blocks(path, monkeypatch)
    scan([path])
    before = sorted(os.listdir("/proc/self/fd"))
    scan([path])
    assert sorted(os.listdir("/proc/self/fd")) == before

    def fail(*_):
        raise pa.ArrowInvalid("no more")

    monkeypatch.setattr(_native, "encode", fail)
    with pytest.raises(scan_error, match="no more"):
        scan([path])
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_no_more_than_a_few_columns_of_blocks_are_in_memory(path, scan, monkeypatch):
    monkeypatch.setattr("zerrow._sources.scan._BLOCK_ROWS", 1)
    rows, blocks, columns = 50_000, 12, 8
    names = [f"c{i}" for i in range(columns)]
    table = pa.table({name: np.random.default_rng(7).random(rows * blocks) for name in names})
    pq.write_table(table, path, row_group_size=rows, use_dictionary=False, compression="none")
    del table
    held = []
    encode = _native.encode

    def measured(table):
        held.append(pa.total_allocated_bytes())
        return encode(table)

    monkeypatch.setattr(_native, "encode", measured)
    before = pa.total_allocated_bytes()
    found = scan([path], [(names, "c0 < 2 AND c1 < 2")])
    assert len(found.entries) == len(held) == blocks * columns
    # Those under way, and the filter's columns of as many blocks.
    few = 3 * (pa.cpu_count() + 1)
    assert max(held) - before < (few + 1) * 8 * rows
    assert pa.total_allocated_bytes() - before < 8 * rows


def test_a_file_that_ends_early_has_not_just_fewer_rows(path):
    table = pa.table({"x": np.arange(500_000)})
    pq.write_table(table, path, use_dictionary=False, compression="none")
    file = ParquetFile(path)
    assert len(file.read(range(1), "x", pa.int64())) == 500_000
    file.close()
    os.truncate(path, 2_000_000)
    with pytest.raises(SourceError, match=f"{path} can't be decoded: column 'x'"):
        file.read(range(1), "x", pa.int64())


def test_a_file_that_changes_is_an_error(path, scan, scan_error, monkeypatch):
    several_blocks(path, monkeypatch)
    found = os.stat(path)
    stale = [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns - 1, found.st_ctime_ns]
    with pytest.raises(scan_error, match=f"{path} changed while it was read"):
        scan([{"path": path, "identity": stale}])
    encode = _native.encode

    def touch():
        os.utime(path, ns=(1, 1))

    def replace():
        pq.write_table(pa.table({"x": [1]}), f"{path}.new")
        os.replace(f"{path}.new", path)

    def truncate():
        os.truncate(path, 10)

    lock = threading.Lock()
    for change in (touch, truncate, replace):
        several_blocks(path, monkeypatch)
        changed = []

        def encode_and_change(table, change=change, changed=changed):
            with lock:
                if not changed:
                    changed.append(change())
            return encode(table)

        monkeypatch.setattr(_native, "encode", encode_and_change)
        with pytest.raises(scan_error, match=f"{path} changed while it was read"):
            scan([path])
        assert changed


def test_a_file_that_is_gone_is_an_error(path, scan, scan_error, monkeypatch):
    several_blocks(path, monkeypatch)
    encode = _native.encode

    def encode_and_remove(table):
        Path(path).unlink(missing_ok=True)
        return encode(table)

    monkeypatch.setattr(_native, "encode", encode_and_remove)
    with pytest.raises(scan_error, match=rf"{path} can't be read: .*No such file"):
        scan([path])


def test_files_have_notes_of_their_own(tmp_path, scan):
    files = [str(tmp_path / name) for name in ("a.parquet", "b.parquet", "c.parquet")]
    kinds = [(pa.int8(), False, "one"), (pa.int64(), True, "two"), (pa.int8(), False, "one")]
    for file, (type_, nullable, note) in zip(files, kinds, strict=True):
        schema = pa.schema([pa.field("x", type_, nullable)], {"note": note})
        pq.write_table(pa.table({"x": pa.array([1], type_)}, schema=schema), file)
    found = scan(files)
    assert len(found.answer["schemas"]) == 2
    first, second, third = found.schemas()
    assert first == third
    assert [first.field("x").nullable, second.field("x").nullable] == [False, True]
    assert first.types == second.types == [pa.int64()]
    assert [first.metadata, second.metadata] == [{b"note": b"one"}, {b"note": b"two"}]
    # An entry is what its file says it is, whatever other files are there.
    assert [found.entries[block, "x"].schema.field("x").nullable for block in range(3)] == [
        False,
        True,
        False,
    ]
