"""Task "native": runs one of the C++ operators; filters of inputs use the same filter."""

import time
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from zerrow import _native
from zerrow._sql.operator_text import parse_measure, parse_order
from zerrow._worker.dictionaries import computed
from zerrow._worker.kept_dictionaries import keep_dictionaries
from zerrow._worker.tasks import Answer, Task, TaskError


def run(task: Task) -> Answer:
    """Publishes what the operator makes of its inputs."""
    started = time.perf_counter()
    operator = task.body["operator"]
    try:
        names = {entry.parameter: entry.model for entry in task.inputs}
        table = computed(
            {entry.parameter: entry.table for entry in task.inputs},
            lambda inputs: _compute(inputs, names, operator),
        )
    except (ValueError, pa.ArrowException, KeyError) as problem:
        text = problem.args[0] if problem.args else problem
        raise TaskError(f"{operator['kind']}: {text}") from problem
    task.timings["run_s"] = time.perf_counter() - started
    return task.publish(table)


def _compute(
    inputs: dict[str, pa.Table], names: dict[str, str], operator: dict[str, Any]
) -> pa.Table:
    if operator["kind"] == "concat":
        return _native.concat_tables([(names[key], table) for key, table in inputs.items()])
    (table,) = inputs.values()
    return apply(table, operator)


def apply(table: pa.Table, operator: dict[str, Any]) -> pa.Table:
    """What an operator of one input makes; ValueError, KeyError or ArrowException if it can't."""
    kind = operator["kind"]
    if kind == "filter":
        from zerrow._sql.filters import filter_table

        return filter_table(table, operator["condition"])
    if kind == "project":
        return _project(table, operator["columns"])
    if kind == "sort":
        return _native.sort_table(table, [parse_order(text) for text in operator["by"]])
    if kind == "aggregate":
        measures = [(name, *parse_measure(text)) for name, text in operator["measures"]]
        _refuse_overflow(table, operator["by"], measures)
        return _native.aggregate_table(table, operator["by"], measures)
    if kind == "slice":
        return table.slice(operator["offset"], operator["length"])
    if kind == "dictionary":
        return _native.encode_columns(table, operator["columns"])
    raise TaskError(f"there is no operator {kind!r}")


def _refuse_overflow(table: pa.Table, by: list[str], measures: list[tuple[str, str, str]]) -> None:
    """Raises ValueError for a sum or product of integers that 64 bits can't hold: Arrow's wrap."""
    for name, function, column in measures:
        if function not in ("sum", "product") or column not in table.column_names:
            continue
        values = table[column]
        if not pt.is_integer(values.type) or not _may_overflow(values, function):
            continue
        # Sums of decimals are exact here; of products, doubles tell the size.
        wide = values.cast(pa.decimal128(38, 0) if function == "sum" else pa.float64(), safe=False)
        scratch = "wide"
        while scratch in table.column_names:
            scratch += "_"
        measure = [(scratch, function, scratch)]
        found = _native.aggregate_table(table.append_column(scratch, wide), by, measure)[scratch]
        low, high = _bounds_of(values.type)
        extremes = pc.min_max(found).as_py()
        if extremes["min"] is not None and not low <= extremes["min"] <= extremes["max"] <= high:
            raise ValueError(
                f"{name}: {function}({column}) is larger than 64 bits; make {column} a decimal or "
                "a float first, with project"
            )


def _may_overflow(values: pa.ChunkedArray, function: str) -> bool:
    extremes = pc.min_max(values).as_py()
    if extremes["min"] is None:
        return False
    most = max(abs(extremes["min"]), abs(extremes["max"]))
    if function == "product":
        return bool(most > 1)
    return bool(most * len(values) > _bounds_of(values.type)[1])


def _bounds_of(type_: pa.DataType) -> tuple[int, int]:
    """What a sum of integers of the type can hold."""
    return (-(2**63), 2**63 - 1) if pt.is_signed_integer(type_) else (0, 2**64 - 1)


def _project(table: pa.Table, columns: list[list[str]]) -> pa.Table:
    from zerrow._sql.filters import compile_value, evaluated

    if not columns:  # only the number of rows is left
        return table.select([])
    made = evaluated(table, {name: compile_value(text, table.schema) for name, text in columns})
    return keep_dictionaries(made, {"": table})
