"""What is said to DuckDB, as a SQL engine and as a library, so that both give the same."""

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


def use_utc(connection: "duckdb.DuckDBPyConnection") -> None:
    """Days and hours of instants are UTC's, whatever the machine's zone is.

    What the connection itself was told stays: this is its database's default.
    """
    import duckdb

    # Builds without ICU, which PyPI's are not, can't be told, but know no other zone either.
    with contextlib.suppress(duckdb.Error):
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
