"""Projects that were written for Bauplan: `import bauplan`, and which files are theirs.

docs/bauplan.md says what of Bauplan works. Its own package isn't needed, and isn't used where it is
installed: its decorators note nothing.
"""

import glob
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Literal, NoReturn

from zerrow import _declarations, _decorators, _schemas
from zerrow._errors import ProjectError, did_you_mean
from zerrow._project.place import error

_SAME = {
    _declarations: ("Model", "Parameter"),
    _decorators: ("expectation", "model", "python", "resources"),
    _schemas: (
        *("Binary", "Bool", "Date32", "Date64", "Float64", "Int32", "Int64", "String"),
        *("TimestampMicro", "TimestampMicroUTC", "TimestampNano", "TimestampNanoUTC"),
        *("TableField", "TableSchema"),
    ),
}


class Client:
    """Stands for Bauplan's client, so that files which import it can be imported."""

    def __init__(self, *_arguments: object, **_keywords: object) -> None:
        raise ProjectError(
            "bauplan.Client talks to Bauplan's catalog, and Zerrow has none: a model gets its "
            "tables as arguments",
            *_declarations.caller(),
        )


def provide_module() -> None:
    """Makes `import bauplan` give Zerrow's declarations in this process."""
    if getattr(sys.modules.get("bauplan"), "__zerrow__", False):
        return
    module = ModuleType("bauplan", "Zerrow's declarations under Bauplan's names.")
    for origin, names in _SAME.items():
        for name in names:
            setattr(module, name, getattr(origin, name))
    expectations = ModuleType("bauplan.standard_expectations")
    expectations.__getattr__ = _standard_expectation  # type: ignore[method-assign]
    module.__dict__.update(
        __zerrow__=True,
        __path__=[],
        __getattr__=_missing,
        Any=_schemas.Arrow,
        Client=Client,
        ModelCacheStrategy=Literal["NONE", "DEFAULT"],
        ModelMaterializationStrategy=Literal["NONE", "REPLACE", "APPEND", "OVERWRITE_PARTITIONS"],
        standard_expectations=expectations,
    )
    sys.modules["bauplan"] = sys.modules["bauplan_sdk_types"] = module
    sys.modules["bauplan.standard_expectations"] = expectations


def _standard_expectation(name: str) -> object:
    return getattr(importlib.import_module("zerrow.standard_expectations"), name)


def _missing(name: str) -> NoReturn:
    raise AttributeError(f"bauplan.{name} is not there in Zerrow (docs/bauplan.md)")


def own_files(
    files: list[str], include_paths: list[tuple[str, int]] | None, project_dir: Path
) -> list[str]:
    """Those of the files that Bauplan would read: beside its project file, or in `include_paths`.

    `include_paths`: patterns, each with its line; None in a project of Zerrow's own, which has all.
    Raises ProjectError.
    """
    if include_paths is None:
        return files
    chosen = {name for name in files if os.sep not in name}
    for pattern, line in include_paths:
        if not pattern.endswith(".sql") or os.path.isabs(pattern) or ".." in Path(pattern).parts:
            raise error(
                f"include_paths: {pattern!r} must end in .sql and stay in the project's folder",
                line,
            )
        found = glob.glob(pattern, root_dir=project_dir, recursive=True)
        if not found:
            raise error(f"include_paths: no file is named as {pattern!r}", line)
        chosen.update(map(os.path.normpath, found))
    root = os.path.realpath(project_dir)
    return [
        name
        for name in files
        if name in chosen and os.path.realpath(project_dir / name).startswith(root + os.sep)
    ]


def find_schema(name: str) -> type[_schemas.TableSchema]:
    """The class that a SQL file names. LookupError that says why there isn't one."""
    known: dict[str, dict[str, type[_schemas.TableSchema]]] = {}
    for schema in _below(_schemas.TableSchema):
        known.setdefault(schema.__name__, {})[schema.__module__] = schema
    found = known.get(name, {})
    if not found:
        hint = did_you_mean(name, known)
        raise LookupError(f"no file of the project has a class {name} of TableSchema{hint}")
    if len(found) > 1:
        raise LookupError(f"several files have a class {name}: {', '.join(sorted(found))}")
    return next(iter(found.values()))


def _below(schema: type[_schemas.TableSchema]) -> Iterator[type[_schemas.TableSchema]]:
    for one in schema.__subclasses__():
        yield one
        yield from _below(one)
