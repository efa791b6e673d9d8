"""Task "discover": reads the project, importing the user's files."""

import os

from zerrow._declarations import declared
from zerrow._project.tracebacks import text_of
from zerrow._worker.fitness import Watch
from zerrow._worker.messages import Importing, Result
from zerrow._worker.tasks import Answer, Task

# The engine takes no more of them.
_MOST_TOLD = 10_000


def run(task: Task) -> Answer:
    """Answers the project description."""
    # Only here, as it needs what environments of packages don't have: YAML and msgspec.
    from zerrow._project.discovery import describe

    told = 0

    def on_import(file: str) -> None:
        # Said first, so that an import that never ends has a name. Later ones have none.
        nonlocal told
        told += 1
        if told <= _MOST_TOLD:
            task.tell(Importing(op="importing", file=file if told < _MOST_TOLD else ""))

    again = ""

    def on_imported(files: int) -> None:
        nonlocal again
        again = _why_again(task, watch, files)

    watch = Watch(task.project_dir)
    description = describe(
        task.project_dir,
        task.body["parameters"],
        query=task.body["query"],
        lineage=task.body["lineage"],
        on_import=on_import,
        on_imported=on_imported,
    )
    description["import_again"] = again
    return Answer(Result(op="result", value=description))


def _why_again(task: Task, watch: Watch, files: int) -> str:
    """Why each worker must import the project itself; empty if a process that has done so stays.

    Without an offer only whether one could.
    """
    own_namespace = task.offer is not None and task.offer.own_namespace
    try:
        problem = watch.problem(files, own_namespace)
    except Exception as failure:  # the import may have replaced what this uses
        problem = f"makes it impossible to see what it left: {text_of(failure)}"
    if os.environ.get("ZERROW_IMPORT_ONCE") == "0":
        problem = "shall not be done once: $ZERROW_IMPORT_ONCE is 0"
    if not problem and task.offer is not None:
        declared("")  # so that no worker has to note them by their names
        problem = task.offer.take(watch.seeded)
    task.regain()
    return f"importing it {problem}" if problem else ""
