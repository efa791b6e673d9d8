"""Reads zerrow_project.yml into plain values that know the line on which they were written."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zerrow._errors import Problem, ProjectError, did_you_mean
from zerrow._sizes import parse_bytes

FILE = "zerrow_project.yml"
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
    """A model that a built-in operator makes: its settings are read by `_native`."""

    name: str
    operator: str
    settings: "Mapping"
    line: int


@dataclass
class ProjectFile:
    """All of zerrow_project.yml; what is wrong in it is in `problems`, and left out otherwise."""

    name: str
    memory_limit_bytes: int | None = None
    parameters: list[ParameterEntry] = field(default_factory=list)
    sources: list[SourceEntry] = field(default_factory=list)
    natives: list[NativeEntry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class Value:
    """Something in the file: a `Mapping`, a list of values, or a scalar, and its line."""

    content: Any
    line: int


class Mapping:
    """A mapping of the file, in its order; raises ProjectError for what isn't as asked for."""

    def __init__(self, entries: dict[str, tuple[int, Value]], line: int, what: str) -> None:
        self._entries = entries
        self._what = what
        self.line = line

    def __iter__(self) -> Iterator[tuple[str, int, Value]]:
        return ((key, line, value) for key, (line, value) in self._entries.items())

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def only(self, *known: str) -> None:
        """Raises for a key that isn't among the `known`: most likely it was misspelt."""
        for key, line, _ in self:
            if key not in known:
                raise error(f"{self._what} has no setting {key!r}{did_you_mean(key, known)}", line)

    def line_of(self, key: str) -> int:
        """The line of a key, of the mapping itself where it is missing."""
        return self._entries[key][0] if key in self._entries else self.line

    def value(self, key: str) -> Any:  # noqa: ANN401
        """What stands for `key`, None if nothing does."""
        return self._entries[key][1].content if key in self._entries else None

    def text(self, key: str, *, default: str | None = None) -> str:
        """A text that must be there, unless there is a default."""
        value = self.value(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not value.strip():
            shown = "is missing" if value is None else f"must be a text, not {plain(value)!r}"
            raise error(f"{self._what}: {key} {shown}", self.line_of(key))
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """true or false."""
        value = self.value(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise error(
                f"{self._what}: {key} must be true or false, not {plain(value)!r}",
                self.line_of(key),
            )
        return value

    def mapping(self, key: str, what: str) -> "Mapping":
        """A mapping below `key`, empty if there is none."""
        value = self.value(key)
        if value is None:
            return Mapping({}, self.line_of(key), what)
        if not isinstance(value, Mapping):
            raise error(
                f"{what} must be `name: ...` lines, not {plain(value)!r}", self.line_of(key)
            )
        return Mapping(value._entries, self.line_of(key), what)

    def items(self, key: str, what: str) -> list[Value]:
        """A list below `key`, empty if there is none."""
        value = self.value(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise error(f"{what} must be a list (lines with `- `)", self.line_of(key))
        return value


def plain(content: object) -> object:
    """A value without its lines, for messages."""
    if isinstance(content, Mapping):
        return {key: plain(value.content) for key, _, value in content}
    if isinstance(content, list):
        return [plain(value.content) for value in content]
    return content


def name_problem(name: str) -> str | None:
    """Why a source or model can't be called so: names become files' names and SQL's tables."""
    if re.fullmatch(r"\w[\w.-]*", name):
        return None
    return "a name consists of letters, digits, _, - and . (not at its beginning)"


def error(message: str, line: int) -> ProjectError:
    """An error in the project file."""
    return ProjectError(message, FILE, line)


def read_project_file(project_dir: Path) -> ProjectFile:
    """Reads and checks the project file; raises ProjectError where nothing of it can be used."""
    path = project_dir / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ProjectError(
            f"{project_dir} is not a project: it has no {FILE} (`zerrow init` makes one)", FILE
        ) from None
    except (OSError, UnicodeDecodeError) as problem:
        raise ProjectError(f"{FILE} can't be read: {problem}", FILE) from None
    # Here, as what a worker imports of this module needs no YAML.
    from zerrow._project.yaml_text import parse

    root = parse(text)
    if root is None:
        raise error("the file is empty: it needs at least `name: ...`", 1)
    if not isinstance(root.content, Mapping):
        raise error("the file must consist of `key: value` lines", 1)
    return _read(root.content)


def _read(top: Mapping) -> ProjectFile:
    top = Mapping(top._entries, 1, "the project file")
    top.only("name", "memory_limit", "parameters", "sources", "models")
    project = ProjectFile(top.text("name"))

    def each(read: Callable[[], None]) -> None:
        try:
            read()
        except ProjectError as problem:
            project.problems.append(Problem(problem.message, FILE, problem.line, problem.model))

    def section(key: str, read: Callable[[str, int, Value], None]) -> None:
        for name, line, value in top.mapping(key, key):
            each(lambda name=name, line=line, value=value: read(name, line, value))  # type: ignore[misc]

    each(lambda: _read_memory_limit(top, project))
    each(
        lambda: section("parameters", lambda *entry: project.parameters.append(_parameter(*entry)))
    )
    each(lambda: section("sources", lambda *entry: project.sources.append(_source(*entry))))

    def models() -> None:
        for item in top.items("models", "models"):
            each(lambda item=item: project.natives.append(_native(item)))  # type: ignore[misc]

    each(models)
    return project


def _read_memory_limit(top: Mapping, project: ProjectFile) -> None:
    limit = top.value("memory_limit")
    if limit is None:
        return
    try:
        project.memory_limit_bytes = parse_bytes(limit)
    except ValueError as problem:
        raise error(f"memory_limit {problem}", top.line_of("memory_limit")) from None


def _parameter(name: str, line: int, value: Value) -> ParameterEntry:
    what = f"parameter {name!r}"
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise error(f"{what}: a name consists of letters, digits and _, so that $name works", line)
    if not isinstance(value.content, Mapping):
        raise error(f"{what} needs `type: str|int|float|bool` and perhaps `default:`", line)
    entry = Mapping(value.content._entries, line, what)
    entry.only("type", "default", "required", "description")
    default = entry.value("default")
    kind = entry.text("type", default=type(default).__name__ if default is not None else "str")
    if kind == "secret":
        raise error(f"{what}: type secret is not supported yet", entry.line_of("type"))
    if kind not in PARAMETER_TYPES:
        known = ", ".join(PARAMETER_TYPES)
        raise error(f"{what}: type must be one of {known}, not {kind!r}", entry.line_of("type"))
    if kind == "float" and type(default) is int:
        default = float(default)
    if default is not None and not _is_a(default, kind):
        raise error(
            f"{what} is of type {kind}, but its default is {plain(default)!r}",
            entry.line_of("default"),
        )
    if isinstance(default, int | float) and not -(2**63) <= default < 2**63 and kind != "float":
        raise error(f"{what}: its default doesn't fit in 64 bits", entry.line_of("default"))
    if isinstance(default, float) and not math.isfinite(default):
        raise error(f"{what}: its default must be a finite number", entry.line_of("default"))
    return ParameterEntry(name, kind, default, entry.flag("required", default=False), line)


def _source(table: str, line: int, value: Value) -> SourceEntry:
    if name_problem(table):
        raise error(f"source {table!r}: {name_problem(table)}", line)
    if not isinstance(value.content, str) or not value.content.strip():
        raise error(
            f"source {table!r} must be the path of a Parquet file, a folder or a glob, "
            f"not {plain(value.content)!r}",
            line,
        )
    return SourceEntry(table, value.content, line)


def _native(item: Value) -> NativeEntry:
    if not isinstance(item.content, Mapping):
        raise error(
            "a model of the project file needs `name:`, `operator:` and `input:`", item.line
        )
    entry = Mapping(item.content._entries, item.line, "a model of the project file")
    name = entry.text("name")
    entry = Mapping(item.content._entries, item.line, f"model {name!r}")
    operator = entry.text("operator")
    return NativeEntry(name, operator, entry, item.line)


def _is_a(value: object, kind: str) -> bool:
    return type(value) is PARAMETER_TYPES[kind]
