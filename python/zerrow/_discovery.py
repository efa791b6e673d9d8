"""`describe`: reads a project and says what it consists of, and everything that is wrong with it.

It imports the user's files, so that it runs in a worker, never in the engine. The result is the
project description that the engine plans from; graph errors (cycles, unknown inputs, duplicates)
are the planner's to find.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zerrow import _parameters
from zerrow._description import Project
from zerrow._errors import ProjectError
from zerrow._modules import find_python_files
from zerrow._project_file import ProjectFile, read_project_file
from zerrow._python_models import read_python_models
from zerrow._sources import resolve_source


def describe(
    project_dir: str | Path,
    parameters: Mapping[str, str] | None = None,
    *,
    on_import: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """The description of the project in the folder, as JSON values; never raises for its mistakes.

    Args:
        project_dir: the folder that has zerrow_project.yml.
        parameters: texts for parameters, as given with `--param name=text`.
        on_import: called with each of the user's files before it is imported.
    """
    project = Project(Path(project_dir).absolute())
    try:
        file = read_project_file(project.directory)
    except ProjectError as problem:
        project.report(problem)
        return project.to_json()
    project.name = file.name
    project.problems.extend(file.problems)
    project.parameters, problems = _parameters.resolve(file.parameters, parameters or {})
    project.problems.extend(problems)
    _read_sources(project, file)
    _read_models(project, on_import)
    return project.to_json()


def _read_sources(project: Project, file: ProjectFile) -> None:
    for entry in file.sources:
        project.declared_sources.add(entry.table)
        try:
            project.sources[entry.table] = resolve_source(entry, project.directory)
        except ProjectError as problem:
            project.report(problem)


def _read_models(project: Project, on_import: Callable[[str], None] | None) -> None:
    try:
        files = find_python_files(project.directory)
    except ProjectError as problem:
        project.report(problem)
        return
    read_python_models(project, files, on_import)
