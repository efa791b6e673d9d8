"""What type checkers must find: a comment that silences nothing is an error itself."""

import polars as pl
import zerrow
from models import as_polars, only_late
from schemas import Flights

zerrow.modle()  # type: ignore[attr-defined]  # pyright: ignore
zerrow.model(colums=["a"])  # type: ignore[call-overload]  # pyright: ignore
as_polars(pl.DataFrame())  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
as_polars(3, pl.LazyFrame())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
only_late(None, least="x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
zerrow.Model("t", columns="a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
zerrow.Model("t", dictionary="no")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
zerrow.TableField(lineage=Flights)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
