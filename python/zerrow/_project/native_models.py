"""Models of the project file that a built-in operator makes."""

from zerrow._errors import ProjectError, SqlError
from zerrow._project.description import Input, ModelEntry, Project
from zerrow._project.operators import Operator, read_operator
from zerrow._project.place import FILE, error
from zerrow._project.project_file import NativeEntry

DIALECT = "postgres"  # of conditions, see _filters


def read_native_models(
    project: Project, natives: list[NativeEntry]
) -> list[tuple[ModelEntry, Operator]]:
    """Adds a model for each entry; what is wrong with one becomes a problem."""
    found = []
    for native in natives:
        try:
            found.append(_read(native, project))
        except ProjectError as problem:
            project.broken.add(native.name)
            project.report(problem, native.name)
    project.models.extend(entry for entry, _ in found)
    return found


def _read(native: NativeEntry, project: Project) -> tuple[ModelEntry, Operator]:
    used: dict[str, None] = {}

    def fill(text: str, line: int) -> str:
        from zerrow._sql.text import parameters_of, substitute

        try:
            used.update(dict.fromkeys(name for name, _ in parameters_of(text, DIALECT)))
            return substitute(text, project.values, DIALECT)
        except SqlError as problem:
            raise error(f"{text!r}: {problem}", line) from None

    operator = read_operator(native, fill)
    entry = ModelEntry(
        name=native.name,
        kind="native",
        file=FILE,
        line=native.line,
        memory_bytes=operator.memory_bytes,
        tags=list(operator.tags),
        operator=operator.settings,
        inputs=[
            Input(
                "input" if i == 0 else f"input{i + 1}", model, None, None, line, dictionary="auto"
            )
            for i, (model, line) in enumerate(operator.inputs)
        ],
        parameters=[{"argument": name, "name": name} for name in used],
    )
    return entry, operator


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
