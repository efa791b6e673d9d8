"""What of a source's files must be decoded for those who read it. Pure: no file is read here.

A *block* is a run of row groups of one file that are decoded together. A *read* is what one
consumer needs: columns, and a filter that says which blocks it needs them of; whoever has the rows
applies the filter to them. What is decoded is an *entry*: a column of a block.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

from zerrow._sql.pruning import Filter, Group, may_skip

_BLOCK_ROWS = 1 << 17
# Each entry is a descriptor for the engine.
MOST_ENTRIES = 8192


@dataclass(frozen=True)
class Part:
    """Row groups of a file that follow each other."""

    file: int
    first_group: int
    groups: int
    rows: int


@dataclass(frozen=True)
class Block:
    """Of many small files, where their blocks would be too many, several parts are a block."""

    parts: tuple[Part, ...]
    position: int | None  # among its file's blocks; None if it was put together

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(part.rows for part in self.parts)


class Column(NamedTuple):
    """How a column is decoded: as what it is in the file, or as a dictionary."""

    name: str
    dictionary: bool = False


@dataclass(frozen=True)
class Read:
    """What a consumer needs: `columns` contain those of its filter."""

    columns: tuple[Column, ...]
    filter: Filter
    filter_columns: tuple[Column, ...] = ()


@dataclass(frozen=True)
class Step:
    """Columns of a block that are needed for certain; then these reads' filters are evaluated."""

    block: int
    columns: tuple[Column, ...]
    reads: tuple[int, ...]


Unit = tuple[int, Column]  # of a block
Have = Set[tuple[int, int, Column]]  # a file, the first row group of a block there, a column


def parts_of(file: int, group_rows: Sequence[int]) -> list[Part]:
    """A file's blocks, which depend on nothing but its footer: others know them by it."""
    parts: list[Part] = []
    first = rows = 0
    for group, more in enumerate(group_rows):
        rows += more
        if rows >= _BLOCK_ROWS or group == len(group_rows) - 1:
            parts.append(Part(file, first, group + 1 - first, rows))
            first, rows = group + 1, 0
    return parts


def needs_part(part: Part, groups: Sequence[Group], condition: Filter) -> bool:
    """Whether one of its row groups may have rows for the condition, which is evaluated."""
    own = groups[part.first_group : part.first_group + part.groups]
    return any(not may_skip(condition, group) for group in own)


class Plan:
    """Which blocks each read needs, going by what is known so far."""

    def __init__(
        self,
        parts: Sequence[Sequence[Part]],
        reads: Sequence[Read],
        needed: Sequence[Set[Part]],
        have: Have = frozenset(),
    ) -> None:
        """`parts`: of each file. `needed`: by each read."""
        self.reads = reads
        self.blocks = _blocks(parts, reads, needed)
        self._needed = [
            {i for i, block in enumerate(self.blocks) if not wanted.isdisjoint(block.parts)}
            for wanted in needed
        ]
        self._have = have
        self._done: set[Unit] = set()

    def first_steps(self) -> Iterator[Step]:
        """What is decoded first, in the order of the blocks."""
        for index in range(len(self.blocks)):
            step = self._first_step(index)
            self._done.update((index, name) for name in step.columns)
            if step.columns:
                yield step

    def drop(self, read: int, block: int) -> None:
        """No row of the block has passed the read's filter."""
        self._needed[read].discard(block)

    def needed_blocks(self, read: int) -> list[int]:
        """Those that the read needs, in their order."""
        return sorted(self._needed[read])

    def rest(self) -> list[Unit]:
        """What else is needed when all filters have been evaluated, in the order of the blocks."""
        wanted = {
            (block, name)
            for read, blocks in zip(self.reads, self._needed, strict=True)
            for block in blocks
            for name in self._missing(block, read.columns)
        }
        return sorted(wanted - self._done)

    def _first_step(self, block: int) -> Step:
        here = [i for i, blocks in enumerate(self._needed) if block in blocks]
        can_drop = [i for i in here if self._can_evaluate(block, self.reads[i])]
        certain: dict[Column, None] = {}  # in order
        for i in here:
            read = self.reads[i]
            certain.update(dict.fromkeys(read.filter_columns if i in can_drop else read.columns))
        columns = tuple(self._missing(block, certain))
        saving = tuple(
            i for i in can_drop if set(self._missing(block, self.reads[i].columns)) - set(columns)
        )
        return Step(block, columns, saving)

    def _can_evaluate(self, block: int, read: Read) -> bool:
        """Whether the filter's columns are all decoded here."""
        names = read.filter_columns
        return bool(names) and len(self._missing(block, names)) == len(names)

    def _missing(self, block: int, columns: Iterable[Column]) -> list[Column]:
        first, *others = self.blocks[block].parts
        if others:
            return list(columns)
        return [name for name in columns if (first.file, first.first_group, name) not in self._have]


def _blocks(
    parts: Sequence[Sequence[Part]], reads: Sequence[Read], needed: Sequence[Set[Part]]
) -> list[Block]:
    blocks = [Block((part,), i) for own in parts for i, part in enumerate(own)]
    wanted: dict[Part, set[Column]] = {}
    for read, its_parts in zip(reads, needed, strict=True):
        for part in its_parts:
            wanted.setdefault(part, set()).update(read.columns)
    if sum(map(len, wanted.values())) <= MOST_ENTRIES:
        return blocks
    columns = len(set().union(*wanted.values()))
    return _merged([b for b in blocks if b.parts[0] in wanted], max(1, MOST_ENTRIES // columns))


def _merged(blocks: Sequence[Block], most: int) -> list[Block]:
    """At most so many blocks, of about equally many rows."""
    rows = sum(block.rows for block in blocks)
    share = math.ceil(rows / (most - 1)) if most > 1 else rows
    merged: list[Block] = []
    gathered: list[Block] = []
    rows = 0
    for block, follower in itertools.zip_longest(blocks, blocks[1:]):
        gathered.append(block)
        rows += block.rows
        if follower is None or rows >= share:
            parts = tuple(part for one in gathered for part in one.parts)
            merged.append(gathered[0] if len(gathered) == 1 else Block(parts, None))
            gathered, rows = [], 0
    return merged
