"""The documents hold: the SDK reference is compared with the code, and links lead somewhere."""

import dataclasses
import inspect
import re
from pathlib import Path

import msgspec
import pytest
import yaml
import zerrow
from zerrow._project import project_types

ROOT = Path(__file__).resolve().parents[2]
SECTION = re.compile(r"^### `(?:@)?zerrow\.([\w.]+)`\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| `(\w+)` \| ([^|]*) \|", re.MULTILINE)


def documented():
    return dict(SECTION.findall((ROOT / "docs/sdk.md").read_text()))


def resolve(dotted):
    found = zerrow
    for name in dotted.split("."):
        found = getattr(found, name)
    return found


def arguments_of(callable_):
    """Names and defaults as text; the decorated function itself is no argument to write down."""
    return {
        name: "required" if parameter.default is inspect.Parameter.empty else parameter.default
        for name, parameter in inspect.signature(callable_).parameters.items()
        if name not in ("function", "self")
    }


def test_the_sdk_reference_names_everything_public():
    text = (ROOT / "docs/sdk.md").read_text()
    types = text[text.index("### Types of columns") :]
    columns = set(re.findall(r"`(?:zerrow\.)?(\w+)`", types[: types.index("\n### ", 1)]))
    public = set(zerrow.__all__) - {"__version__"}
    assert public <= {name.split(".")[0] for name in documented()} | columns


@pytest.mark.parametrize("name", documented())
def test_the_sdk_reference_lists_the_arguments_that_there_are(name):
    section, target = documented()[name], resolve(name)
    listed = dict(ROW.findall(section))
    if not callable(target) or target is zerrow.RunResult or dataclasses.is_dataclass(target):
        return  # a module; made by `run` only
    if inspect.isclass(target) and issubclass(target, Exception):
        return
    expected = arguments_of(target)
    assert set(listed) == set(expected), name
    for argument, default in listed.items():
        actual = expected[argument]
        shown = "required" if actual == "required" else f"`{actual!r}`"
        assert default.strip() == shown, f"{name}({argument})"


def test_the_sdk_reference_lists_the_standard_expectations():
    from zerrow import standard_expectations

    names = {name for name in dir(standard_expectations) if name.startswith("expect_")}
    listed = set(re.findall(r"`(expect_\w+)\(", (ROOT / "docs/sdk.md").read_text()))
    assert listed == names


def test_the_sdk_reference_lists_the_functions_of_compute():
    from zerrow import compute

    functions = {
        name: ", ".join(inspect.signature(function).parameters)
        for name, function in vars(compute).items()
        if inspect.isfunction(function)
        and function.__module__ == compute.__name__
        and not name.startswith("_")
    }
    section = documented()["compute"]
    assert dict(re.findall(r"^\| `(\w+)\(([^)]*)\)`", section, re.MULTILINE)) == functions


DOCUMENTS = sorted(
    str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    folder = (ROOT / document).parent
    for target in re.findall(r"\]\(([^)#]+)", (ROOT / document).read_text()):
        if "://" not in target:
            assert (folder / target).exists(), f"{document} links to {target}"


def test_the_schema_of_project_files_is_the_one_that_they_are_checked_by(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import project_schema

    published = (ROOT / "docs" / "zerrow_project.schema.json").read_text()
    assert published == project_schema.schema(), "run: make docs"
    for project in (ROOT / "examples").glob("*/zerrow_project.yml"):
        msgspec.convert(yaml.safe_load(project.read_text()), project_types.Document)


def test_the_table_of_types_is_what_the_libraries_do(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import types_table

    shown = (ROOT / "docs" / "types.md").read_text()
    assert types_table.markdown() in shown, "run scripts/types_table.py --write"
