"""Task "discover": reads the project, importing the user's files."""

from zerrow._discovery import describe
from zerrow._tasks import Answer, Task


def run(task: Task) -> Answer:
    """Answers the project description."""
    # Said first, so that an import that never ends has a name.
    description = describe(
        task.project_dir,
        task.body.get("parameters") or {},
        on_import=lambda file: task.tell({"op": "importing", "file": file}),
    )
    return Answer({"op": "result", "value": description})
