"""Installs a wheel with the oldest and the newest versions that it takes, and runs tests with each.

    python scripts/wheel_ranges.py dist/zerrow-*.whl

Virtual environments are made in a temporary folder. The newest are those that the index has.
"""

import os
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
# What goes through each library: the project file, conditions, queries, frames.
TESTS = [
    "tests/python/test_checks.py",
    "tests/python/test_discovery.py",
    "tests/python/test_filters.py",
    "tests/python/test_sql.py",
    "tests/python/worker",
    "tests/cli/test_run.py",
]
TOOLS = ("pytest", "hypothesis")


def oldest() -> list[str]:
    """A constraint for each of the wheel's dependencies: with what its range begins."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    constraints = []
    for text in [*project["dependencies"], *project["optional-dependencies"]["all"]]:
        wanted = Requirement(text)
        for one in wanted.specifier:
            if one.operator in (">=", "=="):
                constraints.append(f"{wanted.name}=={one.version}")
    return constraints


def tools() -> list[str]:
    """What the tests need besides, as a checkout has it."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    return [text for text in groups["dev"] if Requirement(text).name in TOOLS]


def try_wheel(wheel: Path, constraints: list[str], folder: Path) -> bool:
    """Whether the tests pass with the wheel and these versions."""
    venv.create(folder, with_pip=True)
    (folder / "constraints.txt").write_text("\n".join(constraints))
    python = str(folder / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "-c", str(folder / "constraints.txt")]
    subprocess.run([*install, f"{wheel}[all]", *tools()], check=True)
    subprocess.run([python, "-m", "pip", "check"], check=True)
    subprocess.run([python, "-m", "pip", "freeze"], check=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


def main() -> int:
    """Both ends; the exit code."""
    wheel = Path(sys.argv[1]).resolve()
    failed = []
    for end, constraints in (("oldest", oldest()), ("newest", [])):
        print(f"== {wheel.name} with the {end} versions", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            if not try_wheel(wheel, constraints, Path(folder)):
                failed.append(end)
    print(f"failed with: {', '.join(failed)}" if failed else "both ends work")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
