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
from dataclasses import dataclass, field
from typing import Any

from zerrow._project import project_types as types
from zerrow._project.place import Place, error
from zerrow._sql.operator_text import parse_measure, parse_order

Fill = Callable[[str, int], str]


@dataclass(frozen=True)
class Operator:
    """An operator: its settings for the worker, and what there is to check about them.

    `texts` are conditions and values, `names` plain columns, each with its line; `output` has the
    names of the columns that it makes, None if they are the first input's.
    """

    settings: dict[str, Any]
    texts: list[tuple[str, int]] = field(default_factory=list)
    names: list[tuple[str, int]] = field(default_factory=list)
    output: list[str] | None = None


def input_names(model: types.AnyModel, place: Place) -> list[tuple[str, int]]:
    """The names of the sources and models that it reads, each with its line."""
    if isinstance(model, types.Concat):
        return _names(model.inputs, place / "inputs")
    return [(model.input, (place / "input").line)]


def read_operator(model: types.AnyModel, place: Place, fill: Fill) -> Operator:  # noqa: PLR0911
    """The operator of a model in the project file; raises ProjectError.

    `fill` puts the parameters' values into a condition or value, of which it gets the line too.
    """
    match model:
        case types.Filter():
            line = (place / "filter" / "condition").line
            condition = fill(str(model.filter.condition), line)
            return Operator({"kind": "filter", "condition": condition}, texts=[(condition, line)])
        case types.Project():
            return _project(model.project, place / "project", fill)
        case types.Sort():
            by = _names(model.sort.by, place / "sort" / "by")
            names = [(parse_order(text)[0], line) for text, line in by]
            return Operator({"kind": "sort", "by": [text for text, _ in by]}, names=names)
        case types.Aggregate():
            return _aggregate(model.aggregate, place / "aggregate")
        case types.Slice():
            return _slice(model.slice, place / "slice", fill)
        case types.Dictionary():
            names = _names(model.dictionary.columns, place / "dictionary" / "columns")
            columns = [name for name, _ in names]
            return Operator({"kind": "dictionary", "columns": columns}, names=names)
        case types.Concat():
            return Operator({"kind": "concat"})


def _project(settings: types.ProjectSettings, place: Place, fill: Fill) -> Operator:
    columns = []
    for name, value in settings.columns.items():
        line = (place / "columns" / name).line
        columns.append((name, fill(str(value), line), line))
    return Operator(
        {"kind": "project", "columns": [[name, text] for name, text, _ in columns]},
        texts=[(text, line) for _, text, line in columns],
        output=[name for name, _, _ in columns],
    )


def _slice(settings: types.SliceSettings, place: Place, fill: Fill) -> Operator:
    given = {"offset": settings.offset, "length": settings.length}
    rows = {}
    for key, value in given.items():
        if value is None:
            continue
        line = (place / key).line
        text = fill(str(value), line).strip()  # perhaps a parameter's value
        if not re.fullmatch(r"[0-9]{1,18}", text):
            raise error(f"slice: {key} must be a number of rows, not {text!r}", line)
        rows[key] = int(text)
    if not rows:
        raise error("slice: give an offset, a length or both", place.line)
    return Operator({"kind": "slice", "offset": 0, "length": None, **rows})


def _aggregate(settings: types.AggregateSettings, place: Place) -> Operator:
    by = _names(settings.by, place / "by")
    names = list(by)
    measures = []
    for name, value in settings.measures.items():
        line = (place / "measures" / name).line
        try:
            _, column = parse_measure(str(value))
        except ValueError as problem:
            raise error(f"aggregate: {problem}", line) from None
        if column:
            names.append((column, line))
        measures.append([name, str(value)])
    output = [name for name, _ in by] + [name for name, _ in measures]
    for name in output:
        if output.count(name) > 1:
            raise error(f"aggregate: column {name!r} is there twice", place.line)
    made = {"kind": "aggregate", "by": [name for name, _ in by], "measures": measures}
    return Operator(made, names=names, output=output)


def _names(values: list[types.Value], place: Place) -> list[tuple[str, int]]:
    return [(str(value), (place / number).line) for number, value in enumerate(values)]
