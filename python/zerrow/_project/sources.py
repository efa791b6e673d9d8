"""Sources: from a path, folder or glob of the project file to files and one schema."""

import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zerrow._errors import ProjectError, SourceError
from zerrow._project.place import FILE
from zerrow._project.project_file import SourceEntry
from zerrow._sql.widths import narrowest

if TYPE_CHECKING:
    import pyarrow as pa
    from zerrow._sources.partitions import Value


@dataclass
class Source:
    """A table in Parquet files, in the order of reading, and their common schema."""

    table: str
    files: "dict[str, dict[str, Value]]"  # absolute paths; the values in their folders' names
    schema: "pa.Schema"
    line: int
    bytes: dict[str, int]  # by column: about what it takes decoded

    def to_json(self) -> dict[str, Any]:
        """The entry of the description's `sources`."""
        columns = [
            {"name": field.name, "type": str(field.type), "bytes": self.bytes[field.name]}
            for field in self.schema
        ]
        return {
            "table": self.table,
            "files": [
                {"path": path, "partition": partition or None}
                for path, partition in self.files.items()
            ],
            "columns": columns,
            "file": FILE,
            "line": self.line,
        }

    def narrowed(self, used: set[str]) -> list[str]:
        """The columns whose names, in lower case, are `used`; at least one, to have rows."""
        columns = [name for name in self.schema.names if name.lower() in used]
        if columns or not self.schema.names:
            return columns
        # Only rows are counted.
        return [narrowest(self.schema)]


def resolve_source(entry: SourceEntry, project_dir: Path) -> Source:
    """Finds a source's files and reads their footers; raises ProjectError at the source's line."""
    from zerrow._sources.partitions import texts_of, values_of

    root, paths = _find_files(entry, project_dir)
    for path in paths:
        _refuse_other_encodings(entry, path)
    try:
        files = values_of({path: texts_of(os.path.relpath(path, root)) for path in paths})
        schema, sizes = _schema_and_sizes(files)
    except SourceError as problem:
        raise _error(entry, str(problem)) from None
    return Source(entry.table, files, schema, entry.line, sizes)


def _error(entry: SourceEntry, message: str) -> ProjectError:
    return ProjectError(f"source {entry.table!r}: {message}", FILE, entry.line)


def _find_files(entry: SourceEntry, project_dir: Path) -> tuple[str, list[str]]:
    """The folder below which the source lies, and its files in order."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", entry.pattern):
        raise _error(
            entry, f"{entry.pattern} is not a local path; only local files can be read yet"
        )
    base, pattern = _split(entry.pattern, project_dir)
    path = _joined(base, pattern)
    if os.path.isfile(path):
        return os.path.dirname(path), [path]
    if os.path.isdir(path):
        files = _files(path, "**/*.parquet")
        if not files:
            raise _error(entry, f"the folder {entry.pattern} has no .parquet file")
        return path, files
    if not glob.has_magic(pattern):
        raise _error(entry, f"there is no file or folder {entry.pattern} (looked at {path})")
    files = _files(base, pattern)
    if not files:
        raise _error(entry, f"no file matches {entry.pattern} (looked at {path})")
    return os.path.dirname(_joined(base, re.split(r"[*?[]", pattern)[0] + "*")), files


def _files(base: str, pattern: str) -> list[str]:
    found = {_joined(base, path) for path in _matches(base, pattern)}
    return sorted(
        path for path in found if _is_data(os.path.basename(path)) and os.path.isfile(path)
    )


def _split(pattern: str, project_dir: Path) -> tuple[str, str]:
    """An existing folder, whose name isn't a pattern whatever it is, and what the user wrote."""
    head, _, rest = pattern.partition("/")
    home = os.path.expanduser(head)
    if home != head:
        return home, rest
    return ("/", pattern.lstrip("/")) if head == "" else (os.path.abspath(project_dir), pattern)


def _joined(base: str, relative: str) -> str:
    """An absolute path; `..` stays, as after a link to a folder it isn't the folder before."""
    path = os.path.join(base, relative)
    return path if ".." in Path(relative).parts else os.path.normpath(path)


def _matches(base: str, pattern: str) -> Iterator[str]:
    """The paths below the base that match. glob's own `**` would follow links in circles."""
    parts = pattern.split("/")
    if "**" not in parts:
        for name in glob.glob(pattern, root_dir=base):
            yield os.path.join(base, name)
        return
    place = parts.index("**")
    above, below = "/".join(parts[:place]), "/".join(parts[place + 1 :]) or "*"
    for start in glob.glob(above, root_dir=base) if above else ("",):
        for folder in _folders_below(os.path.join(base, start)):
            yield from _matches(folder, below)


def _folders_below(folder: str) -> Iterator[str]:
    """The folder and, through links too, all in it that may hold data."""
    for parent, folders, _ in os.walk(folder, followlinks=True):
        folders[:] = [
            name
            for name in folders
            if _is_data(name) and not _is_circle(os.path.join(parent, name))
        ]
        yield parent


def _is_circle(folder: str) -> bool:
    """Whether it is a link to a folder that its own path leads through."""
    return os.path.islink(folder) and any(
        os.path.samefile(folder, above) for above in Path(folder).parents
    )


def _is_data(name: str) -> bool:
    """False for what writers leave beside the data: `_SUCCESS`, `_delta_log/`, hidden files."""
    return not name.startswith((".", "_"))


def _refuse_other_encodings(entry: SourceEntry, file: str) -> None:
    """Paths are told to the engine in JSON."""
    try:
        file.encode()
    except UnicodeEncodeError:
        raise _error(entry, f"the path {os.fsencode(file)!r} isn't UTF-8; rename it") from None


def _schema_and_sizes(
    files: "dict[str, dict[str, Value]]",
) -> "tuple[pa.Schema, dict[str, int]]":
    from zerrow._sources.column_sizes import ColumnSizes
    from zerrow._sources.common_schema import FileColumns, common_schema
    from zerrow._sources.parquet import ParquetFile

    found = []
    sizes = ColumnSizes(len(files))
    for path, partition in files.items():
        opened = ParquetFile(path)
        opened.close()
        sizes.add(opened.footer)
        found.append(FileColumns(path, opened.schema, partition))
    schema = common_schema(found)
    return schema, sizes.of(schema)
