"""The built-in operators as the project file writes them: `n desc`, `mean(dep_delay)`.

    models:
      - name: busy
        operator: aggregate        # or filter, project, sort, slice, dictionary
        input: flights
        aggregate: {by: [carrier], measures: {n: count, delay: mean(dep_delay)}}
      - name: both
        operator: concat           # without settings, of several inputs
        inputs: [busy, quiet]

The worker's C++ code runs them; this module needs nothing but Python.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from zerrow._errors import did_you_mean
from zerrow._project.project_file import Mapping, NativeEntry, Value, error, plain
from zerrow._sizes import parse_bytes

OPERATORS = ("filter", "project", "sort", "aggregate", "slice", "concat", "dictionary")
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


@dataclass(frozen=True)
class Operator:
    """An operator: its settings for the worker, and what there is to check about them.

    `texts` are conditions and values, `names` plain columns, each with its line; `output` has the
    names of the columns that it makes, None if they are the first input's. `inputs` are the names
    of sources and models, each with its line. `memory_bytes` is what it needs, where that is said.
    """

    settings: dict[str, Any]
    texts: list[tuple[str, int]]
    names: list[tuple[str, int]]
    output: list[str] | None
    inputs: list[tuple[str, int]] = field(default_factory=list)
    memory_bytes: int | None = None


def read_operator(entry: NativeEntry, fill: Callable[[str, int], str]) -> Operator:
    """The operator of a model in the project file; raises ProjectError.

    `fill` puts the parameters' values into a condition or value, of which it gets the line too.
    """
    what = f"model {entry.name!r}"
    if entry.operator not in OPERATORS:
        hint = did_you_mean(entry.operator, OPERATORS)
        line = entry.settings.line_of("operator")
        raise error(f"{what}: there is no operator {entry.operator!r}{hint}", line)
    operator = _read(entry, what, fill)
    return replace(operator, memory_bytes=_memory(entry.settings, what))


def _memory(settings: Mapping, what: str) -> int | None:
    if "memory" not in settings:
        return None
    try:
        return parse_bytes(settings.value("memory"))
    except ValueError as problem:
        raise error(f"{what}: memory {problem}", settings.line_of("memory")) from None


def _read(entry: NativeEntry, what: str, fill: Callable[[str, int], str]) -> Operator:
    if entry.operator == "concat":
        return _concat(entry.settings, what)
    entry.settings.only("name", "operator", "input", "memory", entry.operator)
    source = (entry.settings.text("input"), entry.settings.line_of("input"))
    settings = entry.settings.mapping(entry.operator, f"{what}: {entry.operator}")
    return replace(_with_settings(entry.operator, settings, fill), inputs=[source])


def _with_settings(name: str, settings: Mapping, fill: Callable[[str, int], str]) -> Operator:
    if name == "filter":
        return _filter(settings, fill)
    if name == "project":
        return _project(settings, fill)
    if name == "slice":
        return _slice(settings, fill)
    if name == "dictionary":
        return _dictionary(settings)
    return _sort(settings) if name == "sort" else _aggregate(settings)


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


def _filter(settings: Mapping, fill: Callable[[str, int], str]) -> Operator:
    settings.only("condition")
    line = settings.line_of("condition")
    condition = fill(settings.text("condition"), line)
    return Operator({"kind": "filter", "condition": condition}, [(condition, line)], [], None)


def _project(settings: Mapping, fill: Callable[[str, int], str]) -> Operator:
    settings.only("columns")
    columns = [(name, fill(text, line), line) for name, text, line in _texts(settings, "columns")]
    return Operator(
        {"kind": "project", "columns": [[name, text] for name, text, _ in columns]},
        [(text, line) for _, text, line in columns],
        [],
        [name for name, _, _ in columns],
    )


def _sort(settings: Mapping) -> Operator:
    settings.only("by")
    by = _names(settings, "by")
    if not by:
        raise error("sort: by must list at least one column", settings.line_of("by"))
    names = [(parse_order(text)[0], line) for text, line in by]
    return Operator({"kind": "sort", "by": [text for text, _ in by]}, [], names, None)


def _slice(settings: Mapping, fill: Callable[[str, int], str]) -> Operator:
    settings.only("offset", "length")
    if "offset" not in settings and "length" not in settings:
        raise error("slice: give an offset, a length or both", settings.line)
    rows = {key: _number(settings, key, fill) for key in ("offset", "length") if key in settings}
    return Operator({"kind": "slice", "offset": 0, "length": None, **rows}, [], [], None)


def _number(settings: Mapping, key: str, fill: Callable[[str, int], str]) -> int:
    """A number of rows, perhaps a parameter's value."""
    line = settings.line_of(key)
    text = fill(_text(Value(settings.value(key), line), f"slice: {key}", line), line).strip()
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise error(f"slice: {key} must be a number of rows, not {text!r}", line)
    return int(text)


def _concat(settings: Mapping, what: str) -> Operator:
    settings.only("name", "operator", "inputs", "memory")
    inputs = _names(settings, "inputs")
    if not inputs:
        raise error(f"{what}: inputs must list the tables to join", settings.line_of("inputs"))
    return Operator({"kind": "concat"}, [], [], None, inputs)


def _dictionary(settings: Mapping) -> Operator:
    settings.only("columns")
    names = _names(settings, "columns")
    if not names:
        line = settings.line_of("columns")
        raise error("dictionary: columns must list at least one column", line)
    return Operator({"kind": "dictionary", "columns": [name for name, _ in names]}, [], names, None)


def _aggregate(settings: Mapping) -> Operator:
    settings.only("by", "measures")
    by = _names(settings, "by")
    measures = _texts(settings, "measures")
    names = list(by)
    for _, text, line in measures:
        try:
            _, column = parse_measure(text)
        except ValueError as problem:
            raise error(f"aggregate: {problem}", line) from None
        if column:
            names.append((column, line))
    output = [name for name, _ in by] + [name for name, _, _ in measures]
    for name in output:
        if output.count(name) > 1:
            raise error(f"aggregate: column {name!r} is there twice", settings.line)
    return Operator(
        {
            "kind": "aggregate",
            "by": [name for name, _ in by],
            "measures": [[name, text] for name, text, _ in measures],
        },
        [],
        names,
        output,
    )


def _texts(settings: Mapping, key: str) -> list[tuple[str, str, int]]:
    """`name: text` lines, each with its line. A number is as good as a text."""
    found = []
    for name, line, value in settings.mapping(key, key):
        found.append((name, _text(value, f"{key}: {name}", line), line))
    if not found:
        raise error(f"{key} must have `name: ...` lines", settings.line_of(key))
    return found


def _names(settings: Mapping, key: str) -> list[tuple[str, int]]:
    return [(_text(item, key, item.line), item.line) for item in settings.items(key, key)]


def _text(value: Value, what: str, line: int) -> str:
    content = value.content
    if isinstance(content, bool | int | float):
        return str(content)
    if not isinstance(content, str) or not content.strip():
        raise error(f"{what} must be a text, not {plain(content)!r}", line)
    return content
