from collections.abc import Callable

import pyarrow as pa

class CancelToken:
    @staticmethod
    def make() -> CancelToken: ...
    def cancel(self) -> None: ...

class TableHandle:
    def open(self) -> pa.Table: ...

def run(
    *,
    python: str,
    shim_path: str,
    python_path: list[str],
    project_dir: str,
    parameters: dict[str, str],
    select: list[str],
    jobs: int,
    backend: str,
    strict: bool,
    account: bool,
    output_dir: str | None,
    keep: list[str],
    cancel: CancelToken,
    on_line: Callable[[str, int, bytes], None],
) -> tuple[str, dict[str, TableHandle]]: ...
