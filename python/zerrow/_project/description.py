"""The parts of a project description: what the engine is told about a project's models."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zerrow._errors import Problem, ProjectError
from zerrow._project.sources import Source
from zerrow._schemas import Column, contract_to_text

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class Input:
    """One input of a model: the argument (or the table's name in SQL) and what it stands for."""

    parameter: str
    model: str
    columns: list[str] | None
    filter: str | None
    line: int
    filter_columns: list[str] = field(default_factory=list)  # that the filter reads, once checked
    dictionary: str = "never"  # whether texts may be dictionaries: never, auto, always
    contract: list[Column] = field(default_factory=list)  # what its columns must be

    def to_json(self) -> dict[str, Any]:
        """The entry of a model's `inputs`; the contract is the worker's to check."""
        return {name: value for name, value in vars(self).items() if name != "contract"}


@dataclass
class ModelEntry:
    """One model or expectation, of whatever kind."""

    name: str
    kind: str  # python, sql, native, expectation
    file: str
    line: int
    inputs: list[Input] = field(default_factory=list)
    function: str | None = None
    module: str | None = None  # the file whose import declares it
    sql: str | None = None
    engine: str | None = None
    operator: dict[str, Any] | None = None
    parameters: list[dict[str, str]] = field(default_factory=list)
    # Declared or planned: of each its `name`, `type`, whether it is `nullable`, and its `lineage`,
    # texts that name what it stems from; None if unknown.
    columns: list[dict[str, Any]] | None = None
    timeout_s: float | None = None
    memory_bytes: int | None = None
    deterministic: bool = True
    contract: list[Column] | None = None  # what its output must be, if a schema says it
    environment: dict[str, Any] | None = None  # {"python": version, "packages": [requirement]}
    code: str | None = None  # python and expectation: tells one text of its files from another
    imports: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The entry of the description's `models`."""
        # A function's worker has the schema itself.
        contract = self.contract if self.kind == "sql" else None
        return {
            **vars(self),
            "inputs": [entry.to_json() for entry in self.inputs],
            "contract": None if contract is None else contract_to_text(contract),
        }

    def plan_columns(self, schema: "pa.Schema") -> None:
        """Notes what the output's columns will be, where nothing is declared."""
        if self.columns is None:
            self.columns = [
                {
                    "name": field.name,
                    "type": str(field.type),
                    "nullable": field.nullable,
                    "lineage": None,
                }
                for field in schema
            ]

    def column_names(self) -> list[str] | None:
        """The names of the output's columns, where they are declared or planned."""
        return None if self.columns is None else [column["name"] for column in self.columns]

    def error(self, message: str, line: int | None = None) -> ProjectError:
        """An error in this model, at its own line if no other is given."""
        return ProjectError(message, self.file, self.line if line is None else line, self.name)


# Among the broken: any model might be.
EVERYTHING = "*"


@dataclass
class Project:
    """A project while it is read: parts that failed are missing, and in `problems`."""

    directory: Path
    name: str = ""
    memory_limit_bytes: int | None = None
    parameters: list[dict[str, Any]] = field(default_factory=list)
    sources: dict[str, Source] = field(default_factory=dict)
    declared_sources: set[str] = field(default_factory=set)  # also those that failed
    models: list[ModelEntry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    wants_lineage: bool = False  # of SQL models' columns, which takes time
    # Models and sources that are missing for their errors: who reads them is told nothing more.
    broken: set[str] = field(default_factory=set)

    @property
    def values(self) -> Mapping[str, Any]:
        """The parameters' values by name."""
        return {entry["name"]: entry["value"] for entry in self.parameters}

    def report(self, problem: ProjectError, model: str = "") -> None:
        """Notes an error, once, with its file relative to the project."""
        entry = Problem(problem.message, problem.file, problem.line, problem.model or model)
        if entry not in self.problems:
            self.problems.append(entry)

    def to_json(self) -> dict[str, Any]:
        """The project description."""
        return {
            "name": self.name,
            "memory_limit_bytes": self.memory_limit_bytes,
            "parameters": self.parameters,
            "sources": [source.to_json() for source in self.sources.values()],
            "models": [model.to_json() for model in self.models],
            "errors": [asdict(problem) for problem in self.problems],
            "broken": sorted(self.broken),
        }
