"""SQL files of a project: each is one model, a SELECT over the tables that it names."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from zerrow._declarations import tags_problem
from zerrow._errors import ProjectError, SqlError, did_you_mean
from zerrow._project.bauplan import find_schema
from zerrow._project.checks import Columns
from zerrow._project.description import EVERYTHING, Input, ModelEntry, Project
from zerrow._project.sources import Source
from zerrow._schemas import columns_of
from zerrow._sizes import parse_bytes
from zerrow._sql import analysis
from zerrow._sql.query_plans import UnplannableError, plan_query
from zerrow._sql.text import parameters_of, substitute, tokenize

if TYPE_CHECKING:
    import pyarrow as pa

ENGINES = ("datafusion", "duckdb")
_SETTINGS = ("name", "engine", "memory", "deterministic", "output_schema", "tags")
_OF_CATALOG = ("materialization_strategy", "partitioned_by", "overwrite_filter", "cache_strategy")
_QUERY_SETTINGS = ("engine", "memory")


def read_sql_models(project: Project, files: Iterable[str]) -> list[ModelEntry]:
    """Adds a model for each of these files; what is wrong with one becomes a problem."""
    entries = []
    for file in files:
        try:
            entries.append(_read(project, file))
        except ProjectError as problem:
            name = os.path.basename(file).removesuffix(".sql")
            project.broken.update({problem.model or EVERYTHING, name})
            project.report(problem)
    project.models.extend(entries)
    return entries


def read_query(project: Project, name: str, text: str, file: str) -> ModelEntry:
    """Adds a model for a query that no file of the project has. Raises ProjectError."""
    where = file or name
    for key in _settings(text, where):
        if key not in _QUERY_SETTINGS:
            raise ProjectError(f"a query has no setting {key!r}", where, 1, name)
    entry = _entry(project, ModelEntry(name=name, kind="sql", file=where, line=1), text)
    project.models.append(entry)
    return entry


def _read(project: Project, file: str) -> ModelEntry:
    try:
        text = Path(project.directory, file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise ProjectError(f"{file} can't be read: {problem}", file) from None
    name = os.path.basename(file).removesuffix(".sql")
    return _entry(project, ModelEntry(name=name, kind="sql", file=file, line=1), text)


def _entry(project: Project, entry: ModelEntry, text: str) -> ModelEntry:
    settings = _settings(text, entry.file)
    entry.name = settings.get("name", entry.name)
    entry.engine = settings.get("engine", "datafusion")
    entry.imports = [entry.engine]
    entry.deterministic = settings.get("deterministic") != "false"
    entry.tags = settings["tags"].split(",") if "tags" in settings else []
    entry.memory_bytes = parse_bytes(settings["memory"]) if "memory" in settings else None
    if "output_schema" in settings:
        try:
            entry.contract = columns_of(find_schema(settings["output_schema"]))
        except LookupError as problem:
            raise entry.error(f"output_schema: {problem}") from None
        entry.columns = [column.to_json() for column in entry.contract]
    dialect = analysis.dialect_of(entry.engine)
    try:
        entry.line = _first_line(text, dialect)
        entry.sql = _without_semicolon(substitute(text, project.values, dialect), dialect)
        names = parameters_of(text, dialect)
        entry.parameters = [{"argument": name, "name": name} for name in names]
    except SqlError as problem:
        raise entry.error(str(problem), problem.line) from None
    return entry


def _settings(text: str, file: str) -> dict[str, str]:
    """`-- zerrow: name=x engine=duckdb` among the comments at the beginning."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("--"):
            break
        match = re.match(r"\s*--\s*(?:zerrow|bauplan)\s*:\s*(.*)", line)
        if match is None:
            continue
        for setting in re.sub(r"\s*=\s*", "=", match[1]).split():
            key, _, value = setting.partition("=")
            _check_setting(key, value, file, number)
            found[key] = value
    return found


def _check_setting(key: str, value: str, file: str, line: int) -> None:
    if key in _OF_CATALOG:
        if value != "NONE":
            raise ProjectError(
                f"{key}={value} is not supported yet: it needs the catalog, which is not there yet",
                file,
                line,
            )
    elif key not in _SETTINGS:
        hint = did_you_mean(key, _SETTINGS)
        raise ProjectError(f"a SQL model has no setting {key!r}{hint}", file, line)
    if not value:
        raise ProjectError(f"`-- zerrow:` takes name=value, not {key!r}", file, line)
    if key == "engine" and value not in ENGINES:
        raise ProjectError(f"engine must be {' or '.join(ENGINES)}, not {value!r}", file, line)
    if key == "deterministic" and value not in ("true", "false"):
        raise ProjectError(f"deterministic must be true or false, not {value!r}", file, line)
    if key == "tags" and (problem := tags_problem(value.split(","))):
        raise ProjectError(f"tags={value}: {problem}", file, line)
    if key == "memory":
        try:
            parse_bytes(value)
        except ValueError as wrong:
            raise ProjectError(f"memory {wrong}", file, line) from None


def _first_line(text: str, dialect: str) -> int:
    tokens = tokenize(text, dialect)
    return tokens[0].line if tokens else 1


def _without_semicolon(text: str, dialect: str) -> str:
    tokens = tokenize(text, dialect)
    while tokens and tokens[-1].text == ";":
        text = text[: tokens.pop().start]
    return text


def find_inputs(entry: ModelEntry, names: Iterable[str]) -> analysis.Query:
    """Sets the model's inputs, one for each table; returns what is known of the query's text.

    `names` are those of all models and sources. Raises ProjectError.
    """
    try:
        query = analysis.analyze(entry.sql or "", entry.engine or "")
    except SqlError as problem:
        raise entry.error(str(problem), problem.line) from None
    known = list(names)
    for table in query.tables.values():
        model = _match(table.name, known)
        entry.inputs.append(Input(table.name, model, None, None, table.line, dictionary="auto"))
    return query


def plan(entry: ModelEntry, project: Project, query: analysis.Query, columns: Columns) -> None:
    """Sets what is read of each input and adds the columns that the model has, by its engine.

    Where the columns of an input aren't known, by the names in its text. Raises ProjectError.
    """
    schemas = {given.parameter: columns.schema(given.model) for given in entry.inputs}
    known = {name: schema for name, schema in schemas.items() if schema is not None}
    if len(known) < len(schemas):
        _guess(entry, project, query, columns)
        return
    try:
        planned = plan_query(entry.sql or "", entry.engine or "", known)
    except UnplannableError:
        _guess(entry, project, query, columns)
        return
    except SqlError as problem:
        raise entry.error(str(problem), problem.line or None) from None
    columns.add_schema(entry.name, planned.output)
    entry.plan_columns(planned.output)
    if project.wants_lineage:
        _add_lineage(entry, known, planned.output.names)
    for given, table in zip(entry.inputs, query.tables.values(), strict=True):
        source = project.sources.get(given.model)
        if source is None:
            continue
        if given.parameter in planned.columns:
            given.columns = planned.columns[given.parameter]
        elif table.columns is not None:
            given.columns = source.narrowed(table.columns)
        pushed = planned.filters.get(given.parameter)
        if pushed is not None:
            given.filter, given.filter_columns = pushed.text, pushed.columns


def _add_lineage(entry: ModelEntry, known: Mapping[str, "pa.Schema"], names: list[str]) -> None:
    """Says what the output's columns stem from, where nothing is declared."""
    from zerrow._sql.lineage import column_lineage

    models = {given.parameter: given.model for given in entry.inputs}
    schemas = {table: schema.names for table, schema in known.items()}
    found = column_lineage(entry.sql or "", entry.engine or "", schemas, names)
    columns = entry.columns or []
    if entry.contract is not None:  # which has them in whatever order
        by_name = dict(zip(names, found, strict=True))
        found = [by_name.get(column["name"]) for column in columns]
    for column, stems in zip(columns, found, strict=True):
        if column["lineage"] is None and stems is not None:
            column["lineage"] = [f"{models[table]}.{name}" for table, name in stems]


def _guess(entry: ModelEntry, project: Project, query: analysis.Query, columns: Columns) -> None:
    for given, table in zip(entry.inputs, query.tables.values(), strict=True):
        source = project.sources.get(given.model)
        if source is not None:
            given.columns = None if table.columns is None else source.narrowed(table.columns)
            _check_references(entry, table.name, source, query)
    if query.output is not None:
        # Unquoted names are those of columns that aren't known, in whatever capitals.
        columns.add(entry.name, query.output, exact=False)


def _match(table: str, names: list[str]) -> str:
    """The model that is meant: DataFusion and DuckDB don't distinguish an unquoted A from a."""
    if table in names:
        return table
    same = [name for name in names if name.lower() == table.lower()]
    return same[0] if len(same) == 1 else table


def _check_references(entry: ModelEntry, table: str, source: Source, query: analysis.Query) -> None:
    names = source.schema.names
    known = {name.lower() for name in names}
    for reference in query.references:
        if reference.table == table and reference.column.lower() not in known:
            hint = did_you_mean(reference.column, names)
            raise entry.error(
                f"there is no column {reference.column!r} in {source.table!r}{hint}", reference.line
            )
