"""Types that hold each other's values, and what becomes of files that differ."""

import itertools

import pyarrow as pa
import pytest
from zerrow._errors import SourceError
from zerrow._sources.common_schema import FileColumns, common_schema
from zerrow._sources.widening import widen, widens, widest

CHAINS = [
    [pa.int8(), pa.int16(), pa.int32(), pa.int64()],
    [pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()],
    [pa.uint8(), pa.int16(), pa.int32(), pa.float64()],
    [pa.uint32(), pa.int64()],
    [pa.uint32(), pa.float64()],
    [pa.int16(), pa.float32(), pa.float64()],
    [pa.int8(), pa.float16(), pa.float32(), pa.float64()],
    [pa.decimal128(5, 2), pa.decimal128(9, 2), pa.decimal256(40, 2)],
    [pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("us")],
    [pa.timestamp("ms", "UTC"), pa.timestamp("us", "UTC")],
    [pa.string(), pa.large_string()],
    [pa.binary(), pa.large_binary()],
    [pa.dictionary(pa.int32(), pa.string()), pa.string()],
    [pa.null(), pa.int8()],
    [pa.null(), pa.list_(pa.int8())],
    [pa.null(), pa.struct({"a": pa.string()})],
]
APART = [
    (pa.int64(), pa.float64()),
    (pa.int32(), pa.float32()),
    (pa.int32(), pa.uint64()),
    (pa.uint64(), pa.int64()),
    (pa.int32(), pa.uint32()),
    (pa.int64(), pa.string()),
    (pa.int32(), pa.date32()),
    (pa.date32(), pa.timestamp("s")),
    (pa.timestamp("us"), pa.timestamp("ns")),
    (pa.timestamp("ms"), pa.timestamp("us", "UTC")),
    (pa.timestamp("us", "UTC"), pa.timestamp("us", "Europe/Paris")),
    (pa.decimal128(9, 2), pa.decimal128(9, 3)),
    (pa.decimal256(9, 2), pa.decimal128(12, 2)),
    (pa.list_(pa.int32()), pa.list_(pa.int64())),
    (pa.bool_(), pa.int8()),
]


@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_what_widens(chain):
    for narrow, wide in itertools.combinations(chain, 2):
        assert widens(narrow, wide)
        assert not widens(wide, narrow)
        assert widest([narrow, wide, narrow]) == wide
    assert widest(reversed(chain)) == chain[-1]


@pytest.mark.parametrize(("one", "other"), APART, ids=str)
def test_what_does_not(one, other):
    assert widest([one, other]) is None
    assert widest([other, one]) is None


def test_the_order_of_the_files_has_no_say():
    assert widest([pa.uint8(), pa.int8()]) is None  # int16 would hold both, but no file has it
    for types in itertools.permutations([pa.uint8(), pa.int8(), pa.int16()]):
        assert widest(types) == pa.int16()
    assert widest([pa.int16(), pa.int8(), pa.int32()]) == pa.int32()


@pytest.mark.parametrize(
    ("type_", "extremes"),
    [
        (pa.int8(), [-128, 127]),
        (pa.uint32(), [0, 2**32 - 1]),
        (pa.int32(), [-(2**31), 2**31 - 1]),
        (pa.float32(), [-3.4028234663852886e38, 1.401298464324817e-45, float("inf")]),
        (pa.decimal128(3, 2), ["9.99", "-9.99"]),
        (pa.timestamp("ms"), [-(2**50), 2**50]),
        (pa.dictionary(pa.int32(), pa.string()), ["a", "ä", "a"]),
        (pa.string(), ["", "ä"]),
        (pa.null(), [None, None]),
    ],
    ids=str,
)
def test_values_stay_what_they_are(type_, extremes):
    known = itertools.chain(*CHAINS)
    for wide in {other for other in known if widens(type_, other)}:
        plain = pa.decimal128(38, 2) if pa.types.is_decimal(type_) else type_
        column = pa.chunked_array([pa.array([*extremes, None]).cast(plain).cast(type_)])
        found = widen(column, wide)
        assert found.type == wide
        if pa.types.is_null(type_):
            assert found.null_count == len(column)
        elif pa.types.is_dictionary(type_):
            assert found.equals(column.cast(wide))
        else:
            assert found.cast(type_).equals(column)


def schema_of(*columns, path="f", **partition):
    return FileColumns(path, pa.schema(list(columns)), partition)


def test_the_first_file_says_the_order_and_all_say_the_types():
    files = [
        schema_of(("a", pa.int8()), ("b", pa.int64()), path="1", year=2013),
        schema_of(("b", pa.int32()), ("a", pa.int64()), path="2", year=None),
    ]
    found = common_schema(files)
    assert found == pa.schema([("a", pa.int64()), ("b", pa.int64()), ("year", pa.int32())])


def test_refusals_name_files_and_column():
    one = schema_of(("a", pa.int8()), path="one")
    for other, reason in [
        (schema_of(("b", pa.int8()), path="2"), "column 'a' of one is missing in 2"),
        (
            schema_of(("a", pa.int8()), ("b", pa.int8()), path="2"),
            "column 'b' of 2 is missing in one",
        ),
        (schema_of(("a", pa.string()), path="2"), "column 'a' is int8 in one, but string in 2"),
        (schema_of(("a", pa.int8()), ("a", pa.int8()), path="2"), "'a' is there twice in 2"),
    ]:
        with pytest.raises(SourceError, match=reason):
            common_schema([one, one, other])
    third = schema_of(("a", pa.uint16()), path="third")
    with pytest.raises(SourceError, match="'a' is int16 in wide, but uint16 in third"):
        common_schema([one, schema_of(("a", pa.int16()), path="wide"), third])
    with pytest.raises(SourceError, match=r"column 'a' is there twice: in f and in .* a=\.\.\."):
        common_schema([schema_of(("a", pa.int8()), a=1)])
