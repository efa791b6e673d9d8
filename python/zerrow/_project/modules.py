"""Finds and imports the Python files of a project that declare models.

Runs in a worker only: importing a user's file runs the user's code.
"""

import ast
import contextlib
import importlib
import importlib.util
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, ModuleType

from zerrow._errors import ProjectError
from zerrow._project.bauplan import provide_module
from zerrow._project.place import BAUPLANS, FILE
from zerrow._project.tracebacks import one_line

_DECLARING = {"model", "expectation", "python", "resources", "TableSchema"}
_PACKAGES = {"zerrow", "bauplan", "bauplan_sdk_types"}
_SKIPPED_FOLDERS = {"tests", "test", "venv", "env", "node_modules", "site-packages", "__pycache__"}


# How far a timer may be from where it was set: rounding.
_OWN_TIMER_S = 0.1


class ImportTimeoutError(Exception):
    """Importing a file took too long; raised inside of what it was doing."""


@dataclass(frozen=True)
class PythonFile:
    """A file that declares models: its path relative to the project, and what it imports."""

    path: str
    imports: list[str]  # top-level names of libraries, without Python's own and the project's
    has_packages: bool  # some function of it has packages of its own


def project_files(project_dir: Path, suffix: str) -> list[str]:
    """The project's files with the suffix, relative to it; no tests, hidden or library folders."""
    found: list[str] = []
    for folder, folders, files in os.walk(project_dir):
        relative = os.path.relpath(folder, project_dir)
        folders[:] = sorted(
            name
            for name in folders
            if name not in _SKIPPED_FOLDERS
            and not name.startswith(".")
            and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
            and not any(  # a project of its own
                os.path.exists(os.path.join(folder, name, file)) for file in (FILE, *BAUPLANS)
            )
        )
        found.extend(
            os.path.normpath(os.path.join(relative, name))
            for name in files
            if name.endswith(suffix) and not name.startswith(".")
        )
    return sorted(found)


def find_python_files(
    project_dir: Path, files: list[str]
) -> tuple[list[PythonFile], list[ProjectError]]:
    """Those of the files that declare models or schemas, without importing any of them.

    Others, helpers and scripts, are imported only if one of these imports them. A file that
    mentions zerrow and isn't Python is an error.
    """
    found: list[PythonFile] = []
    problems: list[ProjectError] = []
    for path in files:
        name = os.path.basename(path)
        if name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py":
            continue
        try:
            source = (project_dir / path).read_bytes()
            if b"zerrow" not in source and b"bauplan" not in source:
                continue
            tree = ast.parse(source, filename=path)
        except (SyntaxError, ValueError, OSError, RecursionError) as problem:
            line = problem.lineno if isinstance(problem, SyntaxError) else 1
            problems.append(ProjectError(one_line(problem), path, line or 0))
            continue
        if _declares(tree):
            found.append(PythonFile(path, _libraries(tree, project_dir), _has_packages(tree)))
    return found, problems


def _declares(tree: ast.Module) -> bool:
    """Whether the file uses one of the decorators, under whatever name it imported it."""
    modules = set(_PACKAGES)
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules.update(a.asname or a.name for a in node.names if a.name in _PACKAGES)
        elif isinstance(node, ast.ImportFrom) and node.module in _PACKAGES and not node.level:
            names.update(a.asname or a.name for a in node.names if a.name in _DECLARING)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in names:
            return True
        if (
            isinstance(node, ast.Attribute)
            and node.attr in _DECLARING
            and isinstance(node.value, ast.Name)
            and node.value.id in modules
        ):
            return True
    return False


def _has_packages(tree: ast.Module) -> bool:
    """Whether something is called with `pip=`, as @zerrow.python is."""
    return any(isinstance(node, ast.keyword) and node.arg == "pip" for node in ast.walk(tree))


def _libraries(tree: ast.Module, project_dir: Path) -> list[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return sorted(
        name
        for name in names
        if name not in _PACKAGES
        and name not in sys.stdlib_module_names
        and not (project_dir / name).is_dir()
        and not (project_dir / f"{name}.py").exists()
    )


def load_module(project_dir: str | Path, file: str) -> ModuleType:
    """Imports a project's file, by its dotted name where it has one, so that pickling works.

    A file whose name is no identifier, or the name of a library that is loaded already, gets a name
    of its own. Raises whatever the file raises.
    """
    provide_module()
    root = os.path.abspath(project_dir)
    path = os.path.join(root, file)
    if root not in sys.path:
        sys.path.insert(0, root)
    dotted = file.removesuffix(".py").replace(os.sep, ".").removesuffix(".__init__")
    if all(part.isidentifier() for part in dotted.split(".")) and _leads_to(dotted, path):
        return importlib.import_module(dotted)
    own = "zerrow_project." + re.sub(r"\W", lambda found: f"_{ord(found[0]):x}_", dotted)
    if own in sys.modules:
        return sys.modules[own]
    spec = importlib.util.spec_from_file_location(own, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} can't be imported", path=path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[own] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[own]
        raise
    return module


def _leads_to(dotted: str, path: str) -> bool:
    """Whether importing `dotted` would load `path`, and not a library of the same name."""
    loaded = sys.modules.get(dotted)
    if loaded is not None:
        return _same(getattr(loaded, "__file__", None), path)
    if dotted.split(".", maxsplit=1)[0] in sys.builtin_module_names:
        return False
    try:
        spec = importlib.util.find_spec(dotted)
    except ModuleNotFoundError:  # what would be its package is a library's plain module
        return False
    return spec is not None and _same(spec.origin, path)


def _same(file: str | None, path: str) -> bool:
    return file is not None and os.path.realpath(file) == os.path.realpath(path)


def import_time_s() -> float:
    """How long importing a project's files may take, all together.

    The engine ends a worker that reads a project after $ZERROW_IMPORT_TIMEOUT_S; this is less, as
    an error from inside the import knows the line on which it hangs.
    """
    return 0.8 * float(os.environ.get("ZERROW_IMPORT_TIMEOUT_S") or 60)


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises ImportTimeoutError inside the block when it takes too long (in the main thread only).

    Code that never returns to the interpreter isn't stopped by this; the engine ends such a worker.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise ImportTimeoutError(f"it was still being imported after {seconds:.1f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    deadline = time.monotonic() + seconds
    try:
        yield
    finally:
        left, interval = signal.setitimer(signal.ITIMER_REAL, 0)
        if signal.getsignal(signal.SIGALRM) is stop:
            signal.signal(signal.SIGALRM, before)
        if left > 0 and abs(time.monotonic() + left - deadline) > _OWN_TIMER_S:
            signal.setitimer(signal.ITIMER_REAL, left, interval)  # the block has set another one
