"""Task "discover": reads the project, importing the user's files."""

from zerrow._discovery import describe
from zerrow._tasks import Answer, Task

# The engine takes no more of them.
_MOST_TOLD = 10_000


def run(task: Task) -> Answer:
    """Answers the project description."""
    told = 0

    def on_import(file: str) -> None:
        # Said first, so that an import that never ends has a name. Later ones have none.
        nonlocal told
        told += 1
        if told <= _MOST_TOLD:
            task.tell({"op": "importing", "file": file if told < _MOST_TOLD else ""})

    description = describe(task.project_dir, task.body.get("parameters") or {}, on_import=on_import)
    return Answer({"op": "result", "value": description})
