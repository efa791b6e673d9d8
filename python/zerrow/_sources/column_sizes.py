"""About how much memory a source's columns take once they are decoded, as far as footers tell."""

from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq

# What is looked at of all files: each column chunk costs a microsecond, and they are much alike.
_MOST_GROUPS = 64
_MOST_CHUNKS = 4096
_OFFSET_BYTES = 4
_MOST_BYTES = 2**50  # that the engine takes


class ColumnSizes:
    """Gathers what the footers of a table's files say, one after the other."""

    def __init__(self, files: int) -> None:
        self._groups_per_file = max(1, _MOST_GROUPS // max(1, files))
        self._chunks_left = _MOST_CHUNKS
        self._rows = 0
        self._seen_rows = 0
        # Uncompressed bytes of the rows that were seen.
        self._by_path: Counter[str] = Counter()
        self._by_root: Counter[str] = Counter()

    def add(self, footer: pq.FileMetaData) -> None:
        """Takes the next file's footer."""
        self._rows += footer.num_rows
        count = footer.num_row_groups
        for number in range(0, count, max(1, -(-count // self._groups_per_file))):
            if self._chunks_left <= 0:
                return
            group = footer.row_group(number)
            self._chunks_left -= group.num_columns
            self._seen_rows += group.num_rows
            for leaf in range(group.num_columns):
                chunk = group.column(leaf)
                path = chunk.path_in_schema
                self._by_path[path] += chunk.total_uncompressed_size
                self._by_root[path.split(".", 1)[0]] += chunk.total_uncompressed_size

    def of(self, schema: pa.Schema) -> dict[str, int]:
        """By column of the table's schema.

        Texts that a file has as dictionaries take more than this once they are decoded plain.
        """
        # A broken footer may say anything.
        return {field.name: min(max(0, self._size(field)), _MOST_BYTES) for field in schema}

    def _size(self, field: pa.Field) -> int:
        try:
            return self._rows * int(field.type.bit_width) // 8
        except ValueError:  # not of one width
            sizes = self._by_path if field.name in self._by_path else self._by_root
            return self._rows * _OFFSET_BYTES + sizes[field.name] * self._rows // max(
                1, self._seen_rows
            )
