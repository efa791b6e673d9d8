"""What the zygote imports, so that workers needn't: libraries, and what of Zerrow uses them.

A start takes as long as these imports do, so that a library is imported only if the project seems
to need it; the engine has looked (`GuessLibraries`). What it has overlooked a worker imports.
"""

import contextlib
import importlib
import os
import threading
from collections.abc import Iterator

# What is worth importing for a library that a project uses; importing it must not run anything.
_PRELOADED = {
    "pyarrow": ["pyarrow", "pyarrow.compute", "pyarrow.pandas_compat"],
    "pyarrow.parquet": [
        "pyarrow.parquet",
        "zerrow._worker.tasks_results",
        "zerrow._worker.tasks_source",
    ],
    "numpy": ["numpy"],
    "yaml": ["zerrow._project.discovery"],
    "pandas": ["pandas"],
    "polars": ["polars"],
    "duckdb": ["duckdb"],
    "datafusion": ["datafusion"],
    "sqlglot": [
        "sqlglot.dialects.duckdb",
        "sqlglot.dialects.postgres",
        "zerrow._sql.filters",
        "zerrow._sql.query_plans",
        "zerrow._project.sql_models",
        "zerrow._worker.tasks_sql",
    ],
}
# DataFusion's allocator gives the importing thread 32 MiB that can't be shared. If that were the
# main thread, with which workers go on, outputs that fit in there would have to be copied.
_PRELOADED_APART = {"datafusion"}
# What nearly every worker needs; a broken one is an error at once.
_OWN = [
    "zerrow._worker.worker",
    "zerrow._worker.tasks_discover",
    "zerrow._worker.tasks_environment",
    "zerrow._worker.tasks_native",
    "zerrow._worker.tasks_python",
]


def preload(names: str) -> None:
    """Imports these libraries, separated by commas, and what nearly every worker needs."""
    with _sleepy_blas():
        _import_library("numpy")
    wanted = ["pyarrow", "yaml", *filter(None, names.split(","))]
    for name in wanted:
        if name not in _PRELOADED_APART:
            _import_library(name)
    _check_arrow()
    for own in _OWN:
        importlib.import_module(own)
    with contextlib.suppress(Exception):
        _meet_pandas()
    for name in _PRELOADED_APART.intersection(wanted):
        importing = threading.Thread(target=_import_library, args=[name])
        importing.start()
        importing.join()


def _import_library(name: str) -> None:
    for module in _PRELOADED.get(name, []):
        # Not installed, or broken: the function that imports it will say so.
        with contextlib.suppress(Exception):
            importlib.import_module(module)


def _check_arrow() -> None:
    """Another one would be there beside the one that Zerrow's modules load, without an error."""
    import pyarrow as pa
    from zerrow._native import ARROW_VERSION

    if pa.cpp_version != ARROW_VERSION:
        raise ImportError(f"{pa.__file__} is Arrow {pa.cpp_version}; Zerrow needs {ARROW_VERSION}")


@contextlib.contextmanager
def _sleepy_blas() -> Iterator[None]:
    """The threads that OpenBLAS starts when it is loaded look for work for 2**28 cycles, 0.1 s, and
    after each of its calls in a worker again; this lets them sleep after 2**20. What the user has
    set holds.
    """
    name = "OPENBLAS_THREAD_TIMEOUT"
    if name in os.environ:
        yield
        return
    os.environ[name] = "20"
    yield
    del os.environ[name]


def _meet_pandas() -> None:
    """Where it makes its first array of Python's values pyarrow imports pandas, if there is one.

    Nearly every function makes one.
    """
    import pyarrow as pa

    pa.scalar(True)
