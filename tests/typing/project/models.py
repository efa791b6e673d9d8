"""Each form of an input and of a result, in the annotation and as a default."""

from collections.abc import Mapping
from typing import Annotated, Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pyarrow as pa
import zerrow
from schemas import Flights, Late


@zerrow.model(name="late", deterministic=True)
@zerrow.python("3.11")
@zerrow.resources(memory="1GB", timeout=60)
def only_late(
    flights: Annotated[
        pa.Table, zerrow.Model("flights", projection_schema=Flights, filter="delay > $least")
    ],
    least: Annotated[float, zerrow.Parameter("least")] = 15.0,
) -> Annotated[pa.Table, Late]:
    return flights


@zerrow.model
def as_polars(
    late: Annotated[pl.DataFrame, zerrow.Model("late")],
    lazy: Annotated[pl.LazyFrame, zerrow.Model("late", columns=["carrier"])],
) -> pl.DataFrame:
    return late.join(lazy.collect(), on="carrier")


@zerrow.model()
def as_pandas(late: pd.DataFrame = zerrow.Model("late", dictionary="always")) -> pd.DataFrame:
    return late.head()


@zerrow.model()
def as_relation(late: duckdb.DuckDBPyRelation = zerrow.Model("late")) -> duckdb.DuckDBPyRelation:
    return late.limit(3)


@zerrow.model()
def as_arrays(
    late: Annotated[Mapping[str, npt.NDArray[Any]], zerrow.Model("late")],
    least: float = zerrow.Parameter("least"),
) -> dict[str, npt.NDArray[np.float64]]:
    return {"twice": late["minutes late"] * least}


@zerrow.model()
def as_rows(
    batches: Annotated[pa.RecordBatchReader, zerrow.Model("late")],
) -> Annotated[list[dict[str, Any]], Late]:
    return [row for batch in batches for row in batch.to_pylist()]


@zerrow.expectation()
def some_are_late(late: pa.Table = zerrow.Model("late")) -> bool:
    return bool(late.num_rows > 0)


def test_functions_keep_their_signatures() -> None:
    frame: pl.DataFrame = as_polars(pl.DataFrame(), pl.LazyFrame())
    assert frame.is_empty()
    arrays: dict[str, npt.NDArray[np.float64]] = as_arrays(late={}, least=3.0)
    assert not arrays
    met: bool = some_are_late(late=pa.table({}))
    assert not met
    only_late(pa.table({}))
