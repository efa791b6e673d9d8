"""zerrow_project.yml as plain values, and the line on which each of them was written."""

from typing import Any

import yaml
from zerrow._project.place import Path, Place, error


def read_yaml(text: str) -> tuple[Any, Place]:
    """The content: dicts in their order, lists and scalars. Raises ProjectError."""
    lines: dict[Path, int] = {(): 1}
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = None if root is None else _plain(root, Place(lines), lines)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        line = mark.line + 1 if mark else 0
        raise error(f"this is not valid YAML: {problem.problem or problem.context}", line) from None
    except (yaml.YAMLError, RecursionError) as problem:
        raise error(f"this is not valid YAML: {problem}", 1) from None
    if root is None:
        raise error("the file is empty: it needs at least `name: ...`", 1)
    return content, Place(lines)


def _plain(node: yaml.Node, place: Place, lines: dict[Path, int]) -> Any:  # noqa: ANN401
    lines.setdefault(place.path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, place / number, lines) for number, child in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, place, lines)
    try:
        content = yaml.SafeLoader("").construct_object(node)
    except ValueError as problem:
        line = node.start_mark.line + 1
        raise error(f"{node.value!r} is not valid: {problem}", line) from None
    # A date or time without quotes: its text is what the user meant, a filter or a default.
    known = content is None or isinstance(content, str | bool | int | float)
    return content if known else node.value


def _mapping(node: yaml.MappingNode, place: Place, lines: dict[Path, int]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise error("a key must be a plain name", line)
        # The text as written: YAML would read `no:` or `2013:` as something else than a name.
        key = key_node.value
        if key in entries:
            first = (place / key).line
            raise error(f"{key!r} is there twice (first on line {first})", line)
        lines[(place / key).path] = line
        entries[key] = _plain(value_node, place / key, lines)
    return entries
