from collections.abc import Mapping, Sequence
from typing import Literal

import pyarrow as pa

MAX_JOBS: int
MAX_PRIORITY: int

class TableHandle:
    def open(self) -> pa.Table: ...

# What happens to a run: what is going to run, in topological order; a model that starts, with the
# seconds that it took in earlier runs; bytes of memory by model, of those that run; a model that
# has finished, with its status; a line that a function printed to stream 1 or 2.
Event = (
    tuple[Literal["planned"], list[str]]
    | tuple[Literal["started"], str, float | None]
    | tuple[Literal["measured"], dict[str, int]]
    | tuple[Literal["finished"], str, str]
    | tuple[Literal["line"], str, int, bytes]
)

class Run:
    @property
    def ended(self) -> bool: ...
    def wait(self, patience_s: float) -> Event | None: ...
    def cancel(self) -> None: ...
    def take_result(self) -> tuple[str, dict[str, TableHandle]]: ...

class Asked:
    def __init__(
        self,
        *,
        python_path: Sequence[str],
        environment: dict[bytes, bytes],
        project_dir: bytes,
        parameters: Mapping[str, str],
        select: Sequence[str],
        exclude: Sequence[str],
        jobs: int,
        backend: str,
        strict: bool,
        account: bool,
        cache: bool,
        content_reshare: bool,
        memory_limit_bytes: int | None,
        priority: int,
        explain_memory: bool,
        output_dir: bytes | None,
        keep: Sequence[str],
    ) -> None: ...

class Engine:
    @staticmethod
    def make(*, python: str, shim_path: str, zygote_idle_s: float) -> Engine: ...
    def submit(self, asked: Asked, *, umask: int) -> Run: ...
    def stop(self) -> None: ...

def submit_to_resident(asked: Asked, *, python: str) -> Run: ...
def resident_status() -> str: ...
