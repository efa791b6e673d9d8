import pyarrow as pa

MAX_JOBS: int
MAX_PRIORITY: int

class TableHandle:
    def open(self) -> pa.Table: ...

class Run:
    @property
    def ended(self) -> bool: ...
    def wait(self, patience_s: float) -> tuple[str, int, bytes] | None: ...
    def cancel(self) -> None: ...
    def take_result(self) -> tuple[str, dict[str, TableHandle]]: ...

class Asked:
    def __init__(
        self,
        *,
        python_path: list[str],
        environment: dict[bytes, bytes],
        project_dir: bytes,
        parameters: dict[str, str],
        select: list[str],
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
        keep: list[str],
    ) -> None: ...

class Engine:
    @staticmethod
    def make(*, python: str, shim_path: str, zygote_idle_s: float) -> Engine: ...
    def submit(self, asked: Asked, *, umask: int) -> Run: ...
    def stop(self) -> None: ...

def submit_to_resident(asked: Asked, *, python: str) -> Run: ...
def resident_status() -> str: ...
