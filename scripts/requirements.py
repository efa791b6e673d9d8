"""Prints what a checkout's environment consists of, pinned: what builds, and the group dev.

`make` feeds it to pip, so that the build without isolation and the tests find what they need. The
wheel's own dependencies are ranges; dev has a version of each.
"""

import tomllib
from pathlib import Path


def requirements(pyproject: Path) -> list[str]:
    """Everything that a checkout needs, sorted, without duplicates."""
    document = tomllib.loads(pyproject.read_text())
    return sorted({*document["build-system"]["requires"], *document["dependency-groups"]["dev"]})


if __name__ == "__main__":
    print("\n".join(requirements(Path(__file__).parent.parent / "pyproject.toml")))
