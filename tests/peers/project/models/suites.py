"""Each model runs a part of a library's own tests in its process and returns what came of each."""

import ctypes

import pyarrow as pa
import pytest
import zerrow

# Parts that allocate, map, resize, share and fork; chosen so that all of them take a minute or so.
SUITES = {
    "numpy": [
        "numpy._core.tests.test_array_coercion",
        "numpy._core.tests.test_indexing",
        "numpy._core.tests.test_item_selection",
        "numpy._core.tests.test_mem_overlap",
        "numpy._core.tests.test_memmap",
        "numpy._core.tests.test_numeric",
        "numpy._core.tests.test_regression",
        "numpy._core.tests.test_shape_base",
        "numpy.lib.tests.test_arraypad",
        "numpy.lib.tests.test_function_base",
        "numpy.linalg.tests.test_linalg",
    ],
    "pandas": [
        "pandas.tests.copy_view",
        "pandas.tests.internals",
        "pandas.tests.libs",
        "pandas.tests.reshape.concat",
        "pandas.tests.frame.methods.test_sort_values",
        "pandas.tests.test_algos",
        "pandas.tests.test_take",
    ],
    "pyarrow": [
        "pyarrow.tests.test_array",
        "pyarrow.tests.test_builder",
        "pyarrow.tests.test_io",
        "pyarrow.tests.test_ipc",
        "pyarrow.tests.test_pandas",
        "pyarrow.tests.test_table",
    ],
}

OPTIONS = [
    "-q",
    "--config-file=/dev/null",
    "--tb=short",
    "-p",
    "no:cacheprovider",
    "--hypothesis-seed=0",
    "-m",
    "not slow and not large_memory and not network",
]


class Outcomes:
    """A plugin of pytest's that notes how each test ended; errors at its borders count too."""

    def __init__(self) -> None:
        self.by_test: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.by_test[report.nodeid] = report.outcome

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.by_test[f"collecting {report.nodeid}"] = "failed"


def served_allocations() -> int:
    """How many allocations of this process the shim has served; -1 where it isn't loaded."""
    stats = (ctypes.c_uint64 * 10)()
    try:
        ctypes.CDLL(None).zerrow_shim_get_stats(stats)
    except AttributeError:
        return -1
    return stats[0]


def run_suite(library: str) -> pa.Table:
    """The tests and their outcomes, and for all the same count of served allocations."""
    outcomes = Outcomes()
    pytest.main([*OPTIONS, "--pyargs", *SUITES[library]], plugins=[outcomes])
    served = served_allocations()
    return pa.table(
        {
            "test": pa.array(outcomes.by_test.keys(), pa.string()),
            "outcome": pa.array(outcomes.by_test.values(), pa.string()),
            "served": pa.array([served] * len(outcomes.by_test), pa.int64()),
        }
    )


@zerrow.model()
def numpy_suite() -> pa.Table:
    return run_suite("numpy")


@zerrow.model()
def pandas_suite() -> pa.Table:
    return run_suite("pandas")


@zerrow.model()
def pyarrow_suite() -> pa.Table:
    return run_suite("pyarrow")
