"""Sizes in bytes as a user writes them: `1GB`, `512MiB`, `1000000`."""

import re
from decimal import Decimal

_UNITS = ("", "k", "m", "g", "t", "p", "e")
_MOST = 2**50  # beyond it is a mistake; the engine takes no more


def parse_bytes(size: object) -> int:
    """The bytes that a number, or a text such as "2GB" (10^9) or "2GiB" (2^30), stands for.

    Raises ValueError, which says what a size looks like.
    """
    refused = ValueError(f'must be a size such as "2GB", "512MiB" or 1000000, not {size!r}')
    if isinstance(size, str):
        found = re.fullmatch(
            r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgtpe]?)(i?)b?\s*", size, re.IGNORECASE
        )
        if found is None or (not found[2] and (found[3] or "." in found[1])):
            raise refused
        if len(found[1]) > len(str(_MOST)):
            raise refused
        unit = (1024 if found[3] else 1000) ** _UNITS.index(found[2].lower())
        size = round(Decimal(found[1]) * unit)
    if not isinstance(size, int) or isinstance(size, bool) or not 0 < size <= _MOST:
        raise refused
    return size
