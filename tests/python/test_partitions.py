"""Columns in folders' names are those that pyarrow.dataset finds."""

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from zerrow._errors import ProjectError
from zerrow._project.project_file import SourceEntry
from zerrow._project.sources import resolve_source

NULL = "__HIVE_DEFAULT_PARTITION__"


def write(folder, values, name="k"):
    for i, value in enumerate(values):
        below = folder / f"{name}={value}"
        below.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"x": [i]}), below / f"{i}.parquet")


def source(folder, pattern="data"):
    return resolve_source(SourceEntry("s", pattern, 3), folder)


def refusal(folder, pattern="data"):
    with pytest.raises(ProjectError) as refused:
        source(folder, pattern)
    return str(refused.value)


@pytest.mark.parametrize(
    "values",
    [
        ["1", "02", "-3"],
        ["+1"],
        ["2147483647", "-2147483648"],
        ["2147483648", "1"],
        ["a b", "a%20b%2Fc", "ä"],
        [NULL, "1"],
        [NULL, "b"],
        ["%5F_HIVE_DEFAULT_PARTITION__", "1"],
        ["", "1"],
        ["1.5"],
        ["-0", "-00", "00000000000001"],
        ["%31"],
        [" 1"],
        ["1_0"],
        ["٣"],
        ["a=b"],
    ],
    ids=str,
)
def test_types_and_values(tmp_path, values, scan):
    write(tmp_path / "data", values)
    found = source(tmp_path)
    expected = ds.dataset(tmp_path / "data", partitioning="hive", format="parquet").to_table()
    assert found.schema == expected.schema
    table = scan(found.to_json()["files"]).table()
    assert table.sort_by("x").to_pydict() == expected.sort_by("x").to_pydict()


def test_a_column_of_nulls_is_text(tmp_path):
    write(tmp_path / "data", [NULL])
    assert source(tmp_path).schema.field("k").type == pa.string()


def test_columns_are_in_the_paths_order(tmp_path):
    for year, month in [(2013, 1), (2013, "two"), (2014, 1)]:
        write(tmp_path / "data" / "plain" / f"year={year}", [month], "month")
    found = source(tmp_path).to_json()
    assert [column["name"] for column in found["columns"]] == ["x", "year", "month"]
    assert [column["type"] for column in found["columns"]] == ["int64", "int32", "string"]
    folder = tmp_path / "data" / "plain"
    assert found["files"] == [
        {
            "path": f"{folder}/year={year}/month={month}/0.parquet",
            "partition": {"year": year, "month": month},
        }
        for year, month in [(2013, "1"), (2013, "two"), (2014, "1")]
    ]
    # What the user has named is no pattern, and no column.
    names = source(tmp_path, "data/plain/year=2013").schema.names
    assert names == ["x", "month"]
    assert source(tmp_path, "data/plain/year=*/month=1/*").schema.names == ["x", "year", "month"]


def test_a_filter_leaves_out_files(tmp_path, scan):
    write(tmp_path / "data", ["1", "2", NULL, "3"])
    files = source(tmp_path).to_json()["files"]
    for condition, wanted in {
        "k = 2": [1],
        "k > 1": [1, 3],
        "k IS NULL": [2],
        "NOT (k = 2)": [0, 3],
        "k IN (1, 3)": [0, 3],
        "k > 7": [],
    }.items():
        found = scan(files, [(["x", "k"], condition)])
        assert sorted(found.table()["x"].to_pylist()) == wanted, condition
        # By the names alone.
        assert sorted(found.answer["reads"][0]) == sorted({b for b, _ in found.entries})
        assert len(found.entries) == 2 * len(wanted), condition


def test_refusals(tmp_path):
    write(tmp_path / "a", ["1"])
    write(tmp_path / "a", ["2"], "l")
    message = refusal(tmp_path, "a")
    assert "hold the column" in message
    assert f"{tmp_path}/a/k=1/0.parquet" in message
    assert f"{tmp_path}/a/l=2/0.parquet" in message
    write(tmp_path / "b", ["1"], "x")
    assert "column 'x' is there twice: in" in refusal(tmp_path, "b")
    write(tmp_path / "c" / "k=1", ["1"])
    assert "hold the column 'k' twice" in refusal(tmp_path, "c")
    write(tmp_path / "d", ["1"], "")
    assert "names no column" in refusal(tmp_path, "d")
    write(tmp_path / "e", ["%FF"])
    assert "isn't UTF-8" in refusal(tmp_path, "e")
