"""What a query reads and makes, as its engine plans it over tables without rows."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from zerrow._errors import SqlError
from zerrow._sql import fusion
from zerrow._sql.duckdb_settings import use_utc
from zerrow._sql.filters import Condition
from zerrow._sql.names import DIALECT, exact_query
from zerrow._sql.pushing import planned_by_duckdb, together
from zerrow._sql.text import line_of_name, quoted
from zerrow._sql.widths import narrowest

if TYPE_CHECKING:
    import duckdb
    from datafusion import Expr, LogicalPlan


class UnplannableError(Exception):
    """The engine doesn't know the type of a column, which the query may not read."""


@dataclass
class QueryPlan:
    """By table: the columns that are read, in the table's order, and what rows suffice.

    `columns` is empty where the plan doesn't say. A table that isn't in `filters` is read in whole.
    """

    output: pa.Schema
    columns: dict[str, list[str]] = field(default_factory=dict)
    filters: dict[str, Condition] = field(default_factory=dict)


def plan_query(sql: str, engine: str, schemas: Mapping[str, pa.Schema]) -> QueryPlan:
    """The plan of a query over exactly these tables; SqlError with the line of what is wrong.

    UnplannableError if there can't be such tables.
    """
    return {"datafusion": _datafusion, "duckdb": _duckdb}[engine](sql, schemas)


def _datafusion(sql: str, schemas: Mapping[str, pa.Schema]) -> QueryPlan:
    exact = exact_query(sql, {name: schema.names for name, schema in schemas.items()})
    plan, output = _planned(exact, schemas)
    found = QueryPlan(output)
    scans = list(fusion.scans(plan))
    if len(scans) != _shown_scans(plan):
        return found
    read: dict[str, set[str]] = {name: set() for name in schemas}
    predicates: dict[str, list[Expr | None]] = {}
    for scan, predicate in scans:
        if scan.table_name() in schemas:  # else it is of a function
            read[scan.table_name()].update(column for _, column in scan.projection())
            predicates.setdefault(scan.table_name(), []).append(predicate)
    columns, narrowed = _narrowed(schemas, read)
    with suppress(SqlError):
        again, same_output = _planned(exact, narrowed)
        if again.display_indent() == plan.display_indent() and same_output == output:
            found.columns = columns
    if not fusion.is_volatile(exact, DIALECT):
        for name, several in predicates.items():
            pushed = together(several, schemas[name])
            if pushed is not None:
                found.filters[name] = pushed
    return found


def _planned(sql: str, schemas: Mapping[str, pa.Schema]) -> "tuple[LogicalPlan, pa.Schema]":
    try:
        context = fusion.planning_session(schemas)
    except Exception as problem:
        raise UnplannableError(str(problem)) from None
    try:
        frame = context.sql_with_options(sql, fusion.only_queries())
        return frame.optimized_logical_plan(), frame.schema()
    except Exception as problem:
        columns = [name for schema in schemas.values() for name in schema.names]
        raise fusion.explained(problem, sql, columns, DIALECT) from None


def _narrowed(
    schemas: Mapping[str, pa.Schema], read: Mapping[str, set[str]]
) -> tuple[dict[str, list[str]], dict[str, pa.Schema]]:
    """The columns of each table that are read, at least one, so that it has rows; as schemas too.

    A query may name columns that its plan doesn't read, or count those that it doesn't name: so the
    plan over these schemas must be the same.
    """
    columns = {}
    for name, schema in schemas.items():
        known = [column for column in schema.names if column in read[name]]
        columns[name] = known or [narrowest(schema)] if schema.names else []
    narrowed = {
        name: pa.schema([schema.field(column) for column in columns[name]])
        for name, schema in schemas.items()
    }
    return columns, narrowed


def _shown_scans(plan: "LogicalPlan") -> int:
    return sum(line.lstrip().startswith("TableScan:") for line in plan.display_indent().split("\n"))


def _duckdb(sql: str, schemas: Mapping[str, pa.Schema]) -> QueryPlan:
    plan, output = _explained(sql, schemas)
    found = QueryPlan(output)
    read: dict[str, set[str]] = {}
    filters: dict[str, list[list[str]]] = {}
    for scan in _duckdb_scans(json.loads(plan)):
        name = _known(scan.get("Table", ""), schemas)
        if name is not None:
            filters.setdefault(name, []).append(_texts(scan, "Filters"))
            read.setdefault(name, set()).update(_read_by(scan, schemas[name]))
    if read.keys() == schemas.keys():  # else it has seen that a part is empty
        columns, narrowed = _narrowed(schemas, read)
        with suppress(SqlError):
            if _explained(sql, narrowed) == (plan, output):
                found.columns = columns
    if not fusion.is_volatile(sql, "duckdb"):
        for name, several in filters.items():
            schema = schemas[name]
            pushed = together([planned_by_duckdb(texts, schema) for texts in several], schema)
            if pushed is not None:
                found.filters[name] = pushed
    return found


def _explained(sql: str, schemas: Mapping[str, pa.Schema]) -> tuple[str, pa.Schema]:
    import duckdb

    with duckdb.connect(config={"threads": 1}) as connection:
        use_utc(connection)
        try:
            for name, schema in schemas.items():
                _create(connection, name, schema)
        except duckdb.Error as problem:
            raise UnplannableError(str(problem)) from None
        try:
            # They would find out that the tables are empty.
            connection.execute(
                "SET disabled_optimizers = 'statistics_propagation,empty_result_pullup'"
            )
            output = connection.sql(sql).limit(0).to_arrow_table().schema
            ((_, text),) = connection.execute(f"EXPLAIN (FORMAT JSON) {sql}").fetchall()
        except duckdb.Error as problem:
            raise _duckdb_error(problem, sql) from None
    return text, output


def _create(connection: "duckdb.DuckDBPyConnection", name: str, schema: pa.Schema) -> None:
    connection.register("zerrow_empty", schema.empty_table())
    connection.execute(f"CREATE TABLE {quoted(name)} AS SELECT * FROM zerrow_empty")
    connection.unregister("zerrow_empty")


def _duckdb_error(problem: Exception, sql: str) -> SqlError:
    """The message, and the line of the name that it is about."""
    said = " ".join(str(problem).partition("\n\n")[0].split())
    named = re.search(r'"([^"]+)"|with name (\S+)', said)
    name = next(filter(None, named.groups()), "") if named else ""
    return SqlError(said, line_of_name(name, sql, "duckdb") if name else 0)


def _duckdb_scans(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    open_ = list(nodes)
    while open_:
        node = open_.pop()
        if node["name"].strip() == "SEQ_SCAN":
            yield node["extra_info"]
        open_ += node["children"]


def _known(table: str, schemas: Mapping[str, pa.Schema]) -> str | None:
    """`t` of `memory.main.t`."""
    name = table.removeprefix("memory.main.").strip('"')
    return next((one for one in schemas if one.lower() == name.lower()), None)


def _texts(scan: Mapping[str, Any], key: str) -> list[str]:
    found = scan.get(key) or []
    return [
        text.removeprefix("optional: ") for text in ([found] if isinstance(found, str) else found)
    ]


def _read_by(scan: Mapping[str, Any], schema: pa.Schema) -> set[str]:
    """The columns that are handed on, and those of filters; all if these can't be read."""
    read = set(_texts(scan, "Projections"))
    for text in _texts(scan, "Filters"):
        try:
            tree = sqlglot.parse_one(text, dialect="duckdb")
        except SqlglotError:
            return set(schema.names)
        read.update(column.parts[0].name for column in tree.find_all(exp.Column))
    names = {name.lower(): name for name in schema.names}
    return {names.get(name.lower(), name) for name in read}
