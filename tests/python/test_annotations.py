"""As what an annotation lets an input arrive, and which annotations are refused."""

import typing

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import zerrow
from zerrow import _annotations

if typing.TYPE_CHECKING:
    from typing import Annotated, Optional, Union

    import numpy.typing as arrays
    import polars as frames
    from pandas import DataFrame as Panda
    from polars import LazyFrame


INPUT = zerrow.Model("t")


def forms(function):
    """The forms of the arguments if all were inputs."""
    function.__defaults__ = (INPUT,) * function.__code__.co_argcount
    return {argument.name: argument.form for argument in _annotations.arguments_of(function)}


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
        d: "Optional[Panda]",  # noqa: UP045
        e: "Union[None, 'frames.LazyFrame']",  # noqa: RUF036, UP007
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
    def function(a: pl.DataFrame = INPUT, n: int = zerrow.Parameter("n"), m: np.ndarray = None):
        pass

    arguments = {argument.name: argument for argument in _annotations.arguments_of(function)}
    assert arguments["a"].form == "polars"
    assert arguments["n"].scalars == ("int",)
    assert arguments["m"].mark is None


def test_arrays_are_one_for_each_column():
    def function(
        a: dict[str, np.ndarray],
        b: "dict[str, np.ndarray]",
        c: typing.Mapping[str, npt.NDArray[np.float64]],
        d: "dict[str, arrays.NDArray[np.float64]]",
    ):
        pass

    assert set(forms(function).values()) == {"numpy"}


def test_what_an_argument_stands_for_is_in_its_annotation_or_its_default():
    def function(
        a: typing.Annotated[pa.Table, zerrow.Model("a", columns=["x"])],
        b: "typing.Annotated[Panda, zerrow.Model('b')]",
        c: typing.Annotated[float, zerrow.Parameter("c")],
        d: typing.Annotated[int, zerrow.Parameter("d")] = 5,
        e: typing.Annotated[pl.DataFrame, "sorted"] = zerrow.Model("e"),
    ):
        pass

    found = {a.name: (repr(a.mark), a.form) for a in _annotations.arguments_of(function)}
    assert found == {
        "a": ("zerrow.Model('a')", "pyarrow"),
        "b": ("zerrow.Model('b')", "pandas"),
        "c": ("zerrow.Parameter('c')", ""),
        "d": ("zerrow.Parameter('d')", ""),
        "e": ("zerrow.Model('e')", "polars"),
    }


def twice(t: typing.Annotated[pa.Table, zerrow.Model("a")] = zerrow.Model("b")):
    pass


def both(t: typing.Annotated[pa.Table, zerrow.Model("a"), zerrow.Parameter("b")]):
    pass


def no_call(t: typing.Annotated[pa.Table, zerrow.Model]):
    pass


def no_call_as_default(t: pa.Table = zerrow.Parameter):
    pass


def misspelt(t: "typing.Annotated[pl.Dataframe, zerrow.Model('a')]"):
    pass


def wrong_mark(t: "typing.Annotated[pa.Table, zerrow.Model('a', filter='')]"):
    pass


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (twice, r"'t' stands for one thing, but .*Model\('b'\) and .*Model\('a'\) are there"),
        (both, r"'t' stands for one thing, but .*Model\('a'\) and .*Parameter\('b'\) are there"),
        (no_call, r"'t': write zerrow.Model\('...'\)"),
        (no_call_as_default, r"'t': write zerrow.Parameter\('...'\)"),
        (wrong_mark, r"^argument 't': Model\('a'\): filter must be a condition"),
        (misspelt, r"annotated as .*; did you mean 'polars.DataFrame'\?"),
    ],
)
def test_an_argument_that_stands_for_no_thing_or_several_is_refused(function, problem):
    with pytest.raises(_annotations.AnnotationError, match=problem):
        _annotations.arguments_of(function)


class Rows(zerrow.TableSchema):
    a: zerrow.Int64


def test_what_a_function_returns():
    def plain() -> pa.Table:
        pass

    def typed() -> typing.Annotated[pa.Table, Rows]:
        pass

    def text() -> "typing.Annotated[Panda, Rows]":
        pass

    def wrong() -> Rows:
        pass

    def misspelt() -> "typing.Annotated[pa.Table, Rosw]":  # noqa: F821
        pass

    def unreadable() -> "typing.Annotated[pa.Tabel, Rows]":
        pass

    for function, problem in {misspelt: "Rosw isn't there", unreadable: "no attribute"}.items():
        with pytest.raises(_annotations.AnnotationError, match=f"can't be read: .*{problem}"):
            _annotations.output_schema_of(function)
    assert _annotations.output_schema_of(plain) is None
    assert _annotations.output_schema_of(typed) is Rows
    assert _annotations.output_schema_of(text) is Rows
    with pytest.raises(_annotations.AnnotationError, match=r"write -> Annotated\[..., Rows\]"):
        _annotations.output_schema_of(wrong)
