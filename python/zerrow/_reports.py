"""What a run has left, and what an engine does, as values: their JSON with names and types."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from zerrow._errors import Problem

T = TypeVar("T")


@dataclass(frozen=True)
class Timings:
    """Where a model's time went between its inputs' tables and its own, in seconds."""

    open_s: float
    run_s: float
    encode_s: float
    exit_s: float
    exit_cpu_s: float
    trim_cpu_s: float
    freeze_cpu_s: float


@dataclass(frozen=True)
class CacheUse:
    """What a source's columns came from, by pieces of a column that are decoded together."""

    hits: int
    misses: int
    hit_bytes: int
    miss_bytes: int
    saved_s: float


@dataclass(frozen=True)
class MemoryWait:
    """How long a model could have started but for memory, and why it waited last."""

    wait_s: float
    reason: str


@dataclass(frozen=True)
class Eviction:
    """A table's memory that went so that a limit was kept; `how`: swap, rollback or cache."""

    model: str
    how: str
    bytes: int
    reason: str


@dataclass(frozen=True)
class VaryingModel:
    """One that isn't deterministic though it says so; `run_again`: models that had read it."""

    model: str
    run_again: int


@dataclass(frozen=True)
class MemoryEvent:
    """A decision about memory, `at_s` seconds after the run began."""

    at_s: float
    what: str


@dataclass(frozen=True)
class NamedColumn:
    """A column's name, and its type as Arrow spells it."""

    name: str
    type: str


@dataclass(frozen=True)
class OffendingRows:
    """Some rows that don't meet an expectation, as JSON values, of `total_rows` that don't."""

    columns: tuple[NamedColumn, ...]
    rows: tuple[tuple[Any, ...], ...]
    total_rows: int


@dataclass(frozen=True)
class ModelReport:
    """How a model, source or expectation went; sizes in bytes, times in seconds.

    Attributes:
        kind: source, filter, python, sql, native or expectation.
        status: success, failed, skipped, timeout, killed or cancelled.
        rows: of its table; None without one.
        bytes: of its table: `new_bytes + reshared_bytes + copied_bytes`.
        duplicate_bytes: of `new_bytes` those equal to an input's; only with `account`.
        error: why it failed, None if it didn't.
        timings: only with `account`, of a model that gave a table.
        cache: of a source that was read.
        expectation: what an expectation answered.
        warning: why an expectation isn't met, in a run that isn't strict.
        offending: which rows don't meet it, of a standard expectation.
    """

    name: str
    kind: str
    status: str
    rows: int | None
    bytes: int
    new_bytes: int
    reshared_bytes: int
    content_reshared_bytes: int
    copied_bytes: int
    duplicate_bytes: int | None
    wall_s: float
    cpu_s: float
    peak_memory_bytes: int
    error: Problem | None
    timings: Timings | None = None
    memory_wait: MemoryWait | None = None
    cache: CacheUse | None = None
    expectation: bool | None = None
    warning: Problem | None = None
    offending: OffendingRows | None = None


@dataclass(frozen=True)
class RunReport:
    """How a run went; sizes in bytes, times in seconds.

    Attributes:
        status: success, failed or cancelled.
        memory_limit_bytes: the engine's or the run's, what is less; 0: unknown.
        backend: kernelzero, memfd, copy or full-copy.
        models: in topological order.
        errors: of the project, before anything ran.
        outputs: files that were written.
        import_again: only with `account`: why each model imported the project; empty: it was
            imported once.
        kernelzero: only with `account` and the backend kernelzero: what the module's counters rose
            by meanwhile, whoever moved memory; pages of 4 KiB.
        memory_events: only with `explain_memory`.
        document: all of it, as `zerrow run -O json` prints it.
    """

    run_id: str
    status: str
    wall_s: float
    peak_memory_bytes: int
    memory_limit_bytes: int
    backend: str
    models: tuple[ModelReport, ...]
    evictions: tuple[Eviction, ...]
    evicted_bytes: int
    document: Mapping[str, Any] = field(repr=False, compare=False)
    errors: tuple[Problem, ...] = ()
    outputs: tuple[str, ...] = ()
    varying: tuple[VaryingModel, ...] = ()
    import_again: str | None = None
    kernelzero: Mapping[str, int] | None = None
    memory_events: tuple[MemoryEvent, ...] | None = None


@dataclass(frozen=True)
class ModelCount:
    """How many models of a run have finished, of all; no models: its project is being read."""

    finished: int
    total: int


@dataclass(frozen=True)
class ActiveRun:
    """A run that the engine is doing, for the process `client_pid`; `running`: models."""

    project: str
    client_pid: int
    models: ModelCount
    running: tuple[str, ...]
    elapsed_s: float


@dataclass(frozen=True)
class ZygoteStatus:
    """A process that has imported libraries and forks workers."""

    pid: int
    python: str
    libraries: tuple[str, ...]


@dataclass(frozen=True)
class MemoryUse:
    """What takes memory, in bytes: of `tables` the cache of decoded columns takes `cache`."""

    tables: int
    pool: int
    cache: int
    zygotes: int
    workers: int
    engine: int


@dataclass(frozen=True)
class LargeTable:
    """A table of a run; `disk_bytes` of it lie on disk."""

    run: str
    model: str
    bytes: int
    disk_bytes: int


@dataclass(frozen=True)
class WaitingModel:
    """The model that comes first and waits for memory, and why."""

    model: str
    reason: str


@dataclass(frozen=True)
class MemoryLimits:
    """How the engine keeps its memory limit; sizes in bytes.

    Attributes:
        limit: None without one.
        reserve: of that, for Zerrow's own processes and kept free.
        used: by all processes and tables.
        charged: of that, by tables and functions; `committed`: and what these may come to need.
        segments: of `charged`, tables and cache; `backed`: the memory that is behind these now.
        spilled: of tables, on disk.
        anon: as the kernel counts it, as `shmem`.
        method: how it is measured; with `hard_limit` the kernel keeps the limit, too.
        eviction: adaptive, swap, rollback or none.
        spill_dir: empty: nothing can be written to disk.
        stalled: of the last ten seconds, how much processes waited for memory, 0 to 1.
        history: why nothing is known of earlier runs; None: all is well.
    """

    limit: int | None
    reserve: int
    used: int
    charged: int
    committed: int
    segments: int
    backed: int
    spilled: int
    anon: int
    shmem: int
    method: str
    hard_limit: bool
    eviction: str
    spill_dir: str
    largest_tables: tuple[LargeTable, ...]
    stalled: float | None
    waiting: WaitingModel | None
    history: str | None = None


@dataclass(frozen=True)
class EngineStatus:
    """What the resident engine does and holds at a moment.

    Attributes:
        version: Zerrow's.
        workers: how many functions' processes there are.
        document: all of it, as `zerrow engine status -O json` prints it.
    """

    pid: int
    version: str
    uptime_s: float
    runs: tuple[ActiveRun, ...]
    workers: int
    zygotes: tuple[ZygoteStatus, ...]
    memory: MemoryUse
    limits: MemoryLimits
    document: Mapping[str, Any] = field(repr=False, compare=False)


def read_report(document: Mapping[str, Any], kind: type[T]) -> T:
    """A RunReport or EngineStatus from what the command prints."""
    return msgspec.convert({**document, "document": document}, kind)
