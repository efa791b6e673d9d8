"""Places in zerrow_project.yml. What only names them needs no YAML, as workers don't."""

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass

from zerrow._errors import ProjectError

Path = tuple[str | int, ...]

FILE = "zerrow_project.yml"
BAUPLANS = ("bauplan_project.yml", "bauplan_project.yaml")


@dataclass(frozen=True)
class Place:
    """Something in the file: the keys, and numbers of items, that lead to it."""

    lines: Mapping[Path, int]
    path: Path = ()

    def __truediv__(self, key: str | int) -> "Place":
        return Place(self.lines, (*self.path, key))

    @property
    def line(self) -> int:
        """Where it is written; what is missing, where that would belong."""
        path = self.path
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]


def error(message: str, line: int) -> ProjectError:
    """An error in the project file."""
    return ProjectError(message, FILE, line)


def project_files_of(folder: pathlib.Path) -> list[str]:
    """The names of the project files that are there, one as a rule; the usual one if none is."""
    return [name for name in (FILE, *BAUPLANS) if (folder / name).exists()] or [FILE]
