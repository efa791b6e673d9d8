"""What can be known to be wrong with a project's conditions and columns before anything runs.

The planner checks names, cycles and the columns that inputs ask for against sources and declared
columns; here is what needs to understand expressions, or the outputs of SQL and native models.
"""

from collections.abc import Iterable

import pyarrow as pa
from zerrow import _native
from zerrow._errors import ProjectError, did_you_mean
from zerrow._project.description import Input, ModelEntry, Project
from zerrow._project.operators import Operator
from zerrow._project.place import FILE
from zerrow._project.project_file import name_problem
from zerrow._schemas import Column


def schema_of(contract: Iterable[Column]) -> pa.Schema | None:
    """What a contract says, as Arrow's schema; None if it leaves a type open."""
    fields = [(column.name, column.type, column.nullable) for column in contract]
    if any(kind is None for _, kind, _ in fields):
        return None
    return pa.schema([pa.field(*entry) for entry in fields])


class Columns:
    """What is known of the columns of sources and models: nothing, their names, or their types."""

    def __init__(self, project: Project) -> None:
        self._schemas = {name: source.schema for name, source in project.sources.items()}
        self._schemas.update(
            (model.name, schema)
            for model in project.models
            if model.contract is not None and (schema := schema_of(model.contract)) is not None
        )
        self._names: dict[str, list[str]] = {
            model.name: names
            for model in project.models
            if (names := model.column_names()) is not None
        }
        self._exact = set(self._schemas) | set(self._names)
        self._same_as: dict[str, str] = {}

    def add(self, model: str, names: list[str], *, exact: bool = True) -> None:
        """A model's columns, derived from what it says; `exact` if their case is certain too."""
        self._names.setdefault(model, names)
        if exact:
            self._exact.add(model)

    def add_schema(self, model: str, schema: pa.Schema) -> None:
        """A model's columns with their types."""
        self._schemas[model] = schema
        self._exact.add(model)

    def add_same(self, model: str, origin: str) -> None:
        """A model whose columns, and their types, are those of another."""
        self._same_as[model] = origin

    def _origin(self, name: str) -> str:
        seen = {name}
        while name not in self._schemas and self._same_as.get(name, name) not in seen:
            name = self._same_as[name]
            seen.add(name)
        return name

    def schema(self, name: str) -> pa.Schema | None:
        """The columns with their types, None if these aren't known."""
        return self._schemas.get(self._origin(name))

    def names(self, name: str) -> list[str] | None:
        """The names of the columns, None if these, or their case, aren't certain."""
        origin = self._origin(name)
        return self._known(origin) if origin in self._exact else None

    def _known(self, origin: str) -> list[str] | None:
        schema = self._schemas.get(origin)
        return self._names.get(origin) if schema is None else schema.names

    def missing(self, name: str, wanted: Iterable[str]) -> str | None:
        """Says which of the wanted columns certainly isn't there; None if there may be all."""
        origin = self._origin(name)
        known = self._known(origin)
        if known is None:
            return None
        exact = origin in self._exact
        folded = {column if exact else column.lower() for column in known}
        for column in wanted:
            if (column if exact else column.lower()) not in folded:
                return f"there is no column {column!r} in {name!r}{did_you_mean(column, known)}"
        return None


def check_names(project: Project) -> None:
    """Reports models whose names can't be names of files and tables."""
    for model in project.models:
        problem = name_problem(model.name)
        if problem:
            project.report(model.error(f"model {model.name!r}: {problem}"))


def check_inputs(project: Project, columns: Columns) -> None:
    """Reports conditions of inputs that can't work, and columns that aren't there."""
    for model in project.models:
        if model.kind == "sql":
            continue  # its engine has planned it
        for entry in model.inputs:
            try:
                _check_input(model, entry, columns, project)
            except ProjectError as problem:
                project.report(problem)


def _check_input(model: ModelEntry, entry: Input, columns: Columns, project: Project) -> None:
    # Of sources and declared columns the engine's planner says which aren't there.
    declared = {
        other.name
        for other in project.models
        if other.columns is not None and other.kind == "python"
    }
    if entry.columns is not None and entry.model not in declared | project.declared_sources:
        missing = columns.missing(entry.model, entry.columns)
        if missing:
            raise model.error(missing, entry.line)
    _check_contract(model, entry, columns)
    if entry.filter is None:
        return
    from zerrow._sql import filters

    try:
        schema = columns.schema(entry.model)
        if schema is not None:
            entry.filter_columns = filters.Condition(entry.filter, schema).columns
        else:
            check_text(entry.filter, entry.model, columns, condition=True)
            entry.filter_columns = filters.columns_of(entry.filter)
    except ValueError as problem:
        raise model.error(f"filter {problem}", entry.line) from None


def _check_contract(model: ModelEntry, entry: Input, columns: Columns) -> None:
    """What is known of an input's types before anything runs must be as its schema says."""
    schema = columns.schema(entry.model)
    if schema is None:
        return
    for column in entry.contract:
        at = schema.get_field_index(column.name)
        if at >= 0 and not column.accepts(schema.field(at).type):
            raise model.error(
                f"column {column.name!r} of {entry.model!r} should be {column.type}, but is "
                f"{schema.field(at).type}",
                entry.line,
            )


def check_operators(
    project: Project, natives: list[tuple[ModelEntry, Operator]], columns: Columns
) -> None:
    """Reports conditions, values and columns of operators that can't work."""
    for model, operator in natives:
        if operator.settings["kind"] == "concat":
            _check_concat(model, columns, project)
        condition = operator.settings["kind"] == "filter"
        origin = model.inputs[0].model
        for text, line in operator.texts:
            try:
                check_text(text, origin, columns, condition=condition)
            except ValueError as problem:
                project.report(ProjectError(str(problem), FILE, line, model.name))
        for name, line in operator.names:
            missing = columns.missing(origin, [name])
            if missing:
                project.report(ProjectError(missing, FILE, line, model.name))


def _check_concat(model: ModelEntry, columns: Columns, project: Project) -> None:
    """What the operator says of tables without rows, as far as columns and types are known."""
    origins = [entry.model for entry in model.inputs]
    schemas = [columns.schema(origin) for origin in origins]
    if None in schemas:
        names = [columns.names(origin) for origin in origins]
        schemas = [known and pa.schema([(name, pa.null()) for name in known]) for known in names]
    if None in schemas:
        return
    empty = [schema.empty_table() for schema in schemas if schema is not None]
    try:
        _native.concat_tables(list(zip(origins, empty, strict=True)))
    except (ValueError, TypeError) as problem:
        project.report(model.error(f"concat: {problem}", model.inputs[0].line))


def check_text(text: str, origin: str, columns: Columns, *, condition: bool) -> None:
    """Raises ValueError for a condition or value that can't be one over the origin's rows."""
    from zerrow._sql import filters

    schema = columns.schema(origin)
    if schema is not None and condition:
        filters.Condition(text, schema)
    elif schema is not None:
        filters.compile_value(text, schema)
    else:
        filters.check_text(text)
        missing = columns.missing(origin, filters.columns_of(text))
        if missing:
            raise ValueError(f"{text!r}: {missing}")
