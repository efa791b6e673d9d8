"""Task "filter": the rows and columns of a source that some of its readers ask for."""

from zerrow._worker.tasks import Answer, Task


def run(task: Task) -> Answer:
    """Opening the input has applied the filter, exactly; what is left is to hand it over."""
    return task.publish(task.inputs[0].table)
