"""Annotations that are texts, as `from __future__ import annotations` makes them, as values.

Names that only type checkers know (`if TYPE_CHECKING: import polars as pl`) have no value; what
stands for them remembers what they are called where they come from.
"""

import ast
import builtins
import functools
import inspect
import sys
import typing
from collections.abc import Mapping
from typing import Any

# Where nothing says what a name stands for.
_USUAL = {"np": "numpy", "pa": "pyarrow", "pd": "pandas", "pl": "polars", "t": "typing"}


class Absent:
    """Stands for something that isn't imported, and for what is made of it."""

    def __init__(self, dotted: str) -> None:
        self.dotted = dotted

    def __getattr__(self, name: str) -> "Absent":
        if name.startswith("__"):  # typing asks for such to tell types from each other
            raise AttributeError(name)
        return Absent(f"{self.dotted}.{name}")

    def __call__(self, *_args: object, **_keywords: object) -> "Absent":
        return self

    def __getitem__(self, _item: object) -> "Absent":
        return self

    def __or__(self, other: object) -> object:
        return typing.Union[self, other]  # noqa: UP007 - no type has an operator for it

    def __ror__(self, other: object) -> object:
        return typing.Union[other, self]  # noqa: UP007

    def __repr__(self) -> str:
        return self.dotted


class _Scope(dict[str, Any]):
    """The names of a place in the code, and all others as what stands for them."""

    def __init__(self, known: Mapping[str, Any], module: str) -> None:
        super().__init__()
        self._known = known  # not copied: a module may have thousands
        self._module = module

    def __missing__(self, name: str) -> object:
        if name in self._known:
            return self._known[name]
        if hasattr(builtins, name):
            raise KeyError(name)
        package, _, rest = full_name(name, self._module).partition(".")
        if package == "typing" and rest:
            return getattr(typing, rest)
        return typing if package == "typing" else Absent(f"{package}.{rest}" if rest else package)


def evaluate(text: str, known: Mapping[str, Any], module: str) -> Any:  # noqa: ANN401
    """The value of an annotation's text where `known` are the names. Raises what it raises."""
    # The user's own module is loaded: its annotations are code that it asked to have.
    return eval(text.strip(), {}, _Scope(known, module))


def full_name(dotted: str, module: str) -> str:
    """With its first word replaced by what the module's file imports under it."""
    first, _, rest = dotted.partition(".")
    found = {**_USUAL, **_imports(module)}.get(first, first)
    return f"{found}.{rest}" if rest else found


@functools.lru_cache(maxsize=4)
def _imports(module: str) -> dict[str, str]:
    """Name -> dotted name of all imports of the module's file, also those of type checkers."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError, KeyError, SyntaxError):
        return {}
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update({a.asname: a.name for a in node.names if a.asname})
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})
    return found
