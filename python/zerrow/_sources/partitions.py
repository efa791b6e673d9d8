"""Columns that lie in the names of a file's folders: `year=2013/month=1/part.parquet`.

Pure. Names, values and types are what Hive writes and pyarrow.dataset reads: percent-encoded, and
integers if all values of a column are.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from urllib.parse import unquote

import pyarrow as pa
from zerrow._errors import SourceError

_NULL = "__HIVE_DEFAULT_PARTITION__"
_INTEGER = re.compile(r"-?[0-9]+")
_LARGEST = (1 << 31) - 1

Value = int | str | None


def texts_of(relative: str) -> dict[str, str | None]:
    """The values in the names of a file's folders, by column, in the path's order."""
    texts: dict[str, str | None] = {}
    for part in PurePath(relative).parts[:-1]:
        name, equals, value = part.partition("=")
        if not equals:
            continue
        name = _decoded(name, part)
        if not name:
            raise SourceError(f"the folder {part}/ names no column before its '='")
        if name in texts:
            raise SourceError(f"the folders of {relative} hold the column {name!r} twice")
        text = _decoded(value, part)
        texts[name] = None if text == _NULL else text
    return texts


def _decoded(text: str, folder: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise SourceError(f"the name of the folder {folder}/ isn't UTF-8 when decoded") from None


def values_of(files: Mapping[str, dict[str, str | None]]) -> dict[str, dict[str, Value]]:
    """The values of each file, at least one, by path: integers where all of a column's are."""
    first, names = next((path, list(texts)) for path, texts in files.items())
    for path, texts in files.items():
        if set(texts) != set(names):
            differing = sorted(set(texts) ^ set(names))[0]
            has, lacks = (path, first) if differing in texts else (first, path)
            raise SourceError(
                f"its files differ: the folders of {has} hold the column {differing!r}, those of "
                f"{lacks} don't"
            )
    whole = {name for name in names if _are_integers([files[path][name] for path in files])}
    return {
        path: {name: _value(texts[name], name in whole) for name in names}
        for path, texts in files.items()
    }


def _are_integers(texts: Iterable[str | None]) -> bool:
    given = [text for text in texts if text is not None]
    return bool(given) and all(
        _INTEGER.fullmatch(text) and -_LARGEST - 1 <= int(text) <= _LARGEST for text in given
    )


def _value(text: str | None, is_integer: bool) -> Value:
    return int(text) if is_integer and text is not None else text


def fields_of(partitions: Sequence[Mapping[str, Value]]) -> list[pa.Field]:
    """The columns for the values of all files, of which there is at least one."""
    whole = {
        name for values in partitions for name, value in values.items() if isinstance(value, int)
    }
    return [pa.field(name, pa.int32() if name in whole else pa.string()) for name in partitions[0]]
