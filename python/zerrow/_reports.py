"""What a run has left, as values: what `zerrow run -O json` prints, with names and types."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

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

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "ModelReport":
        """From an entry of the document's `models`."""
        parts = {
            "error": Problem,
            "timings": Timings,
            "memory_wait": MemoryWait,
            "cache": CacheUse,
            "warning": Problem,
        }
        made = {name: _optional(kind, document.get(name)) for name, kind in parts.items()}
        return cls(**{**document, **made})


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
    errors: tuple[Problem, ...]
    outputs: tuple[str, ...]
    evictions: tuple[Eviction, ...]
    evicted_bytes: int
    varying: tuple[VaryingModel, ...]
    import_again: str | None
    memory_events: tuple[MemoryEvent, ...] | None
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "RunReport":
        """From what `zerrow run -O json` prints."""
        events = document.get("memory_events")
        return cls(
            run_id=document["run_id"],
            status=document["status"],
            wall_s=document["wall_s"],
            peak_memory_bytes=document["peak_memory_bytes"],
            memory_limit_bytes=document["memory_limit_bytes"],
            backend=document["backend"],
            models=tuple(map(ModelReport.from_json, document["models"])),
            errors=_all(Problem, document.get("errors", ())),
            outputs=tuple(document.get("outputs", ())),
            evictions=_all(Eviction, document["evictions"]),
            evicted_bytes=document["evicted_bytes"],
            varying=_all(VaryingModel, document.get("varying", ())),
            import_again=document.get("import_again"),
            memory_events=None if events is None else _all(MemoryEvent, events),
            document=document,
        )


def _optional(kind: type[T], document: Mapping[str, Any] | None) -> T | None:
    return None if document is None else kind(**document)


def _all(kind: type[T], documents: Iterable[Mapping[str, Any]]) -> tuple[T, ...]:
    return tuple(kind(**document) for document in documents)
