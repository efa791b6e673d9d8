"""What may be skipped of a file, and what is read of it, against what is kept in memory."""

import datetime
import decimal
import math
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from zerrow._sources.parquet import ParquetFile
from zerrow._sources.widening import widest
from zerrow._sql.filters import Condition, columns_of
from zerrow._sql.pruning import (
    Bounds,
    Family,
    Group,
    bounds_of,
    family_of,
    may_skip,
    value_of,
)
from zerrow._worker.tasks import narrow

DAY = datetime.date(2020, 1, 1)
MOMENT = datetime.datetime(2020, 1, 1)
NAN = float("nan")
LONG = "a text that is so long that writers cut it: " + "ab" * 30

# column -> its type, its values and the literals that it is compared with
FLOATS = [-2.5, -1.0, -0.0, 0.0, 1.0, 3.5, NAN, NAN, NAN, float("inf"), -float("inf")]
NUMBERS = ["-1.0", "0.0", "-0.0", "1.0", "3.5", "7.0", "-9.0"]
TEXTS = ["", "a", "ab", "b", "ä", LONG, LONG + "c", LONG + "z"]
COLUMNS = {
    "f": (pa.float64(), FLOATS, NUMBERS),
    "g": (pa.float32(), FLOATS, NUMBERS),
    "i": (pa.int64(), [-3, 0, 1, 2, 5, 2**53 + 1], ["-3", "1", "2", "4", "9", "9007199254740993"]),
    "d": (
        pa.decimal128(9, 2),
        [decimal.Decimal(n) / 100 for n in (-150, 0, 25, 99)],
        ["-1.50", "0.25", "0.3", "2"],
    ),
    "t": (pa.string(), TEXTS, [f"'{text}'" for text in [*TEXTS, LONG[:60], LONG[:-1]]]),
    "day": (
        pa.date32(),
        [DAY + datetime.timedelta(n) for n in (-400, 0, 1)],
        ["DATE '2018-11-27'", "DATE '2020-01-01'", "DATE '2021-01-01'"],
    ),
    "p": (pa.bool_(), [True, False], ["true", "false"]),
    "u": (pa.uint64(), [0, 1, 2**63, 2**64 - 1], ["-1", "1", "9223372036854775808", "1e19"]),
    "small": (pa.uint8(), [0, 5, 200, 255], ["-1", "5", "200.5", "1000"]),
    "k": (pa.dictionary(pa.int32(), pa.string()), TEXTS, ["'a'", "'ab'", "'c'"]),
    "at": (
        pa.timestamp("ms"),
        [MOMENT + datetime.timedelta(hours=n) for n in (-1, 0, 5)],
        ["'2020-01-01'", "TIMESTAMP '2020-01-01 05:00:00'", "'2020-01-01 00:00:00.0000005'"],
    ),
    "utc": (
        pa.timestamp("us", "Europe/Berlin"),
        [MOMENT.replace(tzinfo=datetime.UTC), MOMENT.replace(tzinfo=datetime.UTC, year=1700)],
        ["'2020-01-01'", "'2019-12-31T22:00:00-02:00'", "'1700-01-01'"],
    ),
    "clock": (pa.time64("us"), [datetime.time(1), datetime.time(23, 59)], ["'01:00'", "'12:00'"]),
}


class Filters:
    """Made from a seed; a value is more often near the others than not."""

    def __init__(self, seed, columns=COLUMNS):
        self.random = random.Random(seed)
        self.columns = columns

    def group(self, rows):
        """A few neighbouring values in each column, so that groups differ."""
        return pa.table({name: self.column(name, rows) for name in self.columns})

    def column(self, name, rows):
        type_, values, _ = self.columns[name]
        choose = self.random.choice
        few = [choose(values) for _ in range(choose([1, 1, 2, 3]))]
        nulls = choose([0, 0, 0.3, 1])
        made = [None if self.random.random() < nulls else choose(few) for _ in range(rows)]
        return pa.array(made, type_)

    def condition(self, depth=2):
        choose = self.random.choice
        kind = choose(["and", "or", "not", "leaf"]) if depth else "leaf"
        if kind in ("and", "or"):
            return f"({self.condition(depth - 1)} {kind} {self.condition(depth - 1)})"
        return f"NOT ({self.condition(depth - 1)})" if kind == "not" else self.leaf()

    def leaf(self):
        choose = self.random.choice
        name = choose([*self.columns, *"fgfgfg"])  # NaN is what most goes wrong with
        literals = self.columns[name][2]
        negation = choose(["", "", "NOT "])
        kind = choose(["compare", "compare", "mirrored", "between", "in", "null"])
        if kind == "null":
            return f"{name} IS {negation}NULL"
        if kind == "between":
            return f"{name} {negation}BETWEEN {choose(literals)} AND {choose(literals)}"
        if kind == "in":
            values = [choose(literals) for _ in range(choose([1, 2, 12]))]
            values += ["NULL"] if self.random.random() < 0.2 else []
            return f"{name} {negation}IN ({', '.join(values)})"
        operator = choose(["=", "<>", "<", "<=", ">", ">="])
        sides = name, choose(literals)
        return f" {operator} ".join(sides if kind == "compare" else reversed(sides))


def prunable(condition, schema):
    return Condition(condition, schema).rule


GROUPS = 10
SCHEMA = pa.schema({name: type_ for name, (type_, _, _) in COLUMNS.items()})


def float_group(low, high, rows=3, nulls=0):
    return Group(rows, {"f": bounds_of(Family.FLOAT, low, high, nulls)})


# A group of 3.0, 3.0, NaN: may it be skipped?
@pytest.mark.parametrize(
    ("condition", "skipped"),
    [
        ("f = 4", True),
        ("f IN (1, 4)", True),
        ("f BETWEEN 4 AND 9", True),
        ("f >= 4 AND f <= 9", True),
        ("f < 3", False),
        ("f <= 2", False),
        ("f > 3", False),
        ("f >= 4", False),
        ("NOT (f >= 3)", False),
        ("NOT (f > 2)", False),
        ("NOT (f <= 3)", False),
        ("NOT (f < 10)", False),
        ("f <> 3", False),
        ("NOT (f = 3)", False),
        ("f NOT IN (3, 4)", False),
        ("f NOT BETWEEN 2 AND 4", False),
        ("f IS NULL", True),
        ("f = 4 AND f <> 3", True),
        ("f = 4 OR f <> 3", False),
        ("f + 1 = 5", False),
    ],
)
def test_groups_with_nan(condition, skipped):
    assert may_skip(prunable(condition, SCHEMA), float_group(3.0, 3.0)) is skipped


def test_statistics_that_say_nothing():
    for group in (
        float_group(NAN, 3.0),
        float_group(1.0, NAN),
        float_group(5.0, 3.0),
        Group(3, {"f": Bounds(Family.FLOAT)}),
        Group(3),
    ):
        assert not may_skip(prunable("f = 100", SCHEMA), group)
        assert not may_skip(prunable("f IS NULL AND f IS NULL", SCHEMA), Group(3))
    assert may_skip(prunable("f = 100", SCHEMA), Group(0))


def test_zeros_are_equal():
    group = float_group(0.0, 1.0)  # legacy writers note 0.0 for -0.0
    assert may_skip(prunable("f BETWEEN -2 AND -1", SCHEMA), group)
    assert not may_skip(prunable("f = -0.0", SCHEMA), group)


def test_nulls():
    unknown = Group(4, {"i": bounds_of(Family.EXACT, 1, 1)})
    some = Group(4, {"i": bounds_of(Family.EXACT, 1, 1, 2)})
    none = Group(4, {"i": bounds_of(Family.EXACT, 1, 1, 0)})
    all_ = Group(4, {"i": Bounds(Family.EXACT, nulls=4)})
    skipped = {
        "i IS NULL": [none],
        "i IS NOT NULL": [all_],
        "i = 1": [all_],
        "i <> 1": [unknown, some, none, all_],
        "NOT (i = 1)": [unknown, some, none, all_],
        "i NOT IN (1, NULL)": [unknown, some, none, all_],
        "i NOT IN (2, NULL)": [unknown, some, none, all_],
        "i = NULL OR i IN (NULL)": [unknown, some, none, all_],
        "i = 1 OR i IS NULL": [],
    }
    for condition, wanted in skipped.items():
        rule = prunable(condition, SCHEMA)
        found = [group for group in (unknown, some, none, all_) if may_skip(rule, group)]
        assert found == wanted, condition


def test_literals_and_columns_of_other_types():
    group = Group(4, {"i": bounds_of(Family.EXACT, 2**53, 2**53 + 1)})
    # As floats both are the same.
    assert may_skip(prunable("i > 9007199254740992.0", SCHEMA), group)
    assert not may_skip(prunable("i >= 9007199254740992.0", SCHEMA), group)
    assert may_skip(prunable("i > 9.1e15", SCHEMA), group)
    assert may_skip(prunable("i < 1.5", SCHEMA), group)
    text = Group(4, {"t": bounds_of(Family.TEXT, b"a", b"a text that was cu")})
    assert not may_skip(prunable("t > 'a text that was cut'", SCHEMA), text)
    assert not may_skip(prunable("t = 'a text that was cut'", SCHEMA), text)
    assert may_skip(prunable("t > 'a u'", SCHEMA), text)
    assert value_of(pa.scalar(NAN)) is None
    assert value_of(pa.scalar(None, pa.int64())) is None


def statistics(filters, column):
    """What one of many writers notes of a column: with, without or with useless bounds."""
    choose = filters.random.choice
    family = family_of(column.type)
    nulls = choose([column.null_count, column.null_count, None])
    values = column.drop_null().to_pylist()
    if family is Family.FLOAT:
        values = [value for value in values if not math.isnan(value)]
        if column.drop_null().to_pylist() != values and choose([True, False, False]):
            return bounds_of(family, choose([NAN, *values]), NAN, nulls)
    if not values:
        return Bounds(family, nulls=nulls)
    type_ = pa.string() if pa.types.is_dictionary(column.type) else column.type
    low, high = (value_of(pa.scalar(v, type_)).plain for v in (min(values), max(values)))
    if family is Family.TEXT:
        low, high = low[: choose([3, 64])], high[: choose([8, 20, 64])]
    if family is Family.FLOAT and choose([True, False]):
        low, high = low + 0.0, high - 0.0 if high else -0.0
    return bounds_of(family, choose([low, low, None]), choose([high, high, None]), nulls)


def with_negative_nan(table):
    """As inf - inf gives on x86; pyarrow makes of a Python NaN always the positive one."""
    for index, name in enumerate("fg"):
        values = table[name].combine_chunks()
        plain = np.nan_to_num(values.to_numpy(zero_copy_only=False), nan=np.copysign(NAN, -1))
        made = pa.array(
            plain.astype(values.type.to_pandas_dtype()), mask=values.is_null().to_numpy(False)
        )
        table = table.set_column(index, name, made)
    return table


def test_no_row_is_lost():
    skipped = 0
    for seed in range(100):
        filters = Filters(seed)
        tables = [filters.group(filters.random.choice([1, 3, 5])) for _ in range(GROUPS)]
        if seed % 2:
            tables = [with_negative_nan(table) for table in tables]
        groups = [
            Group(
                table.num_rows, {n: statistics(filters, table[n].combine_chunks()) for n in COLUMNS}
            )
            for table in tables
        ]
        numbered = pa.concat_tables(
            table.append_column("nr", pa.array([nr] * table.num_rows))
            for nr, table in enumerate(tables)
        )
        for _ in range(3):
            condition = filters.condition()
            compiled = Condition(condition, numbered.schema)
            kept = set(compiled.kept(numbered)["nr"].to_pylist())
            rule = compiled.rule
            for nr, group in enumerate(groups):
                if may_skip(rule, group):
                    skipped += 1
                    assert nr not in kept, (seed, condition, group, tables[nr].to_pylist())
    assert skipped > 100


def write(filters, path, tables):
    """A file with a row group for each table, as one of several writers leaves it."""
    choose = filters.random.choice
    if choose([True, False, False]):
        from datafusion import ParquetWriterOptions, SessionContext

        frame = SessionContext().from_arrow(pa.concat_tables(tables))
        options = ParquetWriterOptions(max_row_group_size=3, statistics_truncate_length=8)
        frame.write_parquet_with_options(str(path), options)
        return
    schema = tables[0].schema
    with pq.ParquetWriter(
        path,
        schema,
        version=choose(["1.0", "2.6"]),
        write_statistics=choose([True, True, False, schema.names[::2]]),
        store_schema=choose([True, False]),
        store_decimal_as_integer=choose([True, False]),
        use_dictionary=choose([True, False]),
    ) as writer:
        for table in tables:
            writer.write_table(table)


def rows_of(table):
    """Rows with NaN and zeros as text, which are equal if they are the same."""
    return [str(row) for row in table.to_pylist()]


def test_what_is_read_is_what_a_filter_in_memory_keeps(tmp_path, read):
    skipped = 0
    for seed in range(100):
        filters = Filters(seed, COLUMNS)
        choose = filters.random.choice
        files = [str(tmp_path / f"{seed}.{part}.parquet") for part in range(choose([1, 2]))]
        for file in files:
            rows = [choose([0, 1, 3, 5]) for _ in range(choose([1, 4]))]
            write(filters, file, [filters.group(count) for count in rows])
        if len(files) > 1 and not fit_together(files):
            files.pop()  # dates in milliseconds, and such: no source has both
        whole = read(files, None, None)
        for _ in range(4):
            condition = filters.condition()
            columns = choose([None, [], filters.random.sample(whole.schema.names, 2)])
            found = read(files, columns, condition)
            wanted = narrow(whole, columns, condition)
            assert found.num_rows == wanted.num_rows, (seed, condition)
            assert found.schema.equals(wanted.schema), (seed, condition)
            assert rows_of(found) == rows_of(wanted), (seed, condition)
            rule = prunable(condition, whole.schema)
            opened = ParquetFile(files[0])
            groups = [g for g in opened.groups(columns_of(condition)) if g.rows]
            skipped += sum(may_skip(rule, group) for group in groups)
    assert skipped > 100


def fit_together(files):
    types = [ParquetFile(file).schema.types for file in files]
    return all(widest(pair) is not None for pair in zip(*types, strict=True))
