"""Sums and products of integers: exact, or refused."""

import pyarrow as pa
import pytest
from zerrow._worker.tasks_native import apply

LARGE = 2**62


def aggregated(table, measure, by=()):
    operator = {"kind": "aggregate", "by": list(by), "measures": [["n", measure]]}
    return apply(table, operator)["n"].to_pylist()


@pytest.mark.parametrize(
    ("values", "type_", "measure"),
    [
        ([LARGE, LARGE], pa.int64(), "sum(x)"),
        ([-LARGE, -LARGE, -1], pa.int64(), "sum(x)"),
        ([2**63, 2**63], pa.uint64(), "sum(x)"),
        ([2**40, 2**40], pa.int64(), "product(x)"),
    ],
)
def test_what_64_bits_do_not_hold_is_refused(values, type_, measure):
    table = pa.table({"x": pa.array(values, type_), "k": [1] * len(values)})
    for by in ((), ("k",)):
        with pytest.raises(ValueError, match=r"n: .* is larger than 64 bits"):
            aggregated(table, measure, by)


def test_large_values_whose_sum_is_not_are_summed():
    table = pa.table({"x": [LARGE, LARGE, -LARGE, -LARGE, None], "k": [1, 2, 1, 2, 3]})
    assert aggregated(table, "sum(x)") == [0]
    assert aggregated(table, "sum(x)", ["k"]) == [0, 0, None]
    small = pa.table({"x": pa.array([127, 127], pa.int8())})
    assert aggregated(small, "sum(x)") == [254]
    assert aggregated(small, "product(x)") == [127 * 127]
