"""A source's Parquet files: their footers, and their columns as the table has them."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from zerrow._errors import SourceError
from zerrow._sources.common_schema import FileColumns, as_part_of, common_schema
from zerrow._sources.parquet import TEXTS, ParquetFile
from zerrow._sources.partitions import Value
from zerrow._sources.scan import Part, needs_part, parts_of
from zerrow._sql.pruning import Bounds, Filter, Group, family_of, value_of

_MOST_OPEN = 32
_MOST_DICTIONARY_BYTES = 8  # a row


class SourceFiles:
    """The files of one table; columns may be read by several threads at once."""

    def __init__(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Of each file `path`, `identity` if it must be that one, `partition` if it has one."""
        self._files: list[ParquetFile] = []
        for entry in entries:
            identity = entry.get("identity")
            self._files.append(
                ParquetFile(entry["path"], None if identity is None else tuple(identity))
            )
            self._files[-1].close()
        self._partitions: list[dict[str, Value]] = [
            entry.get("partition") or {} for entry in entries
        ]
        self.schema = common_schema(
            [
                FileColumns(file.path, file.schema, partition)
                for file, partition in zip(self._files, self._partitions, strict=True)
            ]
        )
        self.encoded = [self._encoded(file) for file in self._files]
        self.dictionaries = {name for name in self.schema.names if self._pays(name)}
        self.parts = [parts_of(i, file.group_rows) for i, file in enumerate(self._files)]
        self._lock = threading.Lock()
        self._open: dict[int, None] = {}  # the last one used is the last one

    def _encoded(self, file: ParquetFile) -> dict[str, int]:
        """Those of the file's dictionaries that are texts in the table."""
        return {
            name: size
            for name, size in file.encoded.items()
            if self.schema.field(name).type in TEXTS
        }

    def _pays(self, name: str) -> bool:
        """Whether a column takes less as a dictionary. The engine decides it by the same rule."""
        encoded: list[tuple[int | None, int]] = [
            (file.get(name), sum(own.group_rows))
            for file, own in zip(self.encoded, self._files, strict=True)
        ]
        rows: int = sum(own for _, own in encoded)
        if not rows or any(size is None and own for size, own in encoded):
            return False
        most = _MOST_DICTIONARY_BYTES * rows
        return sum(size or 0 for size, _ in encoded) <= most

    def schema_of(self, file: int) -> pa.Schema:
        """The table's schema as this file gives it."""
        own = self._files[file].schema
        return pa.schema([as_part_of(column, own) for column in self.schema], own.metadata)

    def field_of(self, part: Part, name: str) -> pa.Field:
        """A column of the table as the part's file gives it."""
        return as_part_of(self.schema.field(name), self._files[part.file].schema)

    def check_unchanged(self) -> None:
        """Raises SourceError if a file isn't what it was."""
        for file in self._files:
            file.check_unchanged()

    def needed_parts(self, condition: Filter, columns: Iterable[str]) -> set[Part]:
        """Those that may have rows for the condition, which reads these columns."""
        names = list(columns)
        needed: set[Part] = set()
        for file, parts in enumerate(self.parts):
            groups = self._groups(file, names)
            needed.update(part for part in parts if needs_part(part, groups, condition))
        return needed

    def _groups(self, file: int, names: Sequence[str]) -> list[Group]:
        """The file's row groups, with what is known of these columns."""
        values = self._partitions[file]
        constants = {
            name: pa.scalar(values[name], self.schema.field(name).type)
            for name in names
            if name in values
        }
        return [
            Group(
                group.rows,
                {**group.columns, **{n: _bounds(c, group.rows) for n, c in constants.items()}},
            )
            for group in self._files[file].groups(names)
        ]

    def read(self, part: Part, name: str, *, dictionary: bool = False) -> pa.ChunkedArray:
        """A column of the part, in the type that the table has or as a dictionary of such values.

        The latter only if it is one of `dictionaries`.
        """
        type_ = self.schema.field(name).type
        values = self._partitions[part.file]
        if name in values:
            return pa.chunked_array([pa.repeat(pa.scalar(values[name], type_), part.rows)])
        file = self._files[part.file]
        self._keep_open(part.file)
        try:
            groups = range(part.first_group, part.first_group + part.groups)
            return file.read(groups, name, type_, dictionary=dictionary)
        except SourceError:
            file.check_unchanged()  # or is that why?
            raise

    def _keep_open(self, file: int) -> None:
        """This one, and as few others as descriptors are for."""
        with self._lock:
            self._open.pop(file, None)
            self._open[file] = None
            if len(self._open) > _MOST_OPEN:
                oldest = next(iter(self._open))
                del self._open[oldest]
                self._files[oldest].close()


def _bounds(constant: pa.Scalar, rows: int) -> Bounds:
    family = family_of(constant.type)
    value = value_of(constant)
    if value is None:
        return Bounds(family, nulls=rows)
    return Bounds(family, value.plain, value.plain, nulls=0)
