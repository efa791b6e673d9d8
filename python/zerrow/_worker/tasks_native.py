"""Task "native": runs one of the C++ operators; filters of inputs use the same filter."""

import time
from typing import Any

import pyarrow as pa
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
        return _native.aggregate_table(table, operator["by"], measures)
    if kind == "slice":
        return table.slice(operator["offset"], operator["length"])
    if kind == "dictionary":
        return _native.encode_columns(table, operator["columns"])
    raise TaskError(f"there is no operator {kind!r}")


def _project(table: pa.Table, columns: list[list[str]]) -> pa.Table:
    from zerrow._sql.filters import compile_value, evaluated

    made = evaluated(table, {name: compile_value(text, table.schema) for name, text in columns})
    return keep_dictionaries(made, {"": table})
