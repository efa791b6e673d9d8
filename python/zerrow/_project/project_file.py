"""Reads zerrow_project.yml into plain values that know the line on which they were written."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zerrow._errors import Problem, ProjectError, did_you_mean
from zerrow._project.place import FILE, Place, error, project_files_of
from zerrow._project.project_types import (
    MODELS,
    AnyModel,
    BauplanDocument,
    BauplanProject,
    Document,
    Parameter,
    Text,
)
from zerrow._project.project_values import check_keys, read_as
from zerrow._project.project_yaml import read_yaml
from zerrow._sizes import parse_bytes

PARAMETER_TYPES: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}


@dataclass
class ParameterEntry:
    """A parameter as declared: `default` has the declared type, or is None."""

    name: str
    type: str
    default: str | int | float | bool | None
    required: bool
    line: int


@dataclass
class SourceEntry:
    """A table that lies in Parquet files, and how the project says where."""

    table: str
    pattern: str
    line: int


@dataclass
class NativeEntry:
    """A model that a built-in operator makes."""

    model: AnyModel
    place: Place


@dataclass
class ProjectFile:
    """All of zerrow_project.yml; what is wrong in it is in `problems`, and left out otherwise."""

    name: str
    memory_limit_bytes: int | None = None
    parameters: list[ParameterEntry] = field(default_factory=list)
    sources: list[SourceEntry] = field(default_factory=list)
    natives: list[NativeEntry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    # Of Bauplan's: patterns of SQL files in folders below, with their lines. None: all are read.
    include_paths: list[tuple[str, int]] | None = None

    def each(self, read: Callable[..., None], *arguments: object) -> None:
        """Reads something; what is wrong with it becomes a problem."""
        try:
            read(*arguments)
        except ProjectError as problem:
            self.problems.append(Problem(problem.message, FILE, problem.line, problem.model))


def name_problem(name: str) -> str | None:
    """Why a source or model can't be called so: names become files' names and SQL's tables."""
    if re.fullmatch(r"\w[\w.-]*", name):
        return None
    return "a name consists of letters, digits, _, - and . (not at its beginning)"


def read_project_file(project_dir: Path) -> ProjectFile:
    """Reads and checks the project file; raises ProjectError where nothing of it can be used."""
    names = project_files_of(project_dir)
    path = project_dir / names[0]
    if len(names) > 1:
        raise ProjectError(f"there is {' and '.join(names)}: remove one of them", names[0])
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ProjectError(
            f"{project_dir} is not a project: it has no {FILE} (`zerrow init` makes one)", FILE
        ) from None
    except (OSError, UnicodeDecodeError) as problem:
        raise ProjectError(f"{FILE} can't be read: {problem}", FILE) from None
    content, top = read_yaml(text)
    if not isinstance(content, dict):
        raise error("the file must consist of `key: value` lines", 1)
    return _read(content, top, path)


def _heading(content: dict[str, Any], top: Place, path: Path) -> ProjectFile:
    """What stands for the project itself."""
    document = Document if path.name == FILE else BauplanDocument
    check_keys(document, content, top, "the project file")
    if path.name == FILE:
        if content.get("name") is None:
            raise error("the project file: name is missing", (top / "name").line)
        return ProjectFile(read_as(Text, content["name"], top / "name", "name"))
    about = read_as(BauplanProject, content.get("project") or {}, top / "project", "project")
    place = top / "include_paths"
    patterns = read_as(list[Text], content.get("include_paths") or [], place, "include_paths")
    include = [(pattern, (place / number).line) for number, pattern in enumerate(patterns)]
    name = about.name or path.parent.name
    return ProjectFile(name, include_paths=include)


def _read(content: dict[str, Any], top: Place, path: Path) -> ProjectFile:
    project = _heading(content, top, path)
    project.each(_read_memory_limit, content.get("memory_limit"), top / "memory_limit", project)

    def section(key: str, type_: Any, read: Callable[..., None]) -> None:  # noqa: ANN401
        found = read_as(type_, content.get(key), top / key, key) or {}
        for name, value in found.items() if isinstance(found, dict) else enumerate(found):
            project.each(read, name, value, top / key / name, project)

    project.each(section, "parameters", dict[str, Any] | None, _read_parameter)
    project.each(section, "sources", dict[str, Any] | None, _read_source)
    project.each(section, "models", list[Any] | None, _read_model)
    return project


def _read_memory_limit(limit: object, place: Place, project: ProjectFile) -> None:
    if limit is None:
        return
    try:
        project.memory_limit_bytes = parse_bytes(limit)
    except ValueError as problem:
        raise error(f"memory_limit {problem}", place.line) from None


def _read_parameter(name: str, content: object, place: Place, project: ProjectFile) -> None:
    what = f"parameter {name!r}"
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise error(
            f"{what}: a name consists of letters, digits and _, so that $name works", place.line
        )
    if not isinstance(content, dict):
        raise error(f"{what} needs `type: str|int|float|bool` and perhaps `default:`", place.line)
    declared = content.get("type")
    if declared == "secret":
        raise error(f"{what}: type secret is not supported yet", (place / "type").line)
    if declared is not None and declared not in PARAMETER_TYPES:
        known = ", ".join(PARAMETER_TYPES)
        raise error(f"{what}: type must be one of {known}, not {declared!r}", (place / "type").line)
    entry = read_as(Parameter, content, place, what)
    kind = entry.type or ("str" if entry.default is None else type(entry.default).__name__)
    default = _default(entry.default, kind, what, (place / "default").line)
    project.parameters.append(ParameterEntry(name, kind, default, entry.required, place.line))


def _default(
    default: str | int | float | bool | None, kind: str, what: str, line: int
) -> str | int | float | bool | None:
    if kind == "float" and type(default) is int:
        default = float(default)
    if default is not None and type(default) is not PARAMETER_TYPES[kind]:
        raise error(f"{what} is of type {kind}, but its default is {default!r}", line)
    if type(default) is int and not -(2**63) <= default < 2**63:
        raise error(f"{what}: its default doesn't fit in 64 bits", line)
    if isinstance(default, float) and not math.isfinite(default):
        raise error(f"{what}: its default must be a finite number", line)
    return default


def _read_source(table: str, content: object, place: Place, project: ProjectFile) -> None:
    if problem := name_problem(table):
        raise error(f"source {table!r}: {problem}", place.line)
    if not isinstance(content, str) or not content.strip():
        raise error(
            f"source {table!r} must be the path of a Parquet file, a folder or a glob, "
            f"not {content!r}",
            place.line,
        )
    project.sources.append(SourceEntry(table, content, place.line))


def _read_model(_number: int, content: object, place: Place, project: ProjectFile) -> None:
    if not isinstance(content, dict):
        raise error("a model of the project file needs `name:`, `operator:`, `input:`", place.line)
    named = isinstance(content.get("name"), str)
    what = f"model {content['name']!r}" if named else "a model of the project file"
    operator = content.get("operator")
    if operator is None:
        raise error(f"{what}: operator is missing", place.line)
    type_ = MODELS.get(operator) if isinstance(operator, str) else None
    if type_ is None:
        hint = did_you_mean(str(operator), MODELS)
        raise error(f"{what}: there is no operator {operator!r}{hint}", (place / "operator").line)
    project.natives.append(NativeEntry(read_as(type_, content, place, what), place))
