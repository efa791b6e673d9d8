"""`describe`: reads a project and says what it consists of, and everything that is wrong with it.

It imports the user's files, so that it runs in a worker, never in the engine. The result is the
project description that the engine plans from; graph errors (cycles, unknown inputs, duplicates)
are the planner's to find. What reads SQL needs sqlglot, which takes as long to import as all else
here does: only projects that have conditions or queries import it.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zerrow._errors import ProjectError, SqlError
from zerrow._project.bauplan import own_files
from zerrow._project.checks import Columns, check_inputs, check_names, check_operators
from zerrow._project.description import EVERYTHING, ModelEntry, Project
from zerrow._project.modules import find_python_files, project_files
from zerrow._project.native_models import DIALECT, narrow_inputs, read_native_models
from zerrow._project.parameters import resolve as resolve_parameters
from zerrow._project.place import FILE, project_files_of
from zerrow._project.planning import plan_models
from zerrow._project.project_file import ProjectFile, read_project_file
from zerrow._project.python_models import import_files, read_python_models
from zerrow._project.sources import resolve_source


def describe(
    project_dir: str | Path,
    parameters: Mapping[str, str] | None = None,
    *,
    query: Mapping[str, Any] | None = None,
    lineage: bool = False,
    on_import: Callable[[str], None] | None = None,
    on_imported: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """The description of the project in the folder, as JSON values; never raises for its mistakes.

    Args:
        project_dir: the folder that has zerrow_project.yml.
        parameters: texts for parameters, as given with `--param name=text`.
        query: one that is a SQL model for this once: its `name`, `sql`, and the `file` that it is
            from, or "".
        lineage: whether that of SQL models' columns is wanted.
        on_import: called with each of the user's files before it is imported.
        on_imported: called with their number when all are imported, if nothing was wrong with them
            and before anything else is done.
    """
    project = Project(Path(project_dir).absolute(), wants_lineage=lineage)
    try:
        file = read_project_file(project.directory)
    except ProjectError as problem:
        project.report(problem)
        project.broken.add(EVERYTHING)
        return _renamed(project)
    python_files = project_files(project.directory, ".py")
    if file.include_paths is not None:
        python_files = [name for name in python_files if os.sep not in name]
    files, unreadable = find_python_files(project.directory, python_files)
    project.name = file.name
    project.memory_limit_bytes = file.memory_limit_bytes
    project.problems.extend(file.problems)
    if file.problems or unreadable:
        project.broken.add(EVERYTHING)
    project.parameters, problems = resolve_parameters(file.parameters, parameters or {})
    project.problems.extend(problems)
    try:
        sql_files = own_files(
            project_files(project.directory, ".sql"), file.include_paths, project.directory
        )
    except ProjectError as problem:
        project.report(problem)
        project.broken.add(EVERYTHING)
        sql_files = []
    failed, cut_short = import_files(project.directory, files, on_import)
    if cut_short:
        project.broken.add(EVERYTHING)
    if on_imported is not None and files and not failed:
        on_imported(len(files))
    _read_sources(project, file)
    for mistake in unreadable:
        project.report(mistake)
    read_python_models(project, files, failed)
    _read_models(project, file, sql_files, query)
    return _renamed(project)


def _renamed(project: Project) -> dict[str, Any]:
    """The description, with the project file's own name where it isn't the usual one."""
    description = project.to_json()
    name = project_files_of(project.directory)[0]
    if name != FILE:
        for key in ("parameters", "sources", "models", "errors"):
            for entry in description[key]:
                entry["file"] = name if entry["file"] == FILE else entry["file"]
    return description


def _read_sources(project: Project, file: ProjectFile) -> None:
    for entry in file.sources:
        project.declared_sources.add(entry.table)
        try:
            project.sources[entry.table] = resolve_source(entry, project.directory)
        except ProjectError as problem:
            project.broken.add(entry.table)
            project.report(problem)


def _read_models(
    project: Project,
    file: ProjectFile,
    sql_files: list[str],
    query: Mapping[str, Any] | None = None,
) -> None:
    """Those that no Python declares."""
    queries = _read_queries(project, sql_files)
    natives = read_native_models(project, file.natives)
    check_names(project)
    if query is not None:
        queries += _read_query(project, query)
    columns = Columns(project)
    for entry, operator in natives:
        if operator.output is None:
            columns.add_same(entry.name, entry.inputs[0].model)
        else:
            columns.add(entry.name, operator.output)
    plan_models(project, queries, natives, columns)
    _fill_filters(project)
    check_operators(project, natives, columns)
    narrow_inputs(project, natives)
    check_inputs(project, columns)


def _read_queries(project: Project, files: list[str]) -> list[ModelEntry]:
    if not files:
        return []
    from zerrow._project.sql_models import read_sql_models

    return read_sql_models(project, files)


def _read_query(project: Project, query: Mapping[str, Any]) -> list[ModelEntry]:
    from zerrow._project.sql_models import read_query

    try:
        return [read_query(project, query["name"], query["sql"], query["file"])]
    except ProjectError as problem:
        project.report(problem)
        return []


def _fill_filters(project: Project) -> None:
    """Puts the parameters' values into the filters of inputs."""
    for model in project.models:
        for entry in model.inputs:
            if entry.filter is None or model.kind == "sql":
                continue
            from zerrow._sql.text import substitute

            text, entry.filter = entry.filter, None
            try:
                entry.filter = substitute(text, project.values, DIALECT)
            except SqlError as problem:
                project.report(model.error(f"filter {text!r}: {problem}", entry.line))
