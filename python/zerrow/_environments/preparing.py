"""An environment for what a model's packages ask: found, or resolved, installed and tried.

The versions of a request are resolved once and kept, so that it means the same in each run; what
they are decides which environment it is. So two requests may share one, and a second run asks
neither uv nor the network.
"""

import hashlib
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from zerrow._environments.store import Environment, Store
from zerrow._environments.uv import InstallError, Uv, say
from zerrow._packages import is_own

# pyarrow's binaries need it, and say so only when they are imported.
_CONSTRAINTS = ["numpy>=2"]


@dataclass(frozen=True)
class Wanted:
    """What models ask for: a Python's version and requirements, which `models` ask it."""

    python: str
    packages: tuple[str, ...]
    models: tuple[str, ...]
    arrow: str  # the version of pyarrow, which must be Zerrow's own

    @property
    def interpreter(self) -> str:
        """The Python that the environment is made with, as uv is told."""
        return sys.executable if is_own(self.python) else self.python

    def requirements(self) -> list[str]:
        """With Zerrow's own."""
        return [*self.packages, f"pyarrow=={self.arrow}"]

    def hash(self) -> str:
        """Of what decides which versions it is resolved to, what is available aside."""
        settings = [
            f"{name}={os.environ[name]}" for name in sorted(os.environ) if name[:3] == "UV_"
        ]
        return _hash(self._python(), *self.requirements(), *_CONSTRAINTS, *settings)

    def key(self, versions: str) -> str:
        """The environment's, for these versions."""
        return _hash(self._python(), versions)

    def _python(self) -> str:
        return (
            os.path.realpath(sys.executable) + sys.version if is_own(self.python) else self.python
        )

    def __str__(self) -> str:
        what = ", ".join(self.packages) or f"Python {self.python}"
        models = " and ".join(f"'{name}'" for name in self.models[:3])
        more = len(self.models) - 3
        return f"{what} for {models}" + (f" and {more} more" if more > 0 else "")


def prepare(store: Store, wanted: Wanted, scratch: Path) -> Environment:
    """The environment, made if it isn't there, in `scratch`. Raises InstallError, OSError."""
    request = wanted.hash()
    versions = store.resolved(request)
    if versions is None:
        versions = store.keep_resolved(request, _resolve(wanted))
    key = wanted.key(versions)
    environment = store.find(key)
    if environment is None:
        with store.making(key, lambda: say(f"Waiting for another run that installs {wanted} ...")):
            environment = store.find(key) or _make(store, wanted, versions, scratch)
    store.note_use(environment)
    store.link_package(environment.folder)
    return environment


def _resolve(wanted: Wanted) -> str:
    try:
        return Uv().resolve(wanted.interpreter, wanted.requirements(), _CONSTRAINTS)
    except InstallError as problem:
        own = ("pyarrow", "numpy")
        hint = ""
        if any(re.match(rf"({'|'.join(own)})\b", package) for package in wanted.packages):
            needed = " and ".join([f"pyarrow=={wanted.arrow}", *_CONSTRAINTS])
            hint = f"\nZerrow itself needs {needed}: leave these away, or ask for the same"
        raise InstallError(f"{problem}{hint}") from None


def _make(store: Store, wanted: Wanted, versions: str, scratch: Path) -> Environment:
    started = time.monotonic()
    say(f"Installing {wanted} ...")
    uv = Uv()
    with store.new_folder(scratch):
        resolved = re.findall(r"^[^\s#-][^\s;\\]*", versions, re.MULTILINE)
        uv.create(wanted.interpreter, scratch)
        (scratch / "versions.txt").write_text(versions)
        uv.install(scratch, scratch / "versions.txt")
        _try_imports(scratch, store.link_package(scratch), wanted)
        about = {
            "packages": list(wanted.packages),
            "python": wanted.python,
            "resolved": resolved,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        environment = store.complete(scratch, wanted.key(versions), about)
    say(f"Installed {len(resolved)} packages in {time.monotonic() - started:.1f} s")
    return environment


def _try_imports(scratch: Path, package_folder: Path, wanted: Wanted) -> None:
    """Packages that don't fit together may say so only when they are imported."""
    journal = scratch / "imports.txt"
    names = [re.split(r"[^a-z0-9-]", package)[0] for package in wanted.packages]
    timeout_s = float(os.environ.get("ZERROW_IMPORT_TIMEOUT_S") or 60)
    probe = Path(__file__).with_name("probe.py")
    words = [scratch / "bin" / "python", "-P", probe, journal, wanted.arrow, *names]
    try:
        ended = subprocess.run(
            words,
            env={**os.environ, "PYTHONPATH": str(package_folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InstallError(
            f"{_last(journal)}: this takes more than {timeout_s:g} s "
            "($ZERROW_IMPORT_TIMEOUT_S gives it more)"
        ) from None
    last = _last(journal)
    if last == "done" and ended.returncode == 0:
        return
    if last.startswith("failed "):
        raise InstallError(last.removeprefix("failed "))
    raise InstallError(f"{last}: this ended its process with status {ended.returncode}")


def _last(journal: Path) -> str:
    lines = journal.read_text().splitlines() if journal.exists() else []
    return lines[-1] if lines else "it didn't start"


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
