"""Which column of a table costs least to read."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def narrowest(schema: "pa.Schema") -> str:
    """The column whose values take least; for a query that only counts rows."""
    return str(min(schema, key=_width).name)


def _width(field: "pa.Field") -> int:
    """What a value of a field takes; a lot where that isn't fixed."""
    try:
        return int(field.type.bit_width)
    except ValueError:
        return 1 << 20
