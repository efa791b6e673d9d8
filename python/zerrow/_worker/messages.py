"""The messages between the engine and its zygotes and workers, as Python writes and reads them.

docs/formats/worker_protocol.md says what they mean; tests/messages.json has one of each, by which
tests hold this side and the engine's to the same names. Types only: mypy knows the keys by them.
"""

from typing import Any, Literal, NotRequired, TypedDict


class Fork(TypedDict):
    """To a zygote."""

    op: Literal["fork"]
    worker: int
    run: NotRequired[int]
    imports: NotRequired[bool]


class EndRun(TypedDict):
    """To a zygote."""

    op: Literal["end_run"]
    run: int


class Namespaces(TypedDict):
    """Those that a zygote and its workers have of their own."""

    user_namespace: bool
    pid_namespace: bool
    mount_namespace: bool


class Ready(TypedDict):
    """From a zygote."""

    op: Literal["ready"]
    isolation: Namespaces
    shim: bool
    python: str


class Forked(TypedDict):
    """From a zygote."""

    op: Literal["forked"]
    worker: int


class Outcome(TypedDict):
    """How a worker ended."""

    wait_status: int
    cpu_s: float
    max_rss_bytes: int


class Exited(Outcome):
    """From a zygote."""

    op: Literal["exited"]
    worker: int


class Missing(TypedDict):
    """The same of a worker that wasn't forked, by an `error`, or is `lost` with its importer."""

    op: Literal["exited"]
    worker: int
    error: NotRequired[str]
    lost: NotRequired[str]


class InputSegment(TypedDict):
    """Memory that an input's message refers to; `fd` is a number of the task's descriptors."""

    id: int
    size: int
    fd: int


class TaskInput(TypedDict):
    """A table; of those that a source's task gets only what isn't optional."""

    parameter: str
    model: str
    format: str
    message: int
    rows: int
    message_id: NotRequired[int]
    segments: NotRequired[list[InputSegment]]
    columns: NotRequired[list[str] | None]
    filter: NotRequired[str | None]
    dictionary: NotRequired[str]


class Query(TypedDict):
    """One that is a SQL model for this once."""

    name: str
    sql: str
    file: str


class SourceFile(TypedDict):
    """Of a source's task."""

    path: str
    identity: list[int]
    partition: dict[str, int | str | None] | None


class SourceRead(TypedDict):
    """What one consumer needs of a source."""

    columns: list[str]
    filter: str | None
    dictionary: bool


class TaskBody(TypedDict):
    """To a worker; what isn't required belongs to some kinds of task."""

    op: Literal["task"]
    kind: str
    project_dir: str
    backend: str
    account: bool
    content_reshare: bool
    hash: bool
    parameters: dict[str, Any]
    environment: dict[str, str]
    columns: list[Any] | None  # names, or of a source its columns
    inputs: list[TaskInput]
    segment: NotRequired[int]
    broker: NotRequired[int]
    model: NotRequired[str]
    file: NotRequired[str]
    function: NotRequired[str]
    sql: NotRequired[str]
    engine: NotRequired[str]
    contract: NotRequired[str]
    operator: NotRequired[dict[str, Any]]
    rows: NotRequired[int | None]
    path: NotRequired[str]
    format: NotRequired[str]
    query: NotRequired[Query | None]
    lineage: NotRequired[bool]
    python: NotRequired[str]
    packages: NotRequired[list[str]]
    models: NotRequired[list[str]]
    folder: NotRequired[str]
    scratch: NotRequired[str]
    table: NotRequired[str]
    files: NotRequired[list[SourceFile]]
    reads: NotRequired[list[SourceRead]]
    have: NotRequired[list[tuple[int, int, str, bool]]]


class Importing(TypedDict):
    """From a worker that reads a project, before its answer."""

    op: Literal["importing"]
    file: str


class ToldEntry(TypedDict):
    """A column of a block, or of all blocks the values of their indices."""

    column: str
    rows: int
    decode_s: float
    block: NotRequired[int]
    dictionary: NotRequired[bool]
    values: NotRequired[bool]


class Decoded(TypedDict):
    """From a source's worker, before its answer."""

    op: Literal["decoded"]
    entries: list[ToldEntry]


class ScannedFile(TypedDict):
    """A source's file, as its footer has it."""

    schema: int
    blocks: list[tuple[int, int, int]]
    encoded: dict[str, int]


class Found(TypedDict):
    """What of a source there is, and each read needs."""

    schemas: list[str]
    files: list[ScannedFile]
    blocks: list[tuple[int | None, int]]
    reads: list[list[int]]


class Scanned(Found):
    """The answer of a source's worker."""

    op: Literal["scanned"]
    timings: dict[str, float]


class Output(TypedDict):
    """The answer with a table."""

    op: Literal["output"]
    format: str
    rows: int
    new_bytes: int
    reshared_bytes: int
    content_reshared_bytes: int
    copied_bytes: int
    duplicate_bytes: int | None
    hash: str | None
    timings: dict[str, float]


class Rows(TypedDict):
    """The value of a preview: names and types, rows, and how many there are."""

    columns: list[list[str]]
    rows: list[list[Any]]
    total_rows: int


class Expected(TypedDict):
    """The value of an expectation; the rest if it isn't met, as far as it is known."""

    met: bool
    message: NotRequired[str]
    file: NotRequired[str]
    line: NotRequired[int]
    traceback: NotRequired[str]
    offending: NotRequired[Rows]


class Prepared(TypedDict):
    """The value of an environment that is there."""

    folder: str
    python: str
    package_folder: str


class Result(TypedDict):
    """The answer without a table; of `discover` the value is the project's description."""

    op: Literal["result"]
    value: Any


class Error(TypedDict):
    """What went wrong, and where; an unknown place is empty, an unknown line 0."""

    message: str
    file: str
    line: int
    traceback: str


class Failed(TypedDict):
    """The answer where nothing came of a task."""

    op: Literal["failed"]
    error: Error
