"""Parquet files: schema, row groups with what their statistics say, and their columns.

Files are opened by their path as it is, never as a URI. A problem is a SourceError that names the
file; text that isn't UTF-8 is one too, as Arrow decodes it unchecked and libraries die of it.
"""

import contextlib
import decimal
import functools
import os
import threading
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt
from zerrow._errors import SourceError
from zerrow._sources.widening import widen
from zerrow._sql.pruning import Bounds, Family, Group, Plain, bounds_of, family_of, nanoseconds

_BUFFER_BYTES = 1 << 18
TEXTS = (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())


Identity = tuple[int, int, int, int, int]  # device, inode, size, mtime and ctime in ns


def identity_of(found: os.stat_result) -> Identity:
    """What no two files, and no two versions of a file, have in common."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class ParquetFile:
    """A file, of which the footer is kept; it may be read by several threads at once.

    Once its footer is read it is opened when it is needed, until `close`. It must be the same file
    each time: `identity`, if it is given, and `check_unchanged` see to that.
    """

    def __init__(self, path: str, identity: Identity | None = None) -> None:
        self.path = path
        self.identity = identity
        self._lock = threading.Lock()
        self._metadata: pq.FileMetaData | None = None
        self._files: dict[bool, pq.ParquetFile] = {}  # by whether texts are dictionaries
        opened = self._open()
        self._metadata = opened.metadata
        with _naming(path, "can't be read as Parquet"):
            self._own_schema = opened.schema_arrow
        self.schema = _without_views(self._own_schema)
        footer = opened.metadata
        self.group_rows = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]

    def _open(self, *, dictionary: bool = False) -> pq.ParquetFile:
        with self._lock:
            if dictionary in self._files:
                return self._files[dictionary]
            with _naming(self.path, "can't be read as Parquet"):
                source = pa.OSFile(self.path)
                self._check_identity(os.fstat(source.fileno()))
                # What 96-bit timestamps hold of years doesn't fit into nanoseconds. Without a
                # buffer a column chunk would be read as a whole before it is decoded; reading ahead
                # would be neither safe among threads nor of use for files.
                self._files[dictionary] = pq.ParquetFile(
                    source,
                    metadata=self._metadata,
                    coerce_int96_timestamp_unit="us",
                    buffer_size=_BUFFER_BYTES,
                    pre_buffer=False,
                    read_dictionary=list(self.encoded) if dictionary else None,
                )
            return self._files[dictionary]

    def close(self) -> None:
        """Lets go of the open file; reads that are going on end well."""
        with self._lock:
            self._files.clear()

    def check_unchanged(self) -> None:
        """Raises SourceError if the file at the path is another one now."""
        with _naming(self.path, "can't be read"):
            self._check_identity(os.stat(self.path))

    def _check_identity(self, found: os.stat_result) -> None:
        if self.identity is not None and identity_of(found) != self.identity:
            raise SourceError(f"{self.path} changed while it was read; run again")

    @property
    def footer(self) -> pq.FileMetaData:
        """As it was when the file was opened first."""
        assert self._metadata is not None
        return self._metadata

    def groups(self, columns: Iterable[str] = ()) -> list[Group]:
        """The row groups, with what is known of these columns."""
        footer = self.footer
        leaves = self._leaves(columns)
        groups = []
        for number in range(footer.num_row_groups):
            group = footer.row_group(number)
            known = {
                name: _bounds(self._own_schema.field(name).type, group.column(leaf), required)
                for name, (leaf, required) in leaves.items()
            }
            groups.append(Group(group.num_rows, known))
        return groups

    @functools.cached_property
    def encoded(self) -> dict[str, int]:
        """Texts whose column chunks all begin with a dictionary: the bytes that they take there.

        Uncompressed, dictionaries and packed indices, or texts where the writer gave up on one.
        """
        texts = [field.name for field in self.schema if field.type in TEXTS]
        found = {}
        for name, (leaf, _) in self._leaves(texts).items():
            chunks = [
                self.footer.row_group(group).column(leaf)
                for group, rows in enumerate(self.group_rows)
                if rows
            ]
            if chunks and all(chunk.has_dictionary_page for chunk in chunks):
                found[name] = sum(chunk.total_uncompressed_size for chunk in chunks)
        return found

    def read(
        self, groups: range, name: str, type_: pa.DataType, *, dictionary: bool = False
    ) -> pa.ChunkedArray:
        """A column of row groups that follow each other, as a type that its own widens to.

        With `dictionary`, for columns that are `encoded`: as a dictionary of this type's values.
        """
        with _naming(self.path, f"can't be decoded: column {name!r}"):
            # Besides `a.b` this reads field b of a struct a, if there is one.
            file = self._open(dictionary=dictionary)
            table = file.read_row_groups(groups, columns=[name], use_threads=False)
            column = table.column(name)
            rows = sum(self.group_rows[group] for group in groups)
            if len(column) != rows:  # Arrow takes it for the end where a file ends too early
                raise SourceError(
                    f"{self.path} can't be decoded: column {name!r} has {len(column)} rows in row "
                    f"groups that should have {rows}"
                )
            _check_text(column)
            if dictionary:
                return _with_values(column, type_)
            return widen(column, type_)

    def _leaves(self, columns: Iterable[str]) -> dict[str, tuple[int, bool]]:
        """Columns that aren't nested: their place in the file and whether no null is allowed."""
        wanted = set(columns)
        places: dict[str, list[int]] = {}
        leaves = self.footer.schema
        for place in range(len(leaves) if wanted else 0):
            path = leaves.column(place).path
            if path in wanted:
                places.setdefault(path, []).append(place)
        return {
            path: (place, leaves.column(place).max_definition_level == 0)
            for path, (place, *more) in places.items()
            # Column `a.b` and field b of column a have the same path.
            if not more and not pt.is_nested(self._own_schema.field(path).type)
        }


@contextlib.contextmanager
def _naming(path: str, what: str) -> Iterator[None]:
    try:
        yield
    except SourceError:
        raise
    except OSError as problem:
        # Arrow reports what it can't decode as OSError as well; those have no errno.
        reason = "can't be read" if problem.errno else what
        raise SourceError(f"{path} {reason}: {problem}") from None
    except (ValueError, pa.ArrowException) as problem:
        raise SourceError(f"{path} {what}: {problem}") from None


def _with_values(column: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    """A column of dictionaries with values of the type, which their own widens to."""
    chunks = [
        pa.DictionaryArray.from_arrays(chunk.indices, chunk.dictionary.cast(type_))
        for chunk in column.chunks
    ]
    return pa.chunked_array(chunks, pa.dictionary(pa.int32(), type_))


def _without_views(schema: pa.Schema) -> pa.Schema:
    """Plain strings for string views, which a file's writer may have noted as their type.

    Arrow can neither filter nor sort views, and its reader puts their text into blocks of 32 KiB,
    too small to be shared.
    """
    plain = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    return pa.schema(
        [field.with_type(plain.get(field.type, field.type)) for field in schema], schema.metadata
    )


def _check_text(column: pa.ChunkedArray) -> None:
    """Raises ArrowInvalid for texts that aren't UTF-8."""
    plain = pt.is_string(column.type) or pt.is_large_string(column.type)
    for chunk in column.chunks if _has_text(column.type) else ():
        # One by one takes a tenth of all the time that reading takes.
        if not plain or not _is_utf8_throughout(chunk):
            chunk.validate(full=True)


def _is_utf8_throughout(texts: pa.Array) -> bool:
    """Whether all texts, looked at as one, are UTF-8, and none begins within a character."""
    _, offsets, data = texts.buffers()
    if data is None:
        return True
    size = np.int32 if pt.is_string(texts.type) else np.int64
    begins = np.frombuffer(offsets, size)[texts.offset : texts.offset + len(texts) + 1]
    data = data.slice(begins[0], begins[-1] - begins[0])
    ends = pa.py_buffer(np.array([0, data.size], np.int64))
    whole = pa.Array.from_buffers(pa.large_string(), 1, [None, ends, data])
    if pc.string_is_ascii(whole)[0].as_py():
        return True
    try:
        whole.validate(full=True)
    except pa.ArrowInvalid:
        return False
    at = begins - begins[0]
    first_bytes = np.frombuffer(data, np.uint8)[at[at < data.size]]
    return not np.any((first_bytes & 0xC0) == 0x80)


def _has_text(type_: pa.DataType) -> bool:
    if pt.is_dictionary(type_):
        return _has_text(type_.value_type)
    if isinstance(type_, pa.BaseExtensionType):
        return _has_text(type_.storage_type)
    if pt.is_string(type_) or pt.is_large_string(type_) or type_ == pa.string_view():
        return True
    return any(_has_text(type_.field(i).type) for i in range(type_.num_fields))


def _bounds(type_: pa.DataType, chunk: pq.ColumnChunkMetaData, required: bool) -> Bounds:
    """What a column chunk's statistics say; Arrow leaves out those whose order can't be trusted."""
    known = chunk.statistics
    nulls = 0 if required else None
    if known is None:
        return Bounds(nulls=nulls)
    if known.has_null_count:
        nulls = known.null_count
    family = family_of(type_)
    if family is None or not known.has_min_max:
        return Bounds(family, nulls=nulls)
    low, high = (_plain(type_, family, raw) for raw in (known.min_raw, known.max_raw))
    return bounds_of(family, low, high, nulls)


def _plain(type_: pa.DataType, family: Family, raw: int | float | bytes) -> Plain:
    """A bound, given as the file's physical type, as a value of the family."""
    if pt.is_dictionary(type_):
        type_ = type_.value_type
    if pt.is_decimal(type_):
        unscaled = int.from_bytes(raw, signed=True) if isinstance(raw, bytes) else int(raw)
        sign, digits, _ = decimal.Decimal(unscaled).as_tuple()
        return decimal.Decimal((sign, digits, -type_.scale))
    if family is Family.TEXT or not isinstance(raw, int):
        return raw
    if pt.is_unsigned_integer(type_):
        return raw % (1 << int(type_.bit_width))
    if family in (Family.INSTANT, Family.ZONED, Family.TIME):
        return nanoseconds(type_, raw)
    return raw
