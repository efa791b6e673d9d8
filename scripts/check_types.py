"""mypy and pyright, as strict as they are, over what users would write.

That are the examples, the code of the documents, and tests/typing. They are checked against the
package as it stands in python/, in copies under build/types. pyright comes with basedpyright, which
brings all that it needs from PyPI.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIES = ROOT / "build" / "types"
STUBS = ROOT / "tests" / "typing" / "stubs"
BLOCK = re.compile(r"^```python file=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# project -> where it is, and its folders that are on the path besides itself.
FOLDERS = {
    "flights": ("examples/flights", ["models"]),
    "tpch": ("examples/tpch", ["models"]),
    "typed": ("tests/typing/project", []),
    "tutorial": ("docs/tutorial.md", ["shop/models"]),
}


def copy(name: str, source: Path) -> Path:
    """A project's Python files in a folder of their own."""
    folder = COPIES / name
    if source.suffix == ".md":
        for file, text in BLOCK.findall(source.read_text()):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text)
    else:
        # Tests of an example use fixtures, which nobody gives types.
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("tests", "data", "__py*"))
    return folder


def run_mypy(folder: Path, paths: list[str]) -> bool:
    """Whether mypy finds nothing wrong."""
    path = os.pathsep.join(str(folder / part) for part in [".", *paths])
    files = sorted(str(file) for file in folder.rglob("*.py"))
    words = [
        "--strict",
        "--config-file",
        str(ROOT / "pyproject.toml"),
        "--no-error-summary",
        *files,
    ]
    environment = {**os.environ, "MYPYPATH": path}
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *words], cwd=ROOT, env=environment, check=False
    )
    return done.returncode == 0


def run_pyright(folders: dict[Path, list[str]]) -> bool:
    """Whether pyright finds nothing wrong."""
    package = str(ROOT / "python")
    environments = [
        {"root": str(folder), "extraPaths": [package, *(str(folder / part) for part in paths)]}
        for folder, paths in folders.items()
    ]
    config = {
        "include": [str(folder) for folder in folders],
        "executionEnvironments": environments,
        "extraPaths": [package],
        "stubPath": str(STUBS),
        "typeCheckingMode": "strict",
        "enableTypeIgnoreComments": False,  # those are mypy's
        "reportUnnecessaryTypeIgnoreComment": "error",
    }
    (COPIES / "pyrightconfig.json").write_text(json.dumps(config))
    words = ["-p", str(COPIES), "--level", "error", "--pythonpath", sys.executable]
    return (
        subprocess.run([sys.executable, "-m", "basedpyright", *words], check=False).returncode == 0
    )


def main() -> int:
    """The exit code: 1 if one of them found something."""
    shutil.rmtree(COPIES, ignore_errors=True)
    COPIES.mkdir(parents=True)
    folders = {copy(name, ROOT / source): paths for name, (source, paths) in FOLDERS.items()}
    fine = [run_mypy(folder, paths) for folder, paths in folders.items()]
    fine.append(run_pyright(folders))
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main())
