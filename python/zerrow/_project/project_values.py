"""Values of the project file as types, with errors that say line, setting and what would be right.

msgspec checks; what it says of the first mistake is put into words here.
"""

import re
from typing import Any, TypeGuard, TypeVar

import msgspec
from zerrow._errors import did_you_mean
from zerrow._project.place import Place, error

T = TypeVar("T")

_NOUNS = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "`name: ...` lines",
}


def read_as(type_: type[T], content: Any, place: Place, what: str) -> T:  # noqa: ANN401
    """The content as this type; raises ProjectError, whose message begins with `what` it is."""
    if _is_struct(type_) and isinstance(content, dict):
        check_keys(type_, content, place, what)
    try:
        return msgspec.convert(content, type_)
    except msgspec.ValidationError as problem:
        raise _in_words(str(problem), content, place, what) from None


def check_keys(
    type_: type[msgspec.Struct], content: dict[str, Any], place: Place, what: str
) -> None:
    """Raises for a key that isn't known: most likely it was misspelt."""
    tag = type_.__struct_config__.tag_field
    known = [*type_.__struct_fields__, *([tag] if tag else [])]
    for key in content:
        if key not in known:
            hint = did_you_mean(key, known)
            raise error(f"{what} has no setting {key!r}{hint}", (place / key).line)
    for key, inner in type_.__annotations__.items():
        below = content.get(key)
        if _is_struct(inner) and isinstance(below, dict):
            check_keys(inner, below, place / key, f"{what}: {key}")


def _is_struct(type_: Any) -> TypeGuard[type[msgspec.Struct]]:  # noqa: ANN401
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)


def _in_words(said: str, content: Any, place: Place, what: str) -> Exception:  # noqa: ANN401
    """As in "Expected `str`, got `int` - at `$.sort.by[0]`"."""
    text, _, path = said.partition(" - at `$")
    shown = ""
    for name, number in re.findall(r"\.(\w+)|\[(\d+|\.{3})\]", path):
        key = name or (int(number) if number != "..." else _wrong_key(content))
        content, place = content[key], place / key
        shown += f"[{key}]" if isinstance(key, int) else f".{key}" if shown else key
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", text):
        shown += f".{missing[1]}" if shown else missing[1]
        return error(f"{what}: {shown} is missing", place.line)
    place_of = f"{what}: {shown}" if shown else what
    expected = re.match(r"Expected `(.+?)`(.*)", text)
    if expected is None:
        return error(f"{place_of}: {text}", place.line)
    kinds = [kind for kind in re.findall(r"\w+", expected[1]) if kind != "null"]
    # Of a text, it is enough to say that.
    kinds = ["str"] if "str" in kinds else kinds
    nouns = " or ".join(_NOUNS.get(kind, kind) for kind in kinds)
    if not expected[2].startswith(", got"):
        return error(f"{place_of} must not be empty", place.line)
    return error(f"{place_of} must be {nouns}, not {content!r}", place.line)


def _wrong_key(content: dict[str, Any]) -> str:
    """Of a mapping to texts, whose key msgspec doesn't tell."""
    wrong = (
        key
        for key, value in content.items()
        if not isinstance(value, str | bool | int | float) or not str(value).strip()
    )
    return next(wrong)
