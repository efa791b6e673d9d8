"""The values of a project's parameters: defaults, and what `--param name=text` says."""

import math
from collections.abc import Mapping
from typing import Any

from zerrow._errors import Problem, did_you_mean
from zerrow._project.place import FILE
from zerrow._project.project_file import ParameterEntry

Scalar = str | int | float | bool | None


def parse_value(text: str, kind: str) -> Scalar:
    """`text` of the command line as a value of the type; ValueError says what is wrong with it."""
    if kind == "str":
        return text
    if kind == "bool":
        if text.lower() not in ("true", "false"):
            raise ValueError(f"must be true or false, not {text!r}")
        return text.lower() == "true"
    try:
        value = int(text) if kind == "int" else float(text)
    except ValueError:
        noun = "a whole number" if kind == "int" else "a number"
        raise ValueError(f"must be {noun}, not {text!r}") from None
    if not math.isfinite(value):
        raise ValueError(f"must be a finite number, not {text!r}")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"must fit in 64 bits, {text!r} doesn't")
    return value


def resolve(
    entries: list[ParameterEntry], given: Mapping[str, str]
) -> tuple[list[dict[str, Any]], list[Problem]]:
    """The description's `parameters` with their values, and what is wrong with them."""
    described: list[dict[str, Any]] = []
    problems: list[Problem] = []
    known = {entry.name for entry in entries}
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known) or f": {FILE} declares none"
            problems.append(Problem(f"--param {name}: there is no such parameter{hint}", FILE, 1))
    for entry in entries:
        value: Scalar = entry.default
        if entry.name in given:
            try:
                value = parse_value(given[entry.name], entry.type)
            except ValueError as problem:
                problems.append(Problem(f"--param {entry.name} {problem}", FILE, entry.line))
        elif entry.required and value is None:
            what = f"parameter {entry.name!r} is required: pass --param {entry.name}=..."
            problems.append(Problem(what, FILE, entry.line))
        place = {"file": FILE, "line": entry.line}
        described.append({"name": entry.name, "type": entry.type, "value": value, **place})
    return described, problems
