"""Tables as JSON values: docs/formats/rows.md says what becomes of which type."""

import base64
import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types
from zerrow._worker.messages import Rows

_BLOCK_ROWS = 1000
# Of rows that stand for many others.
_FEW_COLUMNS = 20
_LONGEST_CELL = 200
_LONGEST_TYPE = 1000
# The engine takes JSON that is 64 levels deep; what lies deeper within a value is shown as text.
_DEEPEST = 40
_DURATION_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def json_rows(table: pa.Table) -> Iterator[list[Any]]:
    """Each row as a list of JSON values, in the order of the columns; none without columns."""
    for start in range(0, table.num_rows, _BLOCK_ROWS):
        block = table.slice(start, _BLOCK_ROWS)
        columns = [
            [value for chunk in column.chunks for value in json_values(chunk)]
            for column in block.columns
        ]
        yield from map(list, zip(*columns, strict=True))


def columns_of(table: pa.Table) -> list[list[str]]:
    """Name and type of each column."""
    return [[field.name, cut(str(field.type), _LONGEST_TYPE)] for field in table.schema]


def cut(text: str, longest: int) -> str:
    """At most so many characters of the text."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def few_rows(table: pa.Table, total: int) -> Rows:
    """Rows that stand for `total` of their kind, with what is long or nested cut short."""
    shown = table.select(range(min(table.num_columns, _FEW_COLUMNS)))
    rows = [[_short(value) for value in row] for row in json_rows(shown)]
    return Rows(columns=columns_of(shown), rows=rows, total_rows=total)


def _short(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False)
    return cut(value, _LONGEST_CELL) if isinstance(value, str) else value


def json_values(array: pa.Array, depth: int = 0) -> list[Any]:
    """The array's values, of whatever type, as JSON values."""
    if depth > _DEEPEST:
        return [str(value) if value.is_valid else None for value in array]
    array = _decoded(array)
    if types.is_nested(array.type):
        return _nested(array, depth)
    for applies, convert in _SCALARS:
        if applies(array.type):
            return convert(array)
    plain: list[Any] = array.to_pylist()
    return plain


def _decoded(array: pa.Array) -> pa.Array:
    while True:
        if isinstance(array.type, pa.UuidType):
            return pa.array(_each(array.to_pylist(), str), pa.string())
        if isinstance(array.type, pa.BaseExtensionType):
            array = array.storage
        elif types.is_dictionary(array.type):
            array = array.dictionary_decode()
        elif types.is_run_end_encoded(array.type):
            array = pc.run_end_decode(array)
        else:
            return array


def _each(values: list[Any], convert: Callable[[Any], Any]) -> list[Any]:
    return [None if value is None else convert(value) for value in values]


def _number(value: float) -> float | str:
    """JSON has no number for these, and null is for what is null."""
    if math.isfinite(value):
        return float(value)
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _texts(array: pa.Array) -> list[Any]:
    try:
        values: list[Any] = array.to_pylist()
    except UnicodeDecodeError:
        return _each(_bytes_of(array), lambda value: value.decode(errors="replace"))
    return values


def _bytes_of(array: pa.Array) -> list[Any]:
    plain = array.cast(pa.large_string()) if array.type == pa.string_view() else array
    values: list[Any] = plain.cast(pa.large_binary()).to_pylist()
    return values


def _times(array: pa.Array) -> list[Any]:
    """ISO 8601, with no more digits than the value has."""
    kind = array.type
    try:
        texts = array.cast(pa.string()).to_pylist()
    except pa.ArrowInvalid:  # a time zone that this machine doesn't know
        utc = array.cast(pa.timestamp(kind.unit, "UTC"))
        texts = utc.cast(pa.string()).to_pylist()
    return _each(texts, _iso)


def _iso(text: str) -> str:
    if text.startswith("<"):  # beyond what Arrow has dates for
        return text
    text = re.sub(r"^(-?\d+-\d\d-\d\d) ", r"\1T", text)
    text = re.sub(r"(:\d\d(?:\.\d*?[1-9])?)\.?0*(?=Z|[+-]\d{4}$|$)", r"\1", text)
    return re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", text) if ":" in text else text


def _durations(array: pa.Array) -> list[Any]:
    """ISO 8601 in seconds."""
    unit = _DURATION_UNITS[array.type.unit]
    digits = len(str(unit)) - 1

    def text(ticks: int) -> str:
        seconds, rest = divmod(abs(ticks), unit)
        fraction = f".{rest:0{digits}}".rstrip("0") if rest else ""
        return f"{'-' if ticks < 0 else ''}PT{seconds}{fraction}S"

    return _each(array.cast(pa.int64()).to_pylist(), text)


def _interval(value: pa.MonthDayNano) -> dict[str, int]:
    return {"months": value.months, "days": value.days, "nanoseconds": value.nanoseconds}


def _nested(array: pa.Array, depth: int) -> list[Any]:
    kind = array.type
    if types.is_struct(kind):
        names = [field.name for field in kind]
        fields = [json_values(field, depth + 1) for field in array.flatten()]
        rows = zip(*fields, strict=True) if fields else ((),) * len(array)
        valid = array.is_valid().to_pylist()
        return [
            dict(zip(names, row, strict=True)) if there else None
            for row, there in zip(rows, valid, strict=True)
        ]
    if types.is_union(kind):
        return [
            json_values(pa.repeat(value.value, 1), depth + 1)[0] if value.is_valid else None
            for value in array
        ]
    # Of a map the entries, which are structs of key and value.
    return [json_values(value.values, depth + 1) if value.is_valid else None for value in array]


def _is_binary(kind: pa.DataType) -> bool:
    sizes = (pa.binary(), pa.large_binary(), pa.binary_view())
    return bool(kind in sizes or types.is_fixed_size_binary(kind))


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


# The first that applies.
_SCALARS: list[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], list[Any]]]] = [
    (types.is_floating, lambda array: _each(array.to_pylist(), _number)),
    (types.is_decimal, lambda array: _each(array.to_pylist(), lambda value: format(value, "f"))),
    (lambda kind: kind in (pa.string(), pa.large_string(), pa.string_view()), _texts),
    (_is_binary, lambda array: _each(array.to_pylist(), _base64)),
    (types.is_duration, _durations),
    (types.is_interval, lambda array: _each(array.to_pylist(), _interval)),
    (types.is_temporal, _times),
]
