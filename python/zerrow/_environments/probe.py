"""Run by the interpreter of a new environment: whether what it is for can be imported.

    PYTHON probe.py JOURNAL ARROW_VERSION PACKAGE...

The journal's last line says what came of it: "import NAME" if that ended the process, "failed TEXT"
or "done". Nothing of Zerrow is imported before its pyarrow has turned out to be the right one.
"""

import importlib
import importlib.metadata
import re
import sys
from typing import TextIO

# What packages bring along beside themselves, and what isn't made to be imported.
_ASIDE = {"benchmarks", "doc", "docs", "examples", "scripts", "test", "tests"}
_OWN = ["zerrow._worker.zygote", "zerrow._worker.worker", "zerrow._worker.tasks_python"]


def main() -> None:
    """Entry point."""
    path, arrow, *packages = sys.argv[1:]
    with open(path, "w", buffering=1) as journal:
        try:
            name = "pyarrow"
            _import(name, journal)
            found = sys.modules["pyarrow"].__version__
            if found != arrow:
                print(f"failed its pyarrow is {found}, and Zerrow's is {arrow}", file=journal)
                return
            for name in [*_modules_of(packages), *_OWN]:
                _import(name, journal)
        except BaseException as problem:
            text = " ".join(str(problem).split())
            print(f"failed import {name}: {type(problem).__name__}: {text}", file=journal)
            return
        print("done", file=journal)


def _import(name: str, journal: TextIO) -> None:
    print(f"import {name}", file=journal)
    importlib.import_module(name)


def _modules_of(packages: list[str]) -> list[str]:
    """What the packages are imported as: for scikit-learn sklearn."""
    by_package: dict[str, list[str]] = {}
    for module, owners in importlib.metadata.packages_distributions().items():
        for owner in owners:
            by_package.setdefault(_normalized(owner), []).append(module)
    found = []
    for package in packages:
        modules = by_package.get(package, [])
        own = [module for module in modules if _normalized(module) == package]
        found += own or sorted(
            module
            for module in modules
            if module.isidentifier() and module[0] != "_" and module not in _ASIDE
        )
    return found


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
