"""uv, which resolves packages to versions and installs them."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

_LONGEST_TEXT = 8_000  # characters of what it says
# How it begins to tell a failure, and what of the rest says that a long wait has a reason.
_FAILURE = ("error", "\N{MULTIPLICATION SIGN}")
_PROGRESS = ("Downloading ", "Building ", "Updating ")


def say(text: str) -> None:
    """Tells the user what takes long."""
    print(text, file=sys.stderr, flush=True)


class InstallError(Exception):
    """An environment can't be made: why, in words for the user."""


class Uv:
    """The installed uv, run in the current folder, with the user's settings for it."""

    def __init__(self) -> None:
        """Raises InstallError if there is no uv."""
        self._program = _find()

    def resolve(self, python: str, requirements: list[str], constraints: list[str]) -> str:
        """The versions to install for that interpreter, with their files' hashes."""
        with _file_of(requirements) as wanted, _file_of(constraints) as known:
            constraining = ["--constraints", f"/proc/self/fd/{known.fileno()}"]
            return self._run(
                *("pip", "compile", "--quiet", "--no-header", "--no-annotate"),
                *("--generate-hashes", *constraining, "--python", python, "-"),
                stdin=wanted,
                pass_fds=[known.fileno()],
            )

    def create(self, python: str, folder: Path) -> None:
        """Makes an environment without packages, which may be moved."""
        self._run(
            *("venv", "--quiet", "--no-project", "--relocatable", "--allow-existing"),
            *("--python", python, str(folder)),
        )

    def install(self, folder: Path, versions: Path) -> None:
        """Installs exactly these."""
        self._run("pip", "sync", "--python", str(folder / "bin/python"), str(versions))

    def _run(
        self,
        *arguments: str,
        stdin: IO[str] | int = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
    ) -> str:
        environment = dict(os.environ)
        environment.pop("VIRTUAL_ENV", None)
        environment |= {"UV_NO_PROGRESS": "1", "NO_COLOR": "1", "UV_PYTHON_DOWNLOADS": "never"}
        said = []
        with (
            _file_of([]) as output,
            subprocess.Popen(
                [self._program, *arguments],
                stdin=stdin,
                stdout=output,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env=environment,
                pass_fds=pass_fds,
            ) as process,
        ):
            assert process.stderr is not None
            for line in process.stderr:
                said.append(line.rstrip())
                if line.lstrip().startswith(_PROGRESS):
                    say(line.strip())
            if process.wait() != 0:
                raise InstallError(_words(said) or f"uv ended with status {process.returncode}")
            output.seek(0)
            return output.read()


def _file_of(lines: list[str]) -> IO[str]:
    """Without a name, so that nothing stays of it."""
    file = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
    file.writelines(f"{line}\n" for line in lines)
    file.seek(0)
    return file


def _words(said: list[str]) -> str:
    """What uv says of a failure, without what it said before."""
    begins = (i for i, line in enumerate(said) if line.lstrip().startswith(_FAILURE))
    text = "\n".join(said[next(begins, 0) :]).strip()
    return text.removeprefix("error: ")[:_LONGEST_TEXT]


def _find() -> str:
    """The program: not by importing its package, which a file of the project could stand for."""
    folders = [
        sysconfig.get_path("scripts"),
        os.path.dirname(sys.executable),
        sysconfig.get_path("scripts", f"{os.name}_user"),
    ]
    found = shutil.which("uv", path=os.pathsep.join(folders)) or shutil.which("uv")
    if found is None:
        raise InstallError("uv isn't there, which installs packages: pip install uv")
    return found
