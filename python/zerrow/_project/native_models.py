"""Models of the project file that a built-in operator makes."""

import pyarrow as pa
from zerrow import _native
from zerrow._declarations import tags_problem
from zerrow._errors import ProjectError, SqlError
from zerrow._project.description import Input, ModelEntry, Project
from zerrow._project.operators import Operator, input_names, read_operator
from zerrow._project.place import FILE, Place, error
from zerrow._project.project_file import NativeEntry
from zerrow._project.project_types import AnyModel
from zerrow._sizes import parse_bytes
from zerrow._sql.operator_text import parse_measure

DIALECT = "postgres"  # of conditions, see _sql.names


def read_native_models(
    project: Project, natives: list[NativeEntry]
) -> list[tuple[ModelEntry, Operator]]:
    """Adds a model for each entry; what is wrong with one becomes a problem."""
    found = []
    for native in natives:
        try:
            found.append(_read(native, project))
        except ProjectError as problem:
            project.broken.add(native.model.name)
            project.report(problem, native.model.name)
    project.models.extend(entry for entry, _ in found)
    return found


def _read(native: NativeEntry, project: Project) -> tuple[ModelEntry, Operator]:
    used: dict[str, None] = {}

    def fill(text: str, line: int) -> str:
        from zerrow._sql.text import parameters_of, substitute

        try:
            used.update(dict.fromkeys(parameters_of(text, DIALECT)))
            return substitute(text, project.values, DIALECT)
        except SqlError as problem:
            raise error(f"{text!r}: {problem}", line) from None

    model, place = native.model, native.place
    operator = read_operator(model, place, fill)
    if problem := tags_problem(model.tags):
        raise error(f"model {model.name!r}: {problem}", (place / "tags").line)
    entry = ModelEntry(
        name=model.name,
        kind="native",
        file=FILE,
        line=place.line,
        memory_bytes=_memory_bytes(model, place / "memory"),
        tags=model.tags,
        operator=operator.settings,
        inputs=[
            Input("input" if i == 0 else f"input{i + 1}", name, None, None, line, dictionary="auto")
            for i, (name, line) in enumerate(input_names(model, place))
        ],
        parameters=[{"argument": name, "name": name} for name in used],
    )
    return entry, operator


def _memory_bytes(model: AnyModel, place: Place) -> int | None:
    if model.memory is None:
        return None
    try:
        return parse_bytes(model.memory)
    except ValueError as problem:
        raise error(f"model {model.name!r}: memory {problem}", place.line) from None


def planned_schema(operator: Operator, inputs: dict[str, pa.Schema]) -> pa.Schema | None:
    """The columns that an operator makes of tables with these, by name; None if it can't."""
    settings = operator.settings
    try:
        if settings["kind"] == "concat":
            named = [(name, schema.empty_table()) for name, schema in inputs.items()]
            return _native.concat_tables(named).schema
        (schema,) = inputs.values()
        if settings["kind"] == "dictionary":
            return _native.encode_columns(schema.empty_table(), settings["columns"]).schema
        if settings["kind"] == "aggregate":
            measures = [(name, *parse_measure(text)) for name, text in settings["measures"]]
            empty = schema.empty_table()
            return _native.aggregate_table(empty, settings["by"], measures).schema
        if settings["kind"] == "project":
            from zerrow._sql.filters import compile_value

            return pa.schema(
                [(name, compile_value(text, schema).type) for name, text in settings["columns"]]
            )
    except (ValueError, TypeError, KeyError, pa.ArrowException):
        return None  # what is wrong is reported by the checks, or when it runs
    return schema


def narrow_inputs(project: Project, natives: list[tuple[ModelEntry, Operator]]) -> None:
    """Of a source, operators that make their own columns read only what they need."""
    for entry, operator in natives:
        source = project.sources.get(entry.inputs[0].model)
        if source is None or operator.output is None:
            continue
        used = {name.lower() for name, _ in operator.names}
        if operator.texts:
            from zerrow._sql.filters import FilterError, columns_of

            try:
                used.update(name.lower() for text, _ in operator.texts for name in columns_of(text))
            except FilterError:
                continue  # reported by the checks
        entry.inputs[0].columns = source.narrowed(used)
