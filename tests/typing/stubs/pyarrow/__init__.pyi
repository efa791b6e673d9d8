"""Pyarrow tells no types: what is of it may be anything, for pyright as it is for mypy."""

from typing import Any

def __getattr__(name: str) -> Any: ...
