"""Places in zerrow_project.yml. What only names them needs no YAML, as workers don't."""

from collections.abc import Mapping
from dataclasses import dataclass

from zerrow._errors import ProjectError

Path = tuple[str | int, ...]

FILE = "zerrow_project.yml"


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
