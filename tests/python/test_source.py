"""What is read of Parquet files: rows, columns and types as written, or an error with the file."""

import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from zerrow._sources.parquet import ParquetFile

YEAR_2999 = datetime.datetime(2999, 12, 31, 23, 59, 59, 999_999)
NAN = float("nan")


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "t.parquet")


def test_rows_with_nan_are_found_beside_bounds_that_say_otherwise(path, read):
    table = pa.table({"x": [3.0, 3.0, NAN, 1.0, 2.0, NAN, 20.0, None], "id": range(8)})
    pq.write_table(table, path, row_group_size=3)
    assert read([path], ["id"], "x <> 3.0")["id"].to_pylist() == [2, 3, 4, 5, 6]
    assert read([path], ["id"], "NOT (x < 10)")["id"].to_pylist() == [2, 5, 6]


@pytest.mark.parametrize("store_schema", [True, False])
def test_96_bit_timestamps_beyond_nanoseconds(path, store_schema, read):
    type_ = pa.timestamp("us")
    table = pa.table(
        {
            "end": pa.array([YEAR_2999, None, datetime.datetime(1600, 2, 29)], type_),
            "ends": pa.array([[YEAR_2999], [], None], pa.list_(type_)),
        }
    )
    pq.write_table(table, path, use_deprecated_int96_timestamps=True, store_schema=store_schema)
    assert read([path], None, None).to_pydict() == table.to_pydict()
    assert read([path], ["end"], "end > '2262-12-31'::timestamp(6)")["end"].to_pylist() == [
        YEAR_2999
    ]
    assert ParquetFile(path).schema.types == [type_, pa.list_(type_)]


def test_a_dot_in_a_name_is_no_path(path, read):
    table = pa.table({"a": [{"b": 1, "c": 2}, {"b": 3, "c": 4}], "a.b": [10, 30], "x.y": [5, 6]})
    pq.write_table(table, path, row_group_size=1)
    for columns in (["a.b"], ["a"], ["x.y", "a.b"], ["a.b", "a"], ["a", "a.b"]):
        assert read([path], columns, None).equals(table.select(columns))
    assert read([path], ["a"], '"a.b" > 10')["a"].to_pylist() == [{"b": 3, "c": 4}]
    assert read([path], ["a.b"], '"x.y" = 5')["a.b"].to_pylist() == [10]


def test_rows_without_columns(path, read):
    pq.write_table(pa.table({"x": range(10), "y": ["t"] * 10}), path, row_group_size=3)
    rows = {None: 20, "x >= 8": 4, "x > 100": 0, "1 = 1": 20, "NULL": 0}
    for condition, wanted in rows.items():
        table = read([path, path], [], condition)
        assert (table.num_rows, table.num_columns) == (wanted, 0), condition


def test_a_file_without_columns_has_rows(path, read):
    pq.write_table(pa.table({"x": pa.nulls(3)}).select([]), path)
    assert read([path], None, None).num_rows == ParquetFile(path).groups()[0].rows


def test_no_file_promises_that_another_has_no_nulls(tmp_path, read):
    files = [str(tmp_path / name) for name in ("a.parquet", "b.parquet")]
    for file, values, nullable in ((files[0], [1], False), (files[1], [None], True)):
        schema = pa.schema([pa.field("x", pa.int64(), nullable)], {"made by": file})
        pq.write_table(pa.table({"x": pa.array(values, pa.int64())}, schema=schema), file)
    table = read(files, None, None)
    assert table["x"].to_pylist() == [1, None]
    assert table.schema.field("x").nullable
    assert table.schema.metadata[b"made by"] == files[0].encode()
    assert not read(files[:1], None, None).schema.field("x").nullable
    assert read(files, None, "x > 5").schema.names == ["x"]


def test_rows_are_in_the_files_order(tmp_path, read):
    files = [str(tmp_path / f"{part}.parquet") for part in range(40)]
    for part, file in enumerate(files):
        pq.write_table(pa.table({"x": range(10 * part, 10 * part + 10)}), file, row_group_size=4)
    assert read(files, None, None)["x"].to_pylist() == list(range(400))
    assert read(files, None, "x % 2 = 0")["x"].to_pylist() == list(range(0, 400, 2))


def not_utf8(texts, large=False):
    """An array whose texts are these bytes, unchecked."""
    binary = pa.array(texts, pa.large_binary() if large else pa.binary())
    type_ = pa.large_string() if large else pa.string()
    return pa.Array.from_buffers(type_, len(texts), binary.buffers())


@pytest.mark.parametrize(
    "column",
    [
        not_utf8([b"fine", b"\xff", None]),
        not_utf8(["ä".encode(), b"\xc3", b"\xa4"]),  # only together a character
        not_utf8([b"a", b"\xed\xa0\x80", b"c"], large=True),
        pa.ListArray.from_arrays([0, 1, 1, 2], not_utf8([b"a", b"\xff"])),
        pa.StructArray.from_arrays([not_utf8([b"a", b"\xff", b""])], ["s"]),
        pa.DictionaryArray.from_arrays([0, 1, 0], not_utf8([b"a", b"\xff"])),
    ],
    ids=lambda column: str(column.type),
)
def test_texts_that_are_not_utf8_are_refused(path, column, read, scan_error):
    pq.write_table(pa.table({"x": [1, 2, 3], "s": column}), path)
    with pytest.raises(scan_error, match=r"column 's': .*UTF-?8") as refused:
        read([path], None, "x > 5 OR x < 9")
    assert path in str(refused.value)
    assert read([path], ["x"], None).num_rows == 3


@pytest.mark.parametrize("type_", [pa.string(), pa.large_string()])
def test_texts_that_are_utf8_are_not(path, type_, read):
    texts = pa.array(["", None, "ä", "日本", "", "🦆", "a" * 1000, "ü", ""], type_)
    table = pa.table({"s": texts, "n": pa.nulls(9, type_), "e": pa.array([""] * 9, type_)})
    pq.write_table(table, path, row_group_size=4)
    assert read([path], None, None).equals(table)


def test_a_file_that_cannot_be_decoded_is_named(tmp_path, read, scan_error):
    good, bad = str(tmp_path / "a.parquet"), tmp_path / "b #1%.parquet"
    pq.write_table(pa.table({"x": range(1000)}), good, compression="zstd")
    pq.write_table(pa.table({"x": range(1000)}), bad, compression="zstd", use_dictionary=False)
    content = bytearray(bad.read_bytes())
    content[100:1000] = b"\xff" * 900
    bad.write_bytes(content)
    with pytest.raises(scan_error, match="can't be decoded: column 'x'") as refused:
        read([good, str(bad)], None, None)
    assert f" {bad} can't be" in str(refused.value)
    bad.write_bytes(b"no Parquet at all")
    with pytest.raises(scan_error, match="can't be read as Parquet") as refused:
        read([good, str(bad)], None, None)
    assert f" {bad} can't be" in str(refused.value)


def test_files_must_fit_together(tmp_path, read, scan, scan_error):
    files = [str(tmp_path / name) for name in ("a.parquet", "b.parquet")]
    pq.write_table(pa.table({"x": [1], "y": [2]}), files[0])
    pq.write_table(pa.table({"y": [3], "x": ["one"]}), files[1])
    with pytest.raises(scan_error, match=r"'x' is int64 in .*a.parquet, but string in .*b"):
        read(files, ["x"], None)
    pq.write_table(pa.table({"x": [1]}), files[1])
    with pytest.raises(scan_error, match=r"column 'y' of .*a.parquet is missing in .*b.parquet"):
        read(files, ["x"], None)
    pq.write_table(pa.table({"y": [3], "x": pa.array([4], pa.int8())}), files[1])
    columns = [{"name": "x", "type": "int64"}, {"name": "y", "type": "int64"}]
    assert scan(files, columns=columns).table()["x"].to_pylist() == [1, 4]
    for declared, reason in [
        (columns[:1], "column 'y' was not there and is int64"),
        ([*columns, {"name": "z", "type": "string"}], "column 'z' was string and is gone"),
        ([columns[1], {"name": "x", "type": "int8"}], "column 'x' was int8 and is int64"),
    ]:
        with pytest.raises(scan_error, match=f"changed since the project was read: {reason}"):
            scan(files, columns=declared)
