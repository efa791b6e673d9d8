"""Task "export": a table as a file."""

import os

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from zerrow._worker import convert

TABLE = pa.table({"x": [1, 2, 3], "name": ["a", "b", None]})


def test_export_writes_parquet_or_nothing(plain_zygote, tmp_path):
    path = tmp_path / "out" / "a.parquet"
    path.parent.mkdir()
    answer = plain_zygote.run(tmp_path, "export", [("a", TABLE)], model="a", path=str(path)).answer
    assert answer == {"op": "result", "value": None}
    assert pq.read_table(path).equals(TABLE)
    assert os.listdir(path.parent) == ["a.parquet"]
    failed = plain_zygote.run(
        tmp_path, "export", [("a", TABLE)], model="a", path=str(tmp_path / "nowhere" / "a.parquet")
    )
    assert "No such file or directory" in failed.error["message"]


def dictionary_of(values, type_):
    return pa.DictionaryArray.from_arrays([0, None, 1], pa.array(values, type_))


def nested(words):
    return {
        "list": pa.ListArray.from_arrays([0, 2, 2, 3], words),
        "large": pa.LargeListArray.from_arrays([0, 2, 2, 3], words),
        "pair": pa.FixedSizeListArray.from_arrays(pa.concat_arrays([words, words]), 2),
        "struct": pa.StructArray.from_arrays([words, pa.nulls(3)], ["k", "n"]),
        "map": pa.MapArray.from_arrays([0, 1, 1, 3], ["a", "b", "c"], words),
        "deep": pa.ListArray.from_arrays(
            [0, 1, 2, 3], pa.StructArray.from_arrays([words], names=["k"])
        ),
    }


@pytest.mark.parametrize(
    ("view", "plain"), [(pa.string_view(), pa.string()), (pa.binary_view(), pa.binary())]
)
def test_dictionaries_of_views_are_written_as_plain_ones(plain_zygote, tmp_path, view, plain):
    def written(name, type_):
        words = dictionary_of(["a", "b" * 50], type_)
        table = pa.table({"words": words, **nested(words), "views": words.dictionary_decode()})
        path = tmp_path / name
        run = plain_zygote.run(tmp_path, "export", [("a", table)], model="a", path=str(path))
        assert run.answer["op"] == "result", run.error
        return path

    views = written("views.parquet", view)
    assert (
        pq.read_table(views)
        .drop_columns(["views"])
        .equals(pq.read_table(written("plain.parquet", plain)).drop_columns(["views"]))
    )
    assert pq.read_schema(views).field("views").type == view, "these it can write"


def test_polars_categories_are_written_and_read_as_such(plain_zygote, tmp_path):
    colours = pl.Enum(["red", "green", "blue"])
    frame = pl.DataFrame(
        {
            "category": pl.Series(["a", None, "b"], dtype=pl.Categorical),
            "enum": pl.Series(["blue", "red", None], dtype=colours),
            "list": pl.Series([["a", "b"], None, []], dtype=pl.List(pl.Categorical)),
        }
    )
    path = tmp_path / "a.parquet"
    given = [("a", convert.to_table(frame, "f"))]
    run = plain_zygote.run(tmp_path, "export", given, model="a", path=str(path))
    assert run.answer["op"] == "result", run.error
    again = pl.read_parquet(path)
    assert again.schema == frame.schema
    assert again.equals(frame)
