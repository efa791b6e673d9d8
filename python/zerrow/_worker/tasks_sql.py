"""Task "sql": runs a query over the inputs, with DataFusion or DuckDB."""

import re
import time
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow.types import is_dictionary
from zerrow._errors import SqlError
from zerrow._schemas import contract_of_text
from zerrow._sql import fusion
from zerrow._sql.duckdb_settings import use_utc
from zerrow._sql.names import DIALECT, exact_query
from zerrow._sql.text import line_of_name
from zerrow._worker.contracts import keep_contract
from zerrow._worker.convert import columns_needed
from zerrow._worker.dictionaries import any_marked, computed, decoded, with_many_values
from zerrow._worker.kept_dictionaries import keep_dictionaries
from zerrow._worker.tasks import Answer, Task, TaskError

if TYPE_CHECKING:
    from datafusion import SessionContext

# Output buffers of DataFusion's default of 8192 rows are too small to be shared: at 65536 rows
# nothing is copied on the way out, and queries took a third less CPU.
_BATCH_ROWS = 65536
# Up to so many values grouping by a dictionary takes no more CPU than decoding it and grouping by
# plain texts; at 100,000 twice as much.
_FEW_VALUES = 4096
_NO_LIMIT = str(2**62)
# What takes four to ten times as much CPU with dictionaries as with plain texts.
_PICKS_ROWS = re.compile(r"\bdistinct\s+on\b|\b(first|last)_value\b", re.IGNORECASE)


def run(task: Task) -> Answer:
    """Publishes the query's result; each input is a table under its parameter's name."""
    started = time.perf_counter()
    engine = task.body["engine"]
    inputs = {given.parameter: given.table for given in task.inputs}
    try:
        table = {"datafusion": datafusion_query, "duckdb": _duckdb}[engine](
            inputs, task.body["sql"]
        )
    except TaskError:
        raise
    except Exception as problem:
        raise _failure(engine, problem, inputs, task.body["sql"]) from problem
    task.timings["run_s"] = time.perf_counter() - started
    if contract := task.body["contract"]:
        what = f"the output of {task.body['model']!r}"
        table = keep_contract(table, contract_of_text(contract), what)
    return task.publish(table, split=True)


def datafusion_session(inputs: dict[str, pa.Table], *, merge: bool = False) -> "SessionContext":
    """An empty session, configured for queries over these inputs; `merge`: sort by merging."""
    from datafusion import SessionConfig, SessionContext

    partitions = fusion.partitions_for(sum(table.num_rows for table in inputs.values()))
    config = SessionConfig().with_batch_size(_BATCH_ROWS).with_target_partitions(partitions)
    # Shuffling both sides of a join by its key copies them: joins cost 2 to 5 times as much CPU.
    config = config.with_repartition_joins(False)
    if _any_dictionary(inputs) and not merge:
        # Merging sorted batches appends all their dictionaries, for each batch that it makes. Rows
        # that are sorted as one keep the dictionary that they have.
        config = config.set("datafusion.execution.sort_in_place_threshold_bytes", _NO_LIMIT)
        config = config.with_repartition_sorts(False)
    return SessionContext(config)


def _any_dictionary(inputs: dict[str, pa.Table]) -> bool:
    return any(is_dictionary(type_) for table in inputs.values() for type_ in table.schema.types)


def datafusion_query(inputs: dict[str, pa.Table], sql: str) -> pa.Table:
    """With dictionaries as they are, unless the query may look at how its columns are stored."""
    sql = exact_query(sql, {name: table.column_names for name, table in inputs.items()})
    if any_marked(inputs) and "arrow_" in sql.lower():
        inputs = {name: decoded(table) for name, table in inputs.items()}
    given = _without_slow_dictionaries(inputs, sql)
    table = computed(given, lambda given: _datafusion_result(given, sql))
    return keep_dictionaries(table, inputs)


def _without_slow_dictionaries(inputs: dict[str, pa.Table], sql: str) -> dict[str, pa.Table]:
    """Plain texts for large dictionaries that the query groups by; for all where it picks rows.

    DataFusion looks at all values of a dictionary for each batch of a grouping, and makes one for
    each row that it picks.
    """
    if _PICKS_ROWS.search(sql):
        return {name: decoded(table) for name, table in inputs.items()}
    many = {name: with_many_values(table, _FEW_VALUES) for name, table in inputs.items()}
    if not any(many.values()):
        return inputs
    from zerrow._sql.analysis import compared_columns

    try:
        compared = compared_columns(sql, "datafusion")
    except SqlError:
        compared = None
    return {
        name: decoded(table, [c for c in many[name] if compared is None or c.lower() in compared])
        for name, table in inputs.items()
    }


def _datafusion_result(inputs: dict[str, pa.Table], sql: str) -> pa.Table:
    try:
        return _query(datafusion_session(inputs), inputs, sql)
    except Exception as problem:
        # More than 2 GiB of plain text can't be sorted as one. `computed` decodes dictionaries then
        # that nobody asked for: merging takes memory for them that grows with the rows' square.
        too_long = _any_dictionary(inputs) and "overflow" in str(problem).lower()
        if not too_long or any_marked(inputs):
            raise
    return _query(datafusion_session(inputs, merge=True), inputs, sql)


def _query(context: "SessionContext", inputs: dict[str, pa.Table], sql: str) -> pa.Table:
    for name, table in inputs.items():
        fusion.register(context, name, [fusion.batches_of(table)])
    return context.sql_with_options(sql, fusion.only_queries()).to_arrow_table()


def _duckdb(inputs: dict[str, pa.Table], sql: str) -> pa.Table:
    return computed(inputs, lambda given: _duckdb_result(given, sql))


def _duckdb_result(inputs: dict[str, pa.Table], sql: str) -> pa.Table:
    import duckdb

    with duckdb.connect() as connection:
        use_utc(connection)
        for name, table in inputs.items():
            if not table.num_columns:
                raise columns_needed("DuckDB")
            connection.register(name, table)
        return connection.sql(sql).to_arrow_table()


def _failure(engine: str, problem: Exception, inputs: dict[str, pa.Table], sql: str) -> TaskError:
    """In the planner's words where it would have known, had it known the inputs' columns."""
    said = str(problem)
    if engine == "datafusion" and "No field named" in said:
        columns = [name for table in inputs.values() for name in table.column_names]
        error = fusion.explained(problem, sql, columns, DIALECT)
        return TaskError(str(error), error.line)
    missing = re.search(r'Referenced column "(.+?)" not found', said)  # as DuckDB says it
    line = line_of_name(missing[1], sql, engine) if missing and engine == "duckdb" else 0
    return TaskError(_explain(engine, problem), line)


def _explain(engine: str, problem: Exception) -> str:
    """The engine's message as one line, without the hints that follow it."""
    text = " ".join(str(problem).strip().split("\n\n")[0].split())
    name = {"datafusion": "DataFusion", "duckdb": "DuckDB"}[engine]
    return text if text.startswith(name) else f"{name}: {text}"
