"""Prints every Python requirement of pyproject.toml: to build, to run, optional, to develop.

`make` feeds it to pip, so that the build without isolation and the tests find what they need and
pyproject.toml stays the only list.
"""

import tomllib
from pathlib import Path


def requirements(pyproject: Path) -> list[str]:
    """Everything that a checkout needs, sorted, without duplicates."""
    document = tomllib.loads(pyproject.read_text())
    project = document["project"]
    names = set(document["build-system"]["requires"]) | set(project["dependencies"])
    for group in (project["optional-dependencies"], document["dependency-groups"]):
        for members in group.values():
            names.update(members)
    return sorted(names)


if __name__ == "__main__":
    print("\n".join(requirements(Path(__file__).parent.parent / "pyproject.toml")))
