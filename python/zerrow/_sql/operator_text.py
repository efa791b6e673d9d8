"""Settings of the built-in operators that are text: `n desc`, `mean(dep_delay)`."""

import re

from zerrow._errors import did_you_mean

AGGREGATES = (
    "all",
    "any",
    "approximate_median",
    "count",
    "count_distinct",
    "first",
    "last",
    "max",
    "mean",
    "min",
    "product",
    "stddev",
    "sum",
    "variance",
)


def parse_order(text: str) -> tuple[str, bool]:
    """`name`, `name asc` or `name desc` as (column, descending)."""
    column, _, direction = text.strip().rpartition(" ")
    if direction.lower() in ("asc", "desc") and column.strip():
        return column.strip(), direction.lower() == "desc"
    return text.strip(), False


def parse_measure(text: str) -> tuple[str, str]:
    """`count` or `mean(column)` as (function, column); a count of rows has no column.

    Raises ValueError for anything else.
    """
    if text.strip() in ("count", "count(*)", "count()"):
        return "count", ""
    found = re.fullmatch(r"\s*(\w+)\s*\(\s*(.+?)\s*\)\s*", text)
    if found is None:
        raise ValueError(f"{text!r} is not a measure such as count or mean(column)")
    function, column = found.groups()
    if function not in AGGREGATES:
        raise ValueError(f"there is no function {function!r}{did_you_mean(function, AGGREGATES)}")
    return function, column
