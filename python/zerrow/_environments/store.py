"""The folder in which environments are kept, shared by all runs and engines of a user.

    locks/HASH.txt            which versions a request was resolved to, by the request's hash
    HASH/                     an environment that is complete, by the hash of its versions
    HASH/environment.json     what it is, for `zerrow env ls`
    HASH/packages/*/zerrow    a link to Zerrow's package, one for each installation that uses it
    .HASH.lock                held while that environment is made
    .lock                     held while a folder for a new one is made
    .new-*  .old-*            being made, or removed

A new environment gets its name when it is complete, in one step. Who makes one holds a lock on its
folder, and so does who uses one: what isn't held and has no final name belongs to nobody any more.
"""

import contextlib
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ABOUT = "environment.json"
_PACKAGE = Path(__file__).parents[1]


def own_packages() -> list[str] | None:
    """What this process's environment was made for; None if it is none of these."""
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
        packages: list[str] = json.loads(Path(sys.prefix, _ABOUT).read_text())["packages"]
        return packages
    return None


@dataclass(frozen=True)
class Environment:
    """One that is complete."""

    folder: Path
    about: dict[str, Any]  # packages, python, resolved, created

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def used(self) -> float:
        """When a run needed it last, in seconds since the epoch."""
        return (self.folder / _ABOUT).stat().st_mtime

    def size(self) -> int:
        """Bytes on disk; uv shares most of its files with its own cache."""
        files = (Path(folder, name) for folder, _, names in os.walk(self.folder) for name in names)
        return sum(file.lstat().st_blocks * 512 for file in files)


class Store:
    """The environments in a folder, which is made when it is needed. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resolved(self, request: str) -> str | None:
        """The versions that the request of this hash was resolved to."""
        with contextlib.suppress(FileNotFoundError):
            return self._lock_file(request).read_text()
        return None

    def keep_resolved(self, request: str, versions: str) -> str:
        """Keeps them, unless another run was faster: then that one's, so that all have the same."""
        file = self._lock_file(request)
        file.parent.mkdir(parents=True, exist_ok=True)
        own = file.with_name(f".{file.name}-{os.getpid()}-{os.urandom(4).hex()}")
        own.write_text(versions)
        try:
            with contextlib.suppress(FileExistsError):
                os.link(own, file)
        finally:
            own.unlink()
        return file.read_text()

    def _lock_file(self, request: str) -> Path:
        return self.folder / "locks" / f"{request}.txt"

    def find(self, key: str) -> Environment | None:
        """The environment of that hash, if it is there and its interpreter still is."""
        folder = self.folder / key
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError):
            found = Environment(folder, json.loads((folder / _ABOUT).read_text()))
            return found if os.access(found.python, os.X_OK) else None
        return None

    def note_use(self, environment: Environment) -> None:
        """It counts as used now."""
        os.utime(environment.folder / _ABOUT)

    def making(self, key: str, on_wait: Callable[[], None]) -> AbstractContextManager[None]:
        """Held by one process at a time; `on_wait` is called if this one has to wait for it."""
        return self._locked(f".{key}.lock", on_wait)

    @contextlib.contextmanager
    def _locked(self, name: str, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _lock(fd):
                on_wait()
                fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def new_folder(self, folder: Path) -> Iterator[None]:
        """An empty `folder` for an environment that is made inside of the block.

        What others have left behind is removed before, and afterwards what `complete` hasn't taken.
        """
        with self._locked(".lock"):
            self.sweep()
            folder.mkdir()
            fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            _lock(fd)
        try:
            yield
        finally:
            os.close(fd)
            shutil.rmtree(folder, ignore_errors=True)

    def complete(self, folder: Path, key: str, about: dict[str, Any]) -> Environment:
        """Gives a new environment its name."""
        (folder / _ABOUT).write_text(json.dumps(about, indent=1))
        final = self.folder / key
        if final.exists():  # its interpreter is gone, or it wouldn't be made again
            self._discard(final)
        os.rename(folder, final)
        return Environment(final, about)

    def sweep(self) -> None:
        """Removes what was being made or removed by processes that were killed."""
        for folder in [*self.folder.glob(".new-*"), *self.folder.glob(".old-*")]:
            with _held(folder) as held:
                if held:
                    shutil.rmtree(folder, ignore_errors=True)

    def environments(self) -> list[Environment]:
        """All that are complete, the one used last first."""
        found = [self.find(path.name) for path in self.folder.glob("[0-9a-f]*")]
        return sorted(filter(None, found), key=Environment.used, reverse=True)

    def clear(self) -> tuple[list[Environment], list[Environment]]:
        """Removes all that no run is using; which these were, and which are used."""
        removed: list[Environment] = []
        kept: list[Environment] = []
        for environment in self.environments():
            with _held(environment.folder) as held:
                if held:
                    self._discard(environment.folder)
                (removed if held else kept).append(environment)
        shutil.rmtree(self.folder / "locks", ignore_errors=True)
        if self.folder.exists():
            with self._locked(".lock"):
                self.sweep()
        return removed, kept

    def _discard(self, folder: Path) -> None:
        """First its name, so that nobody takes it for complete meanwhile."""
        old = self.folder / f".old-{folder.name}-{os.urandom(4).hex()}"
        os.rename(folder, old)
        shutil.rmtree(old, ignore_errors=True)

    @staticmethod
    def link_package(folder: Path) -> Path:
        """A folder, in that of an environment, where Zerrow's package alone is found.

        The folder that it is installed in has all packages that are installed beside it.
        """
        # One for each installation: the package belongs to the engine, not to the environment.
        own = folder / "packages" / _PACKAGE.as_posix().strip("/").replace("/", "-")[-200:]
        own.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.symlink(_PACKAGE, own / "zerrow")
        return own


def _lock(fd: int) -> bool:
    """Whether it could be locked at once."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Whether nobody else holds the folder; then nobody will as long as the block lasts."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        yield _lock(fd)
    finally:
        os.close(fd)
