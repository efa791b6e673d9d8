"""Task "discover": reads the project, importing the user's files."""

from zerrow._discovery import describe
from zerrow._tasks import Answer, Task


def run(task: Task) -> Answer:
    """Answers the project description."""
    description = describe(task.project_dir, task.body.get("parameters") or {})
    return Answer({"op": "result", "value": description})
