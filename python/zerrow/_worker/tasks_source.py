"""Task "source": decodes what its readers need of Parquet files and isn't cached, as entries.

`_sources.scan` decides what that is. Here columns are decoded by all cores, and filters are
evaluated on blocks to see whether any row passes. An entry goes to the engine as soon as it is
there, in a file of its own, so that no more than a few columns of a block are in memory here.
"""

import base64
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pyarrow as pa
from zerrow import _native
from zerrow._errors import SourceError
from zerrow._sources.scan import Block, Column, Plan, Read, Step, Unit
from zerrow._sources.source_files import SourceFiles
from zerrow._sql.pruning import Always
from zerrow._worker.messages import Decoded, Found, Scanned, ScannedFile, SourceRead, ToldEntry
from zerrow._worker.tasks import Answer, Task, TaskError

if TYPE_CHECKING:
    from zerrow._sql.filters import Condition

# So few wait to be sent that neither descriptors nor memory add up.
_MOST_UNSENT = 64
_MOST_UNSENT_BYTES = 32 << 20

T = TypeVar("T")


def run(task: Task) -> Answer:
    """Sends the engine all entries; answers which blocks there are and each read needs."""
    if "mimalloc" in pa.supported_memory_backends():
        # It reuses one column's memory for the next; malloc has the kernel clear most of it anew.
        # Nothing decoded is shared where it lies, so the allocator shim needn't see it.
        pa.set_memory_pool(pa.mimalloc_memory_pool())
    started = time.perf_counter()
    try:
        files = SourceFiles(task.body["files"])
        _check_columns(task.body["columns"], files.schema)
        have = {
            (file, group, Column(name, dictionary))
            for file, group, name, dictionary in task.body["have"]
        }
        values = {given.parameter: given.table[0].chunk(0) for given in task.inputs}
        scan = Scan(files, task.body["reads"], have, _native.encode, values)
        outbox = _Outbox(task)
        for entry in scan.entries():
            outbox.add(entry)
        outbox.flush()
        files.check_unchanged()
    except (OSError, ValueError, pa.ArrowException) as problem:
        raise TaskError(f"source {task.body['table']!r} can't be read: {problem}") from problem
    task.timings["run_s"] = time.perf_counter() - started
    task.timings["cpu_s"] = time.process_time()
    return Answer(Scanned(op="scanned", **scan.found(), timings=task.timings))


def _check_columns(declared: list[dict[str, str]] | None, schema: pa.Schema) -> None:
    """Files may be others since the project was read."""
    if declared is None:
        return
    were = {column["name"]: column["type"] for column in declared}
    are = {column.name: str(column.type) for column in schema}
    for name in {**were, **are}:
        if were.get(name) != are.get(name):
            raise SourceError(
                f"its files have changed since the project was read: column {name!r} was "
                f"{were.get(name, 'not there')} and is {are.get(name, 'gone')}; run again"
            )


@dataclass
class Entry(Generic[T]):
    """A decoded column of a block, and what was made of it.

    Of a dictionary the indices; the values are an entry of no block, if they have grown.
    """

    block: int | None
    column: Column
    rows: int
    decode_s: float
    result: T


class Scan(Generic[T]):
    """Decodes what is needed, each column of a block once; `finish` is called by its threads.

    `values`: with which the dictionaries of columns begin.
    """

    def __init__(
        self,
        files: SourceFiles,
        reads: Sequence[SourceRead],
        have: set[tuple[int, int, Column]],
        finish: Callable[[pa.Table], T],
        values: Mapping[str, pa.Array] | None = None,
    ) -> None:
        self._files = files
        self._finish = finish
        self._conditions: list[Condition | None] = []
        self._first_values = values or {}
        self._values: dict[str, _Values] = {}
        self._lock = threading.Lock()
        # Columns that filters are evaluated on, until all of a block are there.
        self._evaluated: set[Unit] = set()
        self._kept: dict[Unit, pa.ChunkedArray] = {}
        parsed = [self._parsed(read) for read in reads]
        needed = [
            files.needed_parts(read.filter, [column.name for column in read.filter_columns])
            for read in parsed
        ]
        self.plan = Plan(files.parts, parsed, needed, have)

    def _parsed(self, read: SourceRead) -> Read:
        takes = self._files.dictionaries if read["dictionary"] else set()

        def decoded(names: Iterable[str]) -> tuple[Column, ...]:
            return tuple(Column(name, name in takes) for name in names)

        columns, condition = decoded(read["columns"]), read["filter"]
        if condition is None:
            self._conditions.append(None)
            return Read(columns, Always(True))
        from zerrow._sql.filters import Condition

        compiled = Condition(condition, self._files.schema)
        self._conditions.append(compiled)
        filter_columns = decoded(compiled.columns)
        every = tuple(dict.fromkeys([*columns, *filter_columns]))
        return Read(every, compiled.rule, filter_columns)

    def entries(self) -> Iterator[Entry[T]]:
        """All that is decoded, as it gets ready."""
        with _pool() as completed:
            steps = {step.block: step for step in self.plan.first_steps()}
            left = {block: len(step.columns) for block, step in steps.items()}
            units = [(step.block, name) for step in steps.values() for name in step.columns]
            self._evaluated = {
                (step.block, name)
                for step in steps.values()
                for read in step.reads
                for name in self.plan.reads[read].filter_columns
            }
            for entry in completed(self._decode, units):
                yield entry
                assert entry.block is not None
                left[entry.block] -= 1
                if left[entry.block] == 0:
                    self._drop(steps[entry.block])
            yield from completed(self._decode, self.plan.rest())
        for name, values in self._values.items():
            array = values.grown()
            if array is None:
                continue
            table = pa.table({name: array})
            yield Entry(None, Column(name, True), table.num_rows, 0.0, self._finish(table))

    def _drop(self, step: Step) -> None:
        """Has the plan drop the block for reads whose filter none of its rows passes."""
        for read in step.reads:
            names = self.plan.reads[read].filter_columns
            if not self._any_passes(
                read, pa.table({column.name: self._kept[step.block, column] for column in names})
            ):
                self.plan.drop(read, step.block)
        for column in step.columns:
            self._kept.pop((step.block, column), None)

    def _any_passes(self, read: int, table: pa.Table) -> bool:
        condition = self._conditions[read]
        assert condition is not None
        try:
            return condition.any_passes(table)
        except ValueError:
            return True  # a division by zero, perhaps: whoever applies the filter reports it

    def _decode(self, unit: Unit) -> Entry[T]:
        index, column = unit
        block = self.plan.blocks[index]
        started = time.perf_counter()
        parts = [
            self._files.read(part, column.name, dictionary=column.dictionary)
            for part in block.parts
        ]
        chunks = [chunk for part in parts for chunk in part.chunks]
        if unit in self._evaluated:
            # As plain texts, which is what the filter is for.
            type_ = self._files.schema.field(column.name).type
            self._kept[unit] = pa.chunked_array(chunks, parts[0].type).cast(type_)
        if column.dictionary:
            table = pa.table({column.name: self._values_of(column.name).indices(chunks)})
        else:
            table = self._as_one(block, column.name, chunks)
        decode_s = time.perf_counter() - started
        return Entry(index, column, block.rows, decode_s, self._finish(table))

    def _as_one(self, block: Block, name: str, chunks: list[pa.Array]) -> pa.Table:
        wanted = self._files.schema.field(name)
        if len(block.parts) == 1:
            wanted = self._files.field_of(block.parts[0], name)
        table = pa.table([pa.chunked_array(chunks, wanted.type)], schema=pa.schema([wanted]))
        return table.combine_chunks() if len(chunks) > 1 else table

    def _values_of(self, name: str) -> "_Values":
        with self._lock:
            if name not in self._values:
                type_ = self._files.schema.field(name).type
                self._values[name] = _Values(type_, self._first_values.get(name))
            return self._values[name]

    def found(self) -> Found:
        """What the engine is told in the end."""
        schemas: dict[str, int] = {}
        files: list[ScannedFile] = []
        for file, parts in enumerate(self._files.parts):
            schema = base64.b64encode(self._files.schema_of(file).serialize()).decode()
            blocks = [(part.first_group, part.groups, part.rows) for part in parts]
            files.append(
                {
                    "schema": schemas.setdefault(schema, len(schemas)),
                    "blocks": blocks,
                    "encoded": self._files.encoded[file],
                }
            )
        return {
            "schemas": list(schemas),
            "files": files,
            "blocks": [
                (None, block.rows)
                if block.position is None
                else (block.parts[0].file, block.position)
                for block in self.plan.blocks
            ],
            "reads": [self.plan.needed_blocks(read) for read in range(len(self.plan.reads))],
        }


class _Values:
    """A column's dictionary, which grows by what each block's has besides: indices stay valid."""

    def __init__(self, type_: pa.DataType, first: pa.Array | None) -> None:
        self._type = pa.dictionary(pa.int32(), type_)
        self._first = first
        self._values = _native.growing_values(pa.array([], type_) if first is None else first)

    def indices(self, chunks: Sequence[pa.DictionaryArray]) -> pa.Array:
        """The chunks' rows as indices into these values."""
        return self._values.indices_of(pa.chunked_array(chunks, self._type))

    def grown(self) -> pa.Array | None:
        """All in the end; none if they are those that the engine has."""
        values = self._values.finish()
        return None if self._first is not None and len(values) == len(self._first) else values


class _Outbox:
    """Sends entries, whose results are descriptors, to the engine."""

    def __init__(self, task: Task) -> None:
        self._tell = task.tell
        self._entries: list[ToldEntry] = []
        self._fds: list[int] = []
        self._bytes = 0

    def add(self, entry: Entry[int]) -> None:
        """Takes the descriptor."""
        self._fds.append(entry.result)
        column = entry.column
        told = ToldEntry(column=column.name, rows=entry.rows, decode_s=entry.decode_s)
        if entry.block is None:
            told["values"] = True
        else:
            told["block"], told["dictionary"] = entry.block, column.dictionary
        self._entries.append(told)
        self._bytes += os.fstat(entry.result).st_size
        if len(self._fds) >= _MOST_UNSENT or self._bytes >= _MOST_UNSENT_BYTES:
            self.flush()

    def flush(self) -> None:
        """Sends what is left; where something fails before, that ends with the process."""
        if self._fds:
            self._tell(Decoded(op="decoded", entries=self._entries), self._fds)
        for fd in self._fds:
            os.close(fd)
        self._entries, self._fds, self._bytes = [], [], 0


@contextlib.contextmanager
def _pool() -> "Iterator[Callable[[Callable[[Unit], T], Iterable[Unit]], Iterator[T]]]":
    """A function that yields what work makes of units, by all cores, in whatever order.

    One more than there are cores is under way, so that none waits for the engine.
    """
    threads = pa.cpu_count()
    running: set[Future[Any]] = set()

    def completed(work: Callable[[Unit], T], units: Iterable[Unit]) -> Iterator[T]:
        for unit in units:
            running.add(pool.submit(work, unit))
            if len(running) > threads:
                yield from finished()
        while running:
            yield from finished()

    def finished() -> Iterator[Any]:
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        running.difference_update(done)
        while done:
            yield done.pop().result()

    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        try:
            yield completed
        finally:
            for left in running:
                left.cancel()
