"""What a check of a table found: what expectations return and runs report."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, eq=False)
class Finding:
    """Whether a table is as expected, and if not, why and in which rows; true if it is.

    Attributes:
        check: the name of the function that looked.
        met: whether all is as expected.
        message: why it isn't, in one line; empty if it is.
        count: how many rows aren't; None where it isn't about single rows.
        rows: the first few of these.
    """

    check: str
    met: bool
    message: str = ""
    count: int | None = None
    rows: "pa.Table | None" = field(default=None, repr=False)

    def __bool__(self) -> bool:
        if not self.met:
            _unmet.append(self)
            del _unmet[:-1]
        return self.met


# The last one that somebody found to be false: an `assert` of it says nothing of the rows.
_unmet: list[Finding] = []


def asserted(statement: str) -> Finding | None:
    """The finding that this statement has asserted in vain."""
    return _unmet[-1] if _unmet and f"{_unmet[-1].check}(" in statement else None
