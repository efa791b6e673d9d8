"""The packages of `@zerrow.python(..., pip=...)`: what may be written there, and what it means."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

# A name with extras, and versions, as Python's packaging has them (PEP 508, PEP 440).
_NAME = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
    r"(?P<extras>\[[A-Za-z0-9._-]+(?:,[A-Za-z0-9._-]+)*\])?"
)
_VERSION = r"[A-Za-z0-9][A-Za-z0-9.!+_-]*(?:\.\*)?"
_CONDITION = re.compile(rf"\s*(?:===|==|~=|!=|<=|>=|<|>)\s*{_VERSION}\s*")
_PYTHON = re.compile(r"\d+\.\d+(?:\.\d+)?")


def requirements_of(pip: object) -> list[str]:
    """`{"pandas": "2.2.2"}` as `["pandas==2.2.2"]`, sorted by name. ValueError says what is wrong.

    A version may also be conditions, such as ">=2,<3".
    """
    if not isinstance(pip, Mapping):
        raise ValueError(
            f"pip must be versions by package, such as {{'pandas': '2.2.2'}}, not {pip!r}"
        )
    found: dict[str, str] = {}
    for package, version in pip.items():
        match = _NAME.fullmatch(package) if isinstance(package, str) else None
        if match is None:
            raise ValueError(f"pip: {package!r} isn't the name of a package")
        name = normalized(match["name"])
        if name in found:
            raise ValueError(f"pip names {match['name']!r} twice")
        found[name] = name + (match["extras"] or "") + _conditions(package, version)
    return [found[name] for name in sorted(found)]


def _conditions(package: str, version: object) -> str:
    if isinstance(version, str):
        if re.fullmatch(_VERSION, version.strip()):
            return f"=={version.strip()}"
        conditions = version.split(",")
        if all(_CONDITION.fullmatch(condition) for condition in conditions):
            return ",".join(re.sub(r"\s", "", condition) for condition in conditions)
    raise ValueError(
        f"pip: {package!r} needs a version such as '2.2.2' or '>=2,<3', not {version!r}"
    )


def normalized(name: str) -> str:
    """A package's name as all its spellings have it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def version_problem(version: object) -> str | None:
    """Why `version` is no Python version; None if it may be one."""
    if isinstance(version, str) and _PYTHON.fullmatch(version):
        return None
    return f"the version is a text such as '3.11', not {version!r}"


def is_own(version: str) -> bool:
    """Whether that is the Python of this process."""
    running = "{}.{}.{}".format(*sys.version_info[:3])
    return running == version or running.startswith(version + ".")


def is_built_for(version: str) -> bool:
    """Whether Zerrow's own modules are there for that Python."""
    tag = "".join(version.split(".")[:2])
    return any(Path(__file__).parent.glob(f"_native.cpython-{tag}-*.so"))
