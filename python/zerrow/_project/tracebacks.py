"""Tracebacks as a user wants them: the frames of the project's own files, and where it happened.

The exception comes from code that may have done anything to its process, and is an object of that
code's own: its text may raise, be endless or not be a text, and what the standard library needs to
print it may be gone. What is left then is told plainly.
"""

import functools
import os
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from os.path import isfile, join, realpath
from pathlib import Path
from types import TracebackType

from zerrow._project import session

_LONGEST_MESSAGE = 2_000  # characters
_LONGEST_TEXT = 20_000  # of one exception in a traceback
_MOST_FRAMES = 60
_MOST_CAUSES = 20
_MOST_GROUPED = 10
_DEEPEST_GROUP = 3

# A class may have a name of its own making; this is the one that it was defined with.
_name_of = type.__dict__["__name__"].__get__


@dataclass(frozen=True)
class Failure:
    """An exception in a user's code: `file`, relative to the project, and `line` may be unknown."""

    message: str
    file: str
    line: int
    traceback: str
    statement: str = ""  # the text of that line


def describe_failure(problem: BaseException, project_dir: str | Path) -> Failure:
    """Where in the project an exception came from, with the frames of the project's files only.

    The innermost of them is its place, as what fails further inside is a library that was called.
    Never raises.
    """
    try:
        return _described(problem, realpath(project_dir))
    except BaseException:  # whatever user code has left in place of what this needs
        return _plainly(problem, str(project_dir))


def _described(problem: BaseException, root: str) -> Failure:
    frames = _user_frames(problem.__traceback__, root)
    message = one_line(problem)
    trace = _formatted(problem, root)
    if isinstance(problem, SyntaxError) and isinstance(problem.filename, str):
        file = relative_file(problem.filename, root)
        if file is not None:
            return Failure(message, file, problem.lineno or 0, trace)
    if not frames:
        return Failure(message, "", 0, trace)
    file, last = frames[-1]
    return Failure(message, file, last.lineno or 0, trace, last.line or "")


def _plainly(problem: BaseException, root: str) -> Failure:
    """With nothing but the interpreter itself."""
    message = one_line(problem)
    place = ("", 0)
    trace = problem.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if str.startswith(file, root + "/") and "/site-packages/" not in file:
            place = (file[len(root) + 1 :], trace.tb_lineno)
        trace = trace.tb_next
    return Failure(message, *place, message + "\n")


def one_line(problem: BaseException) -> str:
    """The exception's type and the first line of its message."""
    name = _name_of(type(problem))
    if isinstance(problem, SyntaxError) and isinstance(problem.msg, str):
        return f"{name}: {problem.msg}"
    text = _shortened(text_of(problem).strip().split("\n")[0], _LONGEST_MESSAGE)
    return f"{name}: {text}" if text else name


def text_of(problem: BaseException) -> str:
    """str() of the exception, or why there is none."""
    try:
        return str.__str__(str(problem))
    except BaseException as other:
        return f"(it has no text: its __str__ raised {_name_of(type(other))})"


def relative_file(file: str, root: str) -> str | None:
    """`file` relative to the project's (real) folder; None if it isn't the user's own. Of a
    session, what that calls it.

    A virtual environment inside the project's folder holds libraries, not the user's code. A name
    that isn't absolute is what somebody gave to the compiler (Cython does), and need not exist.
    """
    if file in session.labels:
        return session.labels[file]
    if file.startswith("<"):  # "<frozen importlib._bootstrap>", "<string>"
        return None
    folder, name = os.path.split(join(root, file))
    path = join(realpath(folder), name)  # a file may be a link to somewhere else
    if not path.startswith(root.rstrip(os.sep) + os.sep) or not isfile(path):
        return None
    relative = os.path.relpath(path, root)
    folders = relative.split(os.sep)[:-1]
    hidden = any(part.startswith(".") or part in ("site-packages", "venv") for part in folders)
    return None if hidden else relative


def _user_frames(
    trace: TracebackType | None, root: str
) -> list[tuple[str, traceback.FrameSummary]]:
    """The frames of the user's own files, each with the file's relative name."""
    relative = functools.cache(lambda file: relative_file(file, root))
    frames = traceback.extract_tb(trace)
    return [(file, frame) for frame in frames if (file := relative(frame.filename)) is not None]


def _formatted(problem: BaseException, root: str) -> str:
    """As Python prints it, with the causes, but of each only the user's frames."""
    chain = [_alone(link, root) for link in _causes(problem)]
    return "\nwhich led to:\n\n".join(reversed(chain))


def _causes(problem: BaseException) -> Iterator[BaseException]:
    """The exception, its cause, the cause's cause; each once, though they may form a circle."""
    seen: set[int] = set()
    link: BaseException | None = problem
    while link is not None and id(link) not in seen and len(seen) < _MOST_CAUSES:
        seen.add(id(link))
        yield link
        cause = link.__cause__
        if cause is None and not link.__suppress_context__:
            cause = link.__context__
        link = cause


def _alone(problem: BaseException, root: str, depth: int = 0) -> str:
    frames = _user_frames(problem.__traceback__, root)
    parts = ["Traceback (your frames only):\n"] if frames else []
    for i, (file, frame) in enumerate(frames):
        if _MOST_FRAMES // 2 <= i < len(frames) - _MOST_FRAMES // 2:
            if i == _MOST_FRAMES // 2:
                parts.append(f"  ... {len(frames) - _MOST_FRAMES} more frames\n")
            continue
        parts.append(f'  File "{file}", line {frame.lineno}, in {frame.name}\n')
        if frame.line:
            parts.append(f"    {frame.line}\n")
    text = "".join(traceback.format_exception_only(problem))
    parts.append(_shortened(text.rstrip("\n"), _LONGEST_TEXT) + "\n")
    if isinstance(problem, BaseExceptionGroup) and depth < _DEEPEST_GROUP:
        for i, member in enumerate(problem.exceptions[:_MOST_GROUPED], 1):
            inner = _alone(member, root, depth + 1).splitlines()
            parts.append(f"  of which {i}:\n" + "".join(f"    {line}\n" for line in inner))
        if len(problem.exceptions) > _MOST_GROUPED:
            parts.append(f"  and {len(problem.exceptions) - _MOST_GROUPED} more\n")
    return "".join(parts)


def _shortened(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return f"{text[:limit]}... ({len(text):,} characters)"
