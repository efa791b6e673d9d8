"""What a worker says of its output's memory as it publishes it."""

import pyarrow as pa
import pytest
from zerrow._worker.tasks import Task

from .conftest import PLAIN, TASK, USUAL


class Handover:
    """Notes how it was asked to publish."""

    def publish(self, table, **options):
        self.options = options
        return {"not_moved": ""}, []


@pytest.mark.parametrize(
    ("kind", "looked_at"),
    [("python", True), ("sql", False), ("native", False), ("source", False), ("filter", False)],
)
def test_it_may_be_looked_at_only_where_user_code_runs(kind, looked_at):
    body = {**TASK, **PLAIN, **USUAL.get(kind, {}), "kind": kind, "inputs": [], "columns": None}
    task = Task(body, [], tell=None, regain=None)
    task._handover = handover = Handover()
    task.publish(pa.table({"n": [1]}))
    assert handover.options["looked_at"] is looked_at
