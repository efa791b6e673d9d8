"""Functions of a Python session, such as a notebook's: how they come into a project.

`zerrow.run` makes a project of them, of one file, which calls `load`. They travel by cloudpickle
and not as source text: what they use of their session (helpers, constants, imports) comes along,
and loops and factories may have made them. The texts of their files travel as well, as there may be
no such files where they run: tracebacks show their lines.
"""

import linecache
import os
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zerrow._declarations import registered
from zerrow._errors import ProjectError

FILE = "zerrow_session.py"
_TEXT = """\
import zerrow
from zerrow._project import session

session.load(__name__, __file__)
assert zerrow.model  # what the file declares
"""

# What the files of a session's code are called, by the names that they have in it: "In[3]".
labels: dict[str, str] = {}


@dataclass(frozen=True)
class SourceText:
    """A file of a session as its user knows it, and what it says."""

    label: str
    text: str


def save(
    folder: Path, functions: bytes, modules: Mapping[str, str], texts: Mapping[str, SourceText]
) -> None:
    """Writes what `load` reads: pickled functions, their modules and their files' texts by name."""
    (folder / FILE).write_text(_TEXT)
    content = (list(sys.path), os.getcwd(), dict(texts), dict(modules), functions)
    _content(folder / FILE).write_bytes(pickle.dumps(content))


def load(module: str, file: str) -> None:
    """Declares the session's functions as if the module had, in the session's own folder."""
    path, folder, texts, modules, functions = pickle.loads(_content(Path(file)).read_bytes())
    # Modules that the session has imported from beside it.
    sys.path.extend(entry for entry in path if entry not in sys.path)
    os.chdir(folder)
    for name, source in texts.items():
        labels[name] = source.label
        lines = source.text.splitlines(keepends=True)
        linecache.cache[name] = (len(source.text), None, lines, name)
    for function in _unpickled(functions, modules):
        setattr(sys.modules[module], function.__name__, function)
        declaration = function.__zerrow__
        declaration.module = module
        if all(known is not declaration for known in registered):  # by the import of its module
            registered.append(declaration)


def _unpickled(functions: bytes, modules: Mapping[str, str]) -> list[Any]:
    try:
        found: list[Any] = pickle.loads(functions)
    except (ModuleNotFoundError, AttributeError) as problem:
        names = [f"{name}()" for name, module in modules.items() if repr(module) in str(problem)]
        raise ProjectError(
            f"{', '.join(names) or 'what the functions use'} can't be loaded in a process of its "
            f"own: {problem}. It is imported there from its module, as that is on disk: put the "
            "module's folder on sys.path, or define the function in the session itself"
        ) from None
    return found


def _content(file: Path) -> Path:
    return file.with_suffix(".pickle")
