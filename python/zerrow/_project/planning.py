"""The columns that SQL and native models have, each planned after those that it reads."""

from collections.abc import Callable
from functools import partial
from graphlib import CycleError, TopologicalSorter

from zerrow._errors import ProjectError
from zerrow._project.checks import Columns
from zerrow._project.description import ModelEntry, Project
from zerrow._project.native_models import planned_schema
from zerrow._project.operators import Operator


def plan_models(
    project: Project,
    queries: list[ModelEntry],
    natives: list[tuple[ModelEntry, Operator]],
    columns: Columns,
) -> None:
    """Finds the inputs of queries, and adds the columns of all these models as far as known."""
    steps: dict[str, Callable[[], None]] = {}
    for entry, operator in natives:
        steps[entry.name] = partial(_plan_native, entry, operator, columns)
    for entry in queries:
        try:
            steps[entry.name] = _query_step(entry, project, columns)
        except ProjectError as problem:
            project.report(problem)
    inputs = {model.name: {given.model for given in model.inputs} for model in project.models}
    try:
        order = list(TopologicalSorter(inputs).static_order())
    except CycleError:
        order = list(steps)  # which the planner reports
    for name in order:
        step = steps.get(name)
        try:
            if step is not None:
                step()
        except ProjectError as problem:
            project.report(problem)


def _plan_native(entry: ModelEntry, operator: Operator, columns: Columns) -> None:
    schemas = {given.model: columns.schema(given.model) for given in entry.inputs}
    known = {name: schema for name, schema in schemas.items() if schema is not None}
    made = planned_schema(operator, known) if len(known) == len(schemas) else None
    if made is not None:
        columns.add_schema(entry.name, made)
        entry.plan_columns(made)


def _query_step(entry: ModelEntry, project: Project, columns: Columns) -> Callable[[], None]:
    from zerrow._project.sql_models import find_inputs, plan

    names = [*project.declared_sources, *(model.name for model in project.models)]
    query = find_inputs(entry, names)
    return partial(plan, entry, project, query, columns)
