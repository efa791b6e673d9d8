"""As what an annotation lets an input arrive, and which annotations are refused."""

import typing

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from zerrow import _annotations

if typing.TYPE_CHECKING:
    import polars as frames
    from pandas import DataFrame as Panda
    from polars import LazyFrame


def forms(function):
    return _annotations.wanted_forms(function, function.__code__.co_varnames)


def refusal(function):
    with pytest.raises(_annotations.AnnotationError) as caught:
        forms(function)
    return str(caught.value)


def test_no_annotation_and_any_stand_for_arrow():
    def plain(  # noqa: PLR0917
        a, b: object, c: typing.Any, d: "object", e: "typing.Any", f: typing.Any | None
    ):
        pass

    assert set(forms(plain).values()) == {"pyarrow"}


def test_frames():
    Frame = typing.NewType("Frame", pd.DataFrame)
    Either = typing.TypeVar("Either", pl.DataFrame, pd.DataFrame)

    def function(  # noqa: PLR0917
        a: pa.Table,
        b: pa.RecordBatchReader,
        c: pd.DataFrame,
        d: pl.DataFrame,
        e: pl.LazyFrame,
        f: duckdb.DuckDBPyRelation,
        g: Frame,
        h: Either,
    ):
        pass

    expected = ["pyarrow", "pyarrow_reader", "pandas", "polars", "polars_lazy", "duckdb"]
    assert list(forms(function).values()) == [*expected, "pandas", "polars"]


def test_annotations_around_a_frame():
    def function(  # noqa: PLR0917
        a: pl.DataFrame | None,
        b: typing.Optional["pd.DataFrame"],
        c: typing.Annotated[pl.LazyFrame, "sorted"],
        d: "pl.DataFrame | None",
        e: "typing.Annotated[pd.DataFrame | None, 'checked']",
        f: pl.DataFrame | np.ndarray,  # it takes one, whatever else it takes
        g: pa.Table | pd.DataFrame,  # the first
    ):
        pass

    assert list(forms(function).values()) == [
        "polars", "pandas", "polars_lazy", "polars", "pandas", "polars", "pyarrow",
    ]  # fmt: skip


def test_names_that_only_type_checkers_import():
    def function(  # noqa: PLR0917
        a: "frames.DataFrame",
        b: "Panda",
        c: "LazyFrame | None",
        d: "Optional[Panda]",  # noqa: F821
        e: "Union[None, 'frames.LazyFrame']",  # noqa: F821
        f: "pandas.DataFrame",  # noqa: F821
        g: "Annotated[Panda, missing(1)]",  # noqa: F821
    ):
        pass

    assert list(forms(function).values()) == [
        "polars", "pandas", "polars_lazy", "pandas", "polars_lazy", "pandas", "pandas",
    ]  # fmt: skip


def test_names_of_an_enclosing_function():
    import polars as local

    def function(a: "local.DataFrame"):
        local.DataFrame()

    assert forms(function) == {"a": "polars"}


class DataFrame:
    """Somebody's own."""


REFUSED = {
    "numpy.ndarray": np.ndarray,
    "pl.Dataframe": "pl.Dataframe",
    "my.pl.DataFrame": "my.pl.DataFrame",
    f"{__name__}.DataFrame": DataFrame,
    "'list[dict]'": "list[dict]",
    "dict[str, pyarrow.lib.Table]": dict[str, pa.Table],
    "pandas.DataFrame[": "pandas.DataFrame[",
    "int": int,
    "7": 7,
    "None": None,
}


@pytest.mark.parametrize("found", REFUSED)
def test_others_are_refused(found):
    def function(given):
        pass

    function.__annotations__["given"] = REFUSED[found]
    message = refusal(function)
    assert message.startswith("argument 'given' is annotated as ")
    assert found.strip("'") in message
    for understood in ("pyarrow.Table", "pandas.DataFrame", "duckdb.DuckDBPyRelation"):
        assert understood in message


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("pl.Dataframe", "'polars.DataFrame'"),
        ("frames.Lazyframe", "'polars.LazyFrame'"),
        ("pd.DataFrme", "'pandas.DataFrame'"),
        ("pa.table", "'pyarrow.Table'"),
    ],
)
def test_a_misspelling_is_answered_with_what_was_meant(text, meant):
    def function(given):
        pass

    function.__annotations__["given"] = text
    assert f"did you mean {meant}" in refusal(function)


def test_only_inputs_are_judged():
    def function(a: pl.DataFrame, n: int):
        pass

    assert _annotations.wanted_forms(function, ["a"]) == {"a": "polars"}
