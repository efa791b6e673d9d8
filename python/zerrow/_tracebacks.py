"""Tracebacks as a user wants them: the frames of the project's own files, and where it happened."""

import os
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType


@dataclass(frozen=True)
class Failure:
    """An exception in a user's code: `file`, relative to the project, and `line` may be unknown."""

    message: str
    file: str
    line: int
    traceback: str


def describe_failure(problem: BaseException, project_dir: str | Path) -> Failure:
    """Where in the project an exception came from, with the frames of the project's files only.

    The innermost of them is its place, as what fails further inside is a library that was called.
    """
    root = os.path.realpath(project_dir)
    frames = _user_frames(problem.__traceback__, root)
    message = one_line(problem)
    if isinstance(problem, SyntaxError) and problem.filename:
        file = relative_file(problem.filename, root)
        if file is not None:
            return Failure(message, file, problem.lineno or 0, _formatted(problem, frames, root))
    if not frames:
        return Failure(message, "", 0, "".join(traceback.format_exception_only(problem)))
    last = frames[-1]
    file = relative_file(last.filename, root) or ""
    return Failure(message, file, last.lineno or 0, _formatted(problem, frames, root))


def one_line(problem: BaseException) -> str:
    """The exception's type and the first line of its message."""
    if isinstance(problem, SyntaxError):
        return f"{type(problem).__name__}: {problem.msg}"
    text = str(problem).strip().split("\n")[0]
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__


def relative_file(file: str, root: str) -> str | None:
    """`file` relative to the project's (real) folder; None if it isn't the user's own.

    A virtual environment inside the project's folder holds libraries, not the user's code.
    """
    if file.startswith("<"):  # "<frozen importlib._bootstrap>", "<string>"
        return None
    folder, name = os.path.split(os.path.abspath(file))
    path = os.path.join(os.path.realpath(folder), name)  # a file may be a link to somewhere else
    if not path.startswith(root.rstrip(os.sep) + os.sep):
        return None
    relative = os.path.relpath(path, root)
    folders = relative.split(os.sep)[:-1]
    hidden = any(part.startswith(".") or part in ("site-packages", "venv") for part in folders)
    return None if hidden else relative


def _user_frames(trace: TracebackType | None, root: str) -> list[traceback.FrameSummary]:
    return [
        frame
        for frame in traceback.extract_tb(trace)
        if relative_file(frame.filename, root) is not None
    ]


def _formatted(problem: BaseException, frames: list[traceback.FrameSummary], root: str) -> str:
    """As Python prints it, with the causes, but of each only the user's frames."""
    parts: list[str] = []
    cause = problem.__cause__
    if cause is None and not problem.__suppress_context__:
        cause = problem.__context__
    if cause is not None and cause is not problem:
        parts.append(_formatted(cause, _user_frames(cause.__traceback__, root), root))
        parts.append("\nwhich led to:\n\n")
    if frames:
        parts.append("Traceback (your frames only):\n")
        for frame in frames:
            shown = relative_file(frame.filename, root)
            parts.append(f'  File "{shown}", line {frame.lineno}, in {frame.name}\n')
            if frame.line:
                parts.append(f"    {frame.line}\n")
    parts.extend(traceback.format_exception_only(problem))
    return "".join(parts)
