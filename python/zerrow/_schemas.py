"""`TableSchema`: the columns of a table with their types, declared as a class.

    class Flights(zerrow.TableSchema):
        '''One row for each departure.'''

        carrier: zerrow.String
        delay: zerrow.Float64 | None
        fare: Annotated[zerrow.Arrow | None, pa.decimal128(15, 2)]

A type alone means that the column has no nulls; `| None` lets it have some. Nothing here imports
pyarrow before somebody asks for Arrow's types.
"""

import base64
import json
import sys
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from zerrow._errors import ProjectError
from zerrow._evaluation import evaluate

if TYPE_CHECKING:
    import pyarrow as pa


class FieldType:
    """A column's type; the classes below are the ones to use."""

    arrow: ClassVar[tuple[str, ...]]
    any_layout: ClassVar[bool]

    def __init_subclass__(cls, arrow: tuple[str, ...] = (), *, any_layout: bool = False) -> None:
        """`arrow`: Arrow's constructor and its arguments; empty: any type.

        `any_layout`, of texts and bytes: in whatever layout, and as dictionaries too.
        """
        cls.arrow, cls.any_layout = arrow, any_layout


class Arrow(FieldType):
    """Any type, or the one that is written beside it: `Annotated[Arrow, pa.list_(pa.int64())]`."""


class Bool(FieldType, arrow=("bool_",)):
    """Arrow's `bool_()`."""


class Int8(FieldType, arrow=("int8",)):
    """Arrow's `int8()`."""


class Int16(FieldType, arrow=("int16",)):
    """Arrow's `int16()`."""


class Int32(FieldType, arrow=("int32",)):
    """Arrow's `int32()`."""


class Int64(FieldType, arrow=("int64",)):
    """Arrow's `int64()`."""


class UInt8(FieldType, arrow=("uint8",)):
    """Arrow's `uint8()`."""


class UInt16(FieldType, arrow=("uint16",)):
    """Arrow's `uint16()`."""


class UInt32(FieldType, arrow=("uint32",)):
    """Arrow's `uint32()`."""


class UInt64(FieldType, arrow=("uint64",)):
    """Arrow's `uint64()`."""


class Float32(FieldType, arrow=("float32",)):
    """Arrow's `float32()`."""


class Float64(FieldType, arrow=("float64",)):
    """Arrow's `float64()`."""


class String(FieldType, arrow=("string",), any_layout=True):
    """Text: Arrow's `string()`, `large_string()`, `string_view()` and dictionaries of them."""


class Binary(FieldType, arrow=("binary",), any_layout=True):
    """Bytes: Arrow's `binary()`, `large_binary()`, `binary_view()` and dictionaries of them."""


class Date32(FieldType, arrow=("date32",)):
    """Arrow's `date32()`: days."""


class Date64(FieldType, arrow=("date64",)):
    """Arrow's `date64()`: milliseconds."""


class TimestampMicro(FieldType, arrow=("timestamp", "us")):
    """Arrow's `timestamp("us")`."""


class TimestampNano(FieldType, arrow=("timestamp", "ns")):
    """Arrow's `timestamp("ns")`."""


class TimestampMicroUTC(FieldType, arrow=("timestamp", "us", "UTC")):
    """Arrow's `timestamp("us", "UTC")`."""


class TimestampNanoUTC(FieldType, arrow=("timestamp", "ns", "UTC")):
    """Arrow's `timestamp("ns", "UTC")`."""


@dataclass(frozen=True)
class FieldReference:
    """`Schema["attribute"]`: a column that another one comes from."""

    schema: "type[TableSchema]"
    attribute: str

    def __str__(self) -> str:
        return f"{self.schema.__name__}.{self.attribute}"


@dataclass(frozen=True)
class TableField:
    """What a column is besides its type, in `Annotated[Int64, TableField(...)]`.

    Args:
        name: what the column is called, where that can't be the attribute's name.
        doc: what it means.
        lineage: the column that it comes from: `Other["attribute"]`, or in words.
    """

    name: str | None = None
    doc: str | None = None
    lineage: FieldReference | str | None = None


@dataclass(frozen=True)
class Column:
    """A declared column."""

    name: str
    kind: type[FieldType]
    exact: Any  # the pyarrow.DataType that stands beside Arrow, or None
    nullable: bool
    doc: str | None = None
    lineage: FieldReference | str | None = None

    @property
    def type(self) -> "pa.DataType | None":
        """Arrow's type; None: any."""
        if self.exact is not None or not self.kind.arrow:
            return self.exact
        import pyarrow as pa

        constructor, *arguments = self.kind.arrow
        return getattr(pa, constructor)(*arguments)

    def accepts(self, found: "pa.DataType") -> bool:
        """Whether a column of the type is one as declared."""
        wanted = self.type
        if wanted is None or found == wanted:
            return True
        return self.kind.any_layout and _plain(found) == wanted

    def to_json(self) -> dict[str, Any]:
        """The entry of a description's `columns`."""
        wanted = self.type
        return {
            "name": self.name,
            "type": None if wanted is None else str(wanted),
            "nullable": self.nullable,
            "lineage": None if self.lineage is None else [str(self.lineage)],
        }


def _plain(found: "pa.DataType") -> "pa.DataType":
    """The usual layout of texts and bytes; other types as they are."""
    import pyarrow as pa
    import pyarrow.types as pt

    if pt.is_dictionary(found):
        found = found.value_type
    if found in (pa.large_string(), pa.string_view()):
        return pa.string()
    return pa.binary() if found in (pa.large_binary(), pa.binary_view()) else found


class _SchemaClass(type):
    """Reads a schema's columns where the class is written, so that an error has that place."""

    __zerrow_columns__: dict[str, Column]

    def __init__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> None:
        super().__init__(name, bases, body)
        frame = sys._getframe(1)
        place = frame.f_code.co_filename, frame.f_lineno
        known = {**frame.f_globals, **frame.f_locals}
        columns: dict[str, Column] = {}
        for base in reversed(cls.__mro__[1:]):
            columns.update(getattr(base, "__zerrow_columns__", {}))
        for attribute, value in body.items():
            if isinstance(value, type) and issubclass(value, FieldType):
                _fail(name, attribute, f"write {attribute}: {value.__name__}", place)
        for attribute, annotation in body.get("__annotations__", {}).items():
            if attribute in body:
                _fail(name, attribute, "a column has no value", place)
            try:
                value = annotation
                if isinstance(annotation, str):
                    value = evaluate(annotation, known, cls.__module__)
                columns[attribute] = _column(attribute, value)
            except Exception as problem:
                _fail(name, attribute, f"{problem}", place)
        names = [column.name for column in columns.values()]
        for column_name in {given for given in names if names.count(given) > 1}:
            _fail(name, column_name, "two columns have this name", place)
        cls.__zerrow_columns__ = columns

    def __getitem__(cls, attribute: str) -> FieldReference:
        if attribute not in cls.__zerrow_columns__:
            raise KeyError(f"{cls.__name__} has no column {attribute!r}")
        return FieldReference(typing.cast("type[TableSchema]", cls), attribute)


class TableSchema(metaclass=_SchemaClass):
    """Base of classes that declare a table's columns, which are checked where they are written."""


def _fail(schema: str, attribute: str, problem: str, place: tuple[str, int]) -> NoReturn:
    raise ProjectError(f"{schema}.{attribute}: {problem}", *place)


def columns_of(schema: type[TableSchema]) -> list[Column]:
    """The columns that a schema declares, in their order, those of its bases first."""
    return list(schema.__zerrow_columns__.values())


def contract_to_text(contract: Iterable[Column]) -> str:
    """A contract as text, for workers that don't import the project."""
    return json.dumps(
        [
            [column.name, column.kind.__name__, column.nullable, _type_to_text(column.exact)]
            for column in contract
        ]
    )


def contract_of_text(text: str) -> list[Column]:
    """The contract that `contract_to_text` wrote."""
    kinds = {kind.__name__: kind for kind in FieldType.__subclasses__()}
    return [
        Column(name, kinds[kind], _type_of_text(exact), nullable)
        for name, kind, nullable, exact in json.loads(text)
    ]


def _type_to_text(exact: "pa.DataType | None") -> str | None:
    if exact is None:
        return None
    import pyarrow as pa

    return base64.b64encode(pa.schema([("", exact)]).serialize()).decode()


def _type_of_text(text: str | None) -> "pa.DataType | None":
    if text is None:
        return None
    import pyarrow as pa

    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text))).field(0).type


def _column(attribute: str, annotation: object) -> Column:
    """The column of one attribute; ValueError if its annotation isn't that of a column."""
    metadata: tuple[object, ...] = ()
    nullable = False
    while True:
        if typing.get_origin(annotation) is typing.Annotated:
            metadata += typing.get_args(annotation)[1:]
            annotation = typing.get_args(annotation)[0]
        elif typing.get_origin(annotation) in (typing.Union, types.UnionType):
            options = [one for one in typing.get_args(annotation) if one is not type(None)]
            nullable = True
            if len(options) != 1:
                raise ValueError("a column has one type; only `| None` may stand beside it")
            annotation = options[0]
        else:
            break
    if not isinstance(annotation, type) or not issubclass(annotation, FieldType):
        raise ValueError(
            f"{annotation!r} is no column's type: use zerrow.Int64, zerrow.String and so on, or "
            "Annotated[zerrow.Arrow, ...] with a type of pyarrow"
        )
    fields = [one for one in metadata if isinstance(one, TableField)]
    exact = [one for one in metadata if _is_arrow_type(one)]
    if len(fields) > 1 or len(exact) > 1:
        raise ValueError("one TableField and one type of pyarrow at most")
    if any(one is TableField for one in metadata):
        raise ValueError("write TableField(...)")
    if exact and annotation is not Arrow:
        raise ValueError(f"a type of pyarrow stands beside zerrow.Arrow, not {annotation.__name__}")
    field = fields[0] if fields else TableField()
    if field.lineage is not None and not isinstance(field.lineage, FieldReference | str):
        raise ValueError('lineage is a column of another schema: Other["column"]')
    return Column(
        attribute if field.name is None else field.name,
        annotation,
        exact[0] if exact else None,
        nullable,
        field.doc,
        field.lineage,
    )


def _is_arrow_type(value: object) -> bool:
    library = sys.modules.get("pyarrow")  # a value of it means that it is loaded
    return library is not None and isinstance(value, library.DataType)
