"""YAML as the values of a project file, which know their lines."""

import yaml
from zerrow._project.project_file import Mapping, Value, error


def parse(text: str) -> Value | None:
    """What the text says, None if it says nothing. Raises ProjectError for what isn't YAML."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        return None if root is None else _converted(root)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        line = mark.line + 1 if mark else 0
        raise error(f"this is not valid YAML: {problem.problem or problem.context}", line) from None
    except (yaml.YAMLError, RecursionError) as problem:
        raise error(f"this is not valid YAML: {problem}", 1) from None


def _converted(node: yaml.Node) -> Value:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        return Value([_converted(child) for child in node.value], line)
    if isinstance(node, yaml.MappingNode):
        return Value(_mapping(node), line)
    constructor = yaml.SafeLoader("")
    try:
        content = constructor.construct_object(node)
    except yaml.MarkedYAMLError as problem:
        raise error(f"this is not valid YAML: {problem.problem}", line) from None
    except ValueError as problem:
        raise error(f"{node.value!r} is not valid: {problem}", line) from None
    # A date or time without quotes: its text is what the user meant, a filter or a default.
    known = content is None or isinstance(content, str | bool | int | float)
    return Value(content if known else node.value, line)


def _mapping(node: yaml.MappingNode) -> Mapping:
    entries: dict[str, tuple[int, Value]] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise error("a key must be a plain name", line)
        # The text as written: YAML would read `no:` or `2013:` as something else than a name.
        key = key_node.value
        if key in entries:
            raise error(f"{key!r} is there twice (first on line {entries[key][0]})", line)
        entries[key] = (line, _converted(value_node))
    return Mapping(entries, node.start_mark.line + 1, "this")
