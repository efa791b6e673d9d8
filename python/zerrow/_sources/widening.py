"""Which types hold every value of another exactly, so that a source's files may differ in them.

Pure. A column's type in the table is one that a file has and all others widen to: a type that no
file has would be nobody's choice. Nested types widen to nothing: they are the same or they differ.
"""

from collections.abc import Callable, Iterable

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

# From which on a signed integer, a float's mantissa, holds all integers of so many bits.
_MANTISSA_BITS = {pa.float16(): 11, pa.float32(): 24, pa.float64(): 53}
_LARGE = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}
_UNITS = ["s", "ms", "us"]  # microseconds hold 292,000 years either way, nanoseconds just 292


def widest(types: Iterable[pa.DataType]) -> pa.DataType | None:
    """The one of the types, at least one, that all others widen to; None if there is none."""
    distinct = list(dict.fromkeys(types))
    return next((wide for wide in distinct if all(widens(each, wide) for each in distinct)), None)


def widens(narrow: pa.DataType, wide: pa.DataType) -> bool:
    """Whether each value of the one type is a value of the other, which a cast finds."""
    if narrow == wide or pt.is_null(narrow) or wide == _LARGE.get(narrow):
        return True
    return any(is_kind(narrow) and widens_to(narrow, wide) for is_kind, widens_to in _KINDS)


def _integer_widens(narrow: pa.DataType, wide: pa.DataType) -> bool:
    value_bits = narrow.bit_width - pt.is_signed_integer(narrow)
    if wide in _MANTISSA_BITS:
        return bool(value_bits <= _MANTISSA_BITS[wide])
    if pt.is_unsigned_integer(wide):
        return bool(pt.is_unsigned_integer(narrow) and wide.bit_width > narrow.bit_width)
    return bool(pt.is_signed_integer(wide) and wide.bit_width > narrow.bit_width)


def _float_widens(narrow: pa.DataType, wide: pa.DataType) -> bool:
    return bool(pt.is_floating(wide) and wide.bit_width > narrow.bit_width)


def _decimal_widens(narrow: pa.DataType, wide: pa.DataType) -> bool:
    return bool(
        pt.is_decimal(wide)
        and wide.scale == narrow.scale
        and wide.precision >= narrow.precision
        and wide.bit_width >= narrow.bit_width
    )


def _timestamp_widens(narrow: pa.DataType, wide: pa.DataType) -> bool:
    if not pt.is_timestamp(wide) or wide.tz != narrow.tz:
        return False
    units = narrow.unit, wide.unit
    return set(units) <= set(_UNITS) and _UNITS.index(units[0]) < _UNITS.index(units[1])


def _dictionary_widens(narrow: pa.DataType, wide: pa.DataType) -> bool:
    return bool(narrow.value_type == wide)


_Rule = Callable[[pa.DataType, pa.DataType], bool]
_KINDS: list[tuple[Callable[[pa.DataType], bool], _Rule]] = [
    (pt.is_integer, _integer_widens),
    (pt.is_floating, _float_widens),
    (pt.is_decimal, _decimal_widens),
    (pt.is_timestamp, _timestamp_widens),
    (pt.is_dictionary, _dictionary_widens),
]


def widen(column: pa.ChunkedArray, wide: pa.DataType) -> pa.ChunkedArray:
    """The column as the type that its own widens to."""
    if column.type == wide:
        return column
    if pt.is_null(column.type):  # a cast knows this for some types only
        return pa.chunked_array([pa.nulls(len(column), wide)])
    return pc.cast(column, wide)
