"""DataFusion as a planner: sessions over tables without rows, its expressions, its errors."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from zerrow._errors import SqlError, did_you_mean
from zerrow._sql.text import line_of_name, quoted, tokenize

if TYPE_CHECKING:
    from datafusion import Expr, LogicalPlan, SessionContext

# What is another value in another run, or for another row: engines make the first kind a literal
# when they plan. `test_query_plans` compares with what the engines say of their functions.
_OF_DATAFUSION = """
    current_date current_time current_timestamp file_row_index input_file_name localtime
    localtimestamp now rand random today uuid
"""
_OF_DUCKDB = """
    age current_connection_id current_database current_localtime current_localtimestamp
    current_query current_query_id current_schema current_schemas current_setting
    current_transaction_id currval error gen_random_uuid get_current_time get_current_timestamp
    getvariable in_search_path nextval setseed setval sleep_ms stats transaction_timestamp
    txid_current uuidv4 uuidv7 vector_type write_log
"""
VOLATILE = set(_OF_DATAFUSION.split()) | set(_OF_DUCKDB.split())
_WITHOUT_PARENTHESES = {
    "current_date",
    "current_time",
    "current_timestamp",
    "localtime",
    "localtimestamp",
}
_ROWS_PER_PARTITION = 1_000_000  # below, threads cost more than they bring
_HINTS = re.compile(r", errors: |\.? (?:No function matches|Valid fields are|You might need)")
_LAYERS = re.compile(
    r"^(DataFusion error|Schema error|SQL error|Error during planning|Arrow error|Internal error"
    r"|This feature is not implemented|Execution error|Optimizer rule '\w+' failed|type_coercion"
    r"|caused by|Cast error|Parser error)\b:?\s*"
)


def only_queries() -> Any:  # noqa: ANN401 (datafusion's SQLOptions)
    """What may be run: no statement that changes anything."""
    from datafusion import SQLOptions

    return SQLOptions().with_allow_ddl(False).with_allow_dml(False).with_allow_statements(False)


def planning_session(schemas: Mapping[str, pa.Schema]) -> "SessionContext":
    """A session whose tables have these columns and no rows, and whose plans show filters."""
    from datafusion import SessionConfig, SessionContext

    config = SessionConfig().with_target_partitions(1)
    # Else scalar subqueries aren't among a plan's inputs.
    config = config.set(
        "datafusion.optimizer.enable_physical_uncorrelated_scalar_subquery", "false"
    )
    context = SessionContext(config)
    # It moves parts of filters into projections below them.
    context.remove_optimizer_rule("common_sub_expression_eliminate")
    for name, schema in schemas.items():
        register(context, name, [batches_of(schema.empty_table())])
    return context


def register(context: "SessionContext", name: str, parts: list[list[pa.RecordBatch]]) -> None:
    """A table of so many partitions under its exact name."""
    context.register_record_batches(quoted(name), parts)


def batches_of(table: pa.Table) -> list[pa.RecordBatch]:
    """At least one, which has the schema."""
    return table.to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]


def partitions_for(rows: int) -> int:
    """How many partitions pay: one for each core at most."""
    return max(1, min(rows // _ROWS_PER_PARTITION, len(os.sched_getaffinity(0))))


def is_volatile(text: str, dialect: str) -> bool:
    """Whether a text calls a function whose value isn't given by its arguments."""
    tokens = tokenize(text, dialect)
    for place, token in enumerate(tokens):
        name = text[token.start : token.end + 1].lower()
        called = place + 1 < len(tokens) and tokens[place + 1].text == "("
        if name in _WITHOUT_PARENTHESES or (called and name.strip('"') in VOLATILE):
            return True
    return False


def scans(plan: "LogicalPlan") -> "Iterator[tuple[Any, Expr | None]]":
    """The scans of an optimized plan, each with the filter directly over it."""
    variant = plan.to_variant()
    kind = type(variant).__name__
    if kind == "TableScan":
        yield variant, None
        return
    for below in plan.inputs():
        scan = below.to_variant()
        if kind == "Filter" and type(scan).__name__ == "TableScan":
            yield scan, variant.predicate()  # raw, but as good as an Expr for who reads it
        else:
            yield from scans(below)


def explained(problem: Exception, text: str, columns: list[str], dialect: str) -> SqlError:
    """What DataFusion says, as one line in our words, and the line in the text that it means."""
    said = " ".join(str(problem).split("\n\tCandidate functions")[0].split())
    while (shorter := _LAYERS.sub("", said)) != said:
        said = shorter
    parser = re.match(r'ParserError\("(.*)"\)', said)
    if parser is not None:
        return _unreadable(parser[1], text)
    missing = re.match(r"No field named (.+?)\.(?: |$)", said)
    if missing is not None:
        name = _last_name(missing[1])
        line = line_of_name(name, text, dialect)
        if name in columns:
            return SqlError(f"there is no {missing[1]} here, only a column {name!r}", line)
        return SqlError(f"there is no column {name!r}{did_you_mean(name, columns)}", line)
    said = _HINTS.split(said)[0]
    named = re.search(r"field (\S+)$|function '(\w+)'|[Ff]unction (\w+)", said)
    name = next((one for one in named.groups() if one), "") if named else ""
    return SqlError(said, line_of_name(_last_name(name), text, dialect) if name else 0)


def _unreadable(said: str, text: str) -> SqlError:
    place = re.search(r" at Line: (\d+), Column: (\d+)$", said)
    last = text.count("\n") + 1
    line = int(place[1]) if place else last
    what = said[: place.start()] if place else said
    return SqlError(f"this SQL can't be read: {what[:1].lower()}{what[1:]}", line)


def _last_name(name: str) -> str:
    """`column` of `table."column"`."""
    found = re.search(r'"((?:[^"]|"")*)"$|([^."]+)$', name.strip())
    if found is None:
        return name
    return found[2] if found[1] is None else found[1].replace('""', '"')
