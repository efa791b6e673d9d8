"""What filters and SQL models share: `$name` in SQL text, and sqlglot's errors in our words."""

import itertools
import re
from collections.abc import Mapping
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType
from zerrow._errors import SqlError, did_you_mean


def substitute(text: str, values: Mapping[str, Any], dialect: str) -> str:
    """`text` with each `$name` replaced by its value as a literal; all else stays as it was.

    What a `$` in a string or comment is, the dialect's tokenizer says. A value becomes a literal
    that the dialect's generator escapes, so that it can't become anything else.
    """
    parts: list[str] = []
    end = 0
    for name, start, stop, line in _placeholders(text, dialect):
        if name not in values:
            hint = did_you_mean(name, values) or "; the project declares none"
            raise SqlError(f"there is no parameter {name!r}{hint}", line)
        parts += [text[end:start], literal(values[name], dialect)]
        end = stop
    return "".join([*parts, text[end:]])


def parameters_of(text: str, dialect: str) -> list[str]:
    """The names that follow a `$`, each once, in order."""
    return list(dict.fromkeys(name for name, *_ in _placeholders(text, dialect)))


def _placeholders(text: str, dialect: str) -> list[tuple[str, int, int, int]]:
    tokens = tokenize(text, dialect)
    found = []
    for dollar, name in itertools.pairwise(tokens):
        if dollar.token_type is TokenType.PARAMETER and dollar.text == "$":
            written = text[name.start : name.end + 1]
            if name.start == dollar.end + 1 and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", written):
                found.append((written, dollar.start, name.end + 1, dollar.line))
    return found


def literal(value: str | int | float | bool | None, dialect: str) -> str:
    """A parameter's value as the dialect writes it."""
    if isinstance(value, str):
        if "\0" in value:
            raise SqlError("a parameter's text must not have zero bytes")
        return exp.Literal.string(value).sql(dialect=dialect)
    if isinstance(value, bool) or value is None:
        return exp.convert(value).sql(dialect=dialect)
    # In parentheses, as `x -$n` would otherwise begin a comment for a negative n.
    return f"({value!r})" if value < 0 else repr(value)


def quoted(name: str) -> str:
    """A name as it is, for engines that would fold its letters otherwise."""
    return '"' + name.replace('"', '""') + '"'


def tokenize(text: str, dialect: str) -> list[Token]:
    """The text's tokens; SqlError where it has none, an unterminated string for example."""
    try:
        return list(Dialect.get_or_raise(dialect).tokenize(text))
    except SqlglotError as problem:
        raise _sql_error(problem) from None


def parse_statements(text: str, dialect: str) -> list[exp.Expr]:
    """The statements of a text, without empty ones."""
    try:
        return [tree for tree in sqlglot.parse(text, dialect=dialect) if tree is not None]
    except SqlglotError as problem:
        raise _sql_error(problem) from None
    except RecursionError:
        raise SqlError("it is nested too deeply") from None


def line_of_name(name: str, text: str, dialect: str) -> int:
    """The line where a name is first written; 0 if it isn't."""
    try:
        tokens = tokenize(text, dialect)
    except SqlError:
        return 0
    return next((token.line for token in tokens if token.text.lower() == name.lower()), 0)


_MOST_LEVELS = 500


def check_depth(tree: exp.Expr) -> None:
    """Raises SqlError for what would take all of an engine's stack, or minutes to plan."""
    level = [tree]
    for _ in range(_MOST_LEVELS):
        level = [child for node in level for child in node.iter_expressions()]
        if not level:
            return
    raise SqlError("it is nested too deeply")


def _sql_error(problem: SqlglotError) -> SqlError:
    """What sqlglot says, in words that don't need to know its classes, and the line."""
    errors = getattr(problem, "errors", None)
    if errors:
        first = errors[0]
        at = f"at {first['highlight']!r}" if first.get("highlight") else "to its end"
        said = str(first.get("description") or "")
        why = "" if not said or "<class" in said else f": {said}"
        return SqlError(f"this SQL can't be read {at}{why}", first.get("line") or 1)
    missing = re.match(r"Missing (.+) from (\d+):", str(problem.__cause__))
    if missing:
        return SqlError(f"a {missing[1]} is not closed", int(missing[2]))
    return SqlError("a quote or comment is not closed")
