"""What several models agree on: when a departure is late, and what a share is."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def is_late(delay_minutes: pa.ChunkedArray, late_after: int) -> pa.ChunkedArray:
    """True where a departure left more than `late_after` minutes behind schedule."""
    return pc.greater(delay_minutes, float(late_after))


def percent(part: float, whole: float) -> float:
    """`part` of `whole` in percent, with one decimal; 0 of nothing is 0."""
    return round(100.0 * part / whole, 1) if whole else 0.0
