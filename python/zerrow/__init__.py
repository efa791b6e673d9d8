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

# Loaded when first asked for, by the module that has them.
_LAZY = {
    "_run": ("Connection", "RunResult", "connect", "run"),
    "_reports": ("EngineStatus", "ModelReport", "RunReport"),
    "_run_errors": (
        *("EngineError", "InvalidOptionsError", "InvalidProjectError"),
        *("ModelError", "RunError", "UnknownTableError"),
    ),
}


if not TYPE_CHECKING:  # for whom then any name would be one of this module

    def __getattr__(name: str) -> object:
        if name in ("compute", "standard_expectations"):
            return importlib.import_module(f"zerrow.{name}")
        for module, names in _LAZY.items():
            if name in names:
                value = getattr(importlib.import_module(f"zerrow.{module}"), name)
                globals()[name] = value
                return value
        raise AttributeError(f"module 'zerrow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
