"""What zerrow_project.yml may hold, as types: the file is checked by them, and they are its JSON
Schema (docs/zerrow_project.schema.json).
"""

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

Text = Annotated[str, Meta(pattern=r"\S")]
# A number is as good as a text.
Value = Text | bool | int | float
Names = Annotated[list[Value], Meta(min_length=1)]
Size = Annotated[int | str, Meta(description="Bytes, such as 2GB or 512MiB")]


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """A mapping with keys that are known."""


class Parameter(Settings):
    """A value that --param sets; $name in filters and SQL."""

    type: Literal["str", "int", "float", "bool"] | None = None
    default: str | bool | int | float | None = None
    required: bool = False
    description: str = ""


class FilterSettings(Settings):
    """Of the operator filter."""

    condition: Value


class ProjectSettings(Settings):
    """Of the operator project: by name, columns or values in SQL."""

    columns: Annotated[dict[str, Value], Meta(min_length=1)]


class SortSettings(Settings):
    """Of the operator sort: columns, each perhaps with asc or desc."""

    by: Names


class AggregateSettings(Settings):
    """Of the operator aggregate: groups, and by name what is computed, as mean(delay)."""

    measures: Annotated[dict[str, Value], Meta(min_length=1)]
    by: list[Value] = []


class SliceSettings(Settings):
    """Of the operator slice: rows."""

    offset: Value | None = None
    length: Value | None = None


class DictionarySettings(Settings):
    """Of the operator dictionary: columns that become dictionaries."""

    columns: Names


class Model(Settings, kw_only=True, tag_field="operator"):
    """A table that a built-in operator makes."""

    name: Text
    memory: Size | None = None
    tags: list[str] = []


class OneInput(Model, kw_only=True):
    """One that is made of one table."""

    input: Text


class Filter(OneInput, tag="filter", kw_only=True):
    """The rows for which a condition holds."""

    filter: FilterSettings


class Project(OneInput, tag="project", kw_only=True):
    """Columns that are there or computed."""

    project: ProjectSettings


class Sort(OneInput, tag="sort", kw_only=True):
    """The same rows in another order."""

    sort: SortSettings


class Aggregate(OneInput, tag="aggregate", kw_only=True):
    """A row for each group."""

    aggregate: AggregateSettings


class Slice(OneInput, tag="slice", kw_only=True):
    """Rows by their number."""

    slice: SliceSettings


class Dictionary(OneInput, tag="dictionary", kw_only=True):
    """The same, with columns as dictionaries."""

    dictionary: DictionarySettings


class Concat(Model, tag="concat", kw_only=True):
    """The rows of all inputs, one after the other."""

    inputs: Names


AnyModel = Filter | Project | Sort | Aggregate | Slice | Dictionary | Concat
MODELS = {str(type_.__struct_config__.tag): type_ for type_ in get_args(AnyModel)}  # by operator


class Contents(Settings):
    """What any project file may hold."""

    memory_limit: Size | None = None
    parameters: dict[str, Parameter] | None = None
    sources: Annotated[
        dict[str, Text] | None, Meta(description="Parquet files, folders or globs by table")
    ] = None
    models: list[AnyModel] | None = None


class Document(Contents, kw_only=True):
    """A project of Zerrow."""

    name: Text


class BauplanProject(Settings):
    """What names a project of Bauplan's."""

    id: str | None = None
    name: Text | None = None
    description: str | None = None


class BauplanDocument(Contents, kw_only=True):
    """bauplan_project.yml, and what Zerrow adds to it."""

    project: BauplanProject | None = None
    include_paths: list[Text] | None = None
