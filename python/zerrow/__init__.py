"""Zerrow: data pipelines of isolated functions that hand Arrow tables over without copying them.

A project is a folder with a `zerrow_project.yml`, Python files with decorated functions and SQL
files. This package is what those files import, and the client that runs such a project:

    import zerrow

    @zerrow.model()
    def late(flights=zerrow.Model("flights", filter="dep_delay > 60")):
        return flights.group_by("carrier").aggregate([("dep_delay", "mean")])

Importing it loads none of the data libraries: they are imported where they are used.
"""

import importlib
from typing import TYPE_CHECKING

from zerrow._declarations import Model, Parameter
from zerrow._decorators import expectation, model, python, resources
from zerrow._errors import Problem, ProjectError, ZerrowError
from zerrow._schemas import (
    Arrow,
    Binary,
    Bool,
    Date32,
    Date64,
    Float32,
    Float64,
    Int8,
    Int16,
    Int32,
    Int64,
    String,
    TableField,
    TableSchema,
    TimestampMicro,
    TimestampMicroUTC,
    TimestampNano,
    TimestampNanoUTC,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
)

if TYPE_CHECKING:
    from zerrow import compute, standard_expectations
    from zerrow._reports import EngineStatus, ModelReport, RunReport
    from zerrow._run import Connection, RunResult, connect, run
    from zerrow._run_errors import (
        EngineError,
        InvalidOptionsError,
        InvalidProjectError,
        ModelError,
        RunError,
        UnknownTableError,
    )

__version__ = "0.1.0"

__all__ = [
    "Arrow",
    "Binary",
    "Bool",
    "Connection",
    "Date32",
    "Date64",
    "EngineError",
    "EngineStatus",
    "Float32",
    "Float64",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "InvalidOptionsError",
    "InvalidProjectError",
    "Model",
    "ModelError",
    "ModelReport",
    "Parameter",
    "Problem",
    "ProjectError",
    "RunError",
    "RunReport",
    "RunResult",
    "String",
    "TableField",
    "TableSchema",
    "TimestampMicro",
    "TimestampMicroUTC",
    "TimestampNano",
    "TimestampNanoUTC",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "UnknownTableError",
    "ZerrowError",
    "__version__",
    "compute",
    "connect",
    "expectation",
    "model",
    "python",
    "resources",
    "run",
    "standard_expectations",
]

# Loaded when first asked for: name -> module that has it ("" stands for the module itself).
_LAZY = {
    "compute": "",
    "standard_expectations": "",
    "run": "_run",
    "connect": "_run",
    "Connection": "_run",
    "RunResult": "_run",
    "RunError": "_run_errors",
    "InvalidOptionsError": "_run_errors",
    "InvalidProjectError": "_run_errors",
    "ModelError": "_run_errors",
    "EngineError": "_run_errors",
    "UnknownTableError": "_run_errors",
    "RunReport": "_reports",
    "EngineStatus": "_reports",
    "ModelReport": "_reports",
}


if not TYPE_CHECKING:  # for whom then any name would be one of this module

    def __getattr__(name: str) -> object:
        source = _LAZY.get(name)
        if source is None:
            raise AttributeError(f"module 'zerrow' has no attribute {name!r}")
        module = importlib.import_module(f"zerrow.{source or name}")
        value = getattr(module, name) if source else module
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
