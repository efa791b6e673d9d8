"""`zerrow.run` of functions of the current session: makes a project of them for one run."""

import contextlib
import inspect
import io
import json
import linecache
import marshal
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import CodeType
from typing import Any

from zerrow._declarations import Declaration
from zerrow._html import ipython_shell
from zerrow._project import session
from zerrow._run_errors import InvalidOptionsError

_TYPES = {bool: "bool", int: "int", float: "float"}


@contextlib.contextmanager
def project_of(
    functions: object, sources: Mapping[str, object] | None, parameters: Mapping[str, Any] | None
) -> Iterator[str]:
    """The folder of a project that consists of these functions; it goes with the block.

    Args:
        functions: decorated ones, or one.
        sources: by name a path, as in the project file but relative to this process's folder, or
            a table: pyarrow's, or what gives an Arrow stream.
        parameters: their names and values.

    Raises InvalidOptionsError.
    """
    listed = _decorated(functions)
    with tempfile.TemporaryDirectory(prefix="zerrow-session-") as name:
        folder = Path(name)
        paths = {
            table: _source(table, given, folder / f"source{i}.parquet")
            for i, (table, given) in enumerate((sources or {}).items())
        }
        described = {
            parameter: {"type": _TYPES.get(type(value), "str"), "required": True}
            for parameter, value in (parameters or {}).items()
        }
        project = {"name": "session", "sources": paths, "parameters": described}
        (folder / "zerrow_project.yml").write_text(json.dumps(project))  # YAML, too
        modules = {function.__name__: function.__module__ for function in listed}
        session.save(folder, _pickled(listed), modules, _texts(listed))
        yield name


def _decorated(functions: object) -> list[Callable[..., Any]]:
    listed: list[Any] = list(functions) if isinstance(functions, Iterable) else [functions]
    for function in listed:
        declaration = getattr(function, "__zerrow__", None)
        if not isinstance(declaration, Declaration) or declaration.kind is None:
            raise InvalidOptionsError(
                f"{function!r} is neither a project's folder nor a function with @zerrow.model or "
                "@zerrow.expectation"
            )
    return listed


def _source(table: object, given: object, path: Path) -> str:
    """Where it is; a table is written to `path`."""
    if not isinstance(table, str) or not table:
        raise InvalidOptionsError(f"sources are named by texts, not {table!r}")
    if isinstance(given, str | os.PathLike):
        return os.path.abspath(os.path.expanduser(os.fspath(given)))
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        pq.write_table(given if isinstance(given, pa.Table) else pa.table(given), path)
    except (pa.ArrowException, TypeError, ValueError, OSError) as problem:
        raise InvalidOptionsError(
            f"source {table!r} is neither a path nor a table that a Parquet file can hold: "
            f"{problem}"
        ) from problem
    return str(path)


def _pickled(functions: list[Callable[..., Any]]) -> bytes:
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        """Keeps what cloudpickle leaves out of code: the name of its file, for tracebacks."""

        dispatch_table = cloudpickle.Pickler.dispatch_table.new_child(
            {CodeType: lambda code: (marshal.loads, (marshal.dumps(code),))}
        )

    for function in functions:
        # What texts of annotations mean is known here only.
        with contextlib.suppress(Exception):
            plain = inspect.unwrap(function)
            plain.__annotations__ = inspect.get_annotations(plain, eval_str=True)
    try:
        pickled = io.BytesIO()
        Pickler(pickled).dump(functions)
    except Exception as problem:
        raise InvalidOptionsError(
            f"the functions can't be sent to processes of their own: {problem}; tables come as "
            "sources, and what can't be pickled is made inside of the function"
        ) from problem
    return pickled.getvalue()


def _texts(functions: list[Callable[..., Any]]) -> dict[str, session.SourceText]:
    """Of the functions and of what they may call of the session's."""
    called = list(functions)
    for value in vars(sys.modules["__main__"]).values():
        if inspect.isfunction(value) and value.__module__ == "__main__":
            called.append(value)
    files = {inspect.unwrap(function).__code__.co_filename for function in called}
    return {
        file: session.SourceText(_label(file), "".join(linecache.getlines(file))) for file in files
    }


def _label(file: str) -> str:
    """What the session's user calls a file of its code: of a notebook's cell "In[3]"."""
    with contextlib.suppress(AttributeError):  # of no shell, or one that has no such names
        named = ipython_shell().compile.format_code_name(file)
        if named is not None:
            return str(named[1])
    return file
