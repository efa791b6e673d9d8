"""Each way to declare columns."""

from typing import Annotated

import pyarrow as pa
from zerrow import Arrow, Float64, Int64, String, TableField, TableSchema


class Flights(TableSchema):
    """One row for each departure."""

    carrier: String
    delay: Float64 | None
    fare: Annotated[Arrow | None, pa.decimal128(15, 2)]


class Late(TableSchema):
    carrier: Annotated[String, TableField(doc="Who flew.", lineage=Flights["carrier"])]
    minutes: Annotated[Int64, TableField(name="minutes late")]
