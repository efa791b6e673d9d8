"""Conditions as in SQL: what they mean to Arrow, against DuckDB, and what is refused."""

import datetime
import decimal
import random

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from zerrow import _native
from zerrow._sources.parquet import ParquetFile
from zerrow._sql.filters import (
    FilterError,
    check_text,
    columns_of,
    compile_condition,
    compile_value,
    prunable,
    serialize,
)
from zerrow._sql.pruning import may_skip

DAY = datetime.date(2020, 1, 1)
TABLE = pa.table(
    {
        "small": pa.array([1, None, 127], pa.int8()),
        "id": [1, 2**60, None],
        "big": pa.array([1, 2**63, 5], pa.uint64()),
        "x": [1.5, None, -2.0],
        "single": pa.array([0.5, 2, None], pa.float32()),
        "s": ["ab", None, "it's"],
        "long": pa.array(["ab", "b", None], pa.large_string()),
        "view": pa.array(["ab", "b" * 20, None], pa.string_view()),
        "dict": pa.array(["ab", "b", None]).dictionary_encode(),
        "flag": [True, None, False],
        "day": [DAY, None, datetime.date(2021, 6, 1)],
        "at": pa.array([datetime.datetime(2020, 1, 1, 12), None, None], pa.timestamp("ns")),
        "utc": pa.array([datetime.datetime(2020, 1, 1)] * 3, pa.timestamp("s", "UTC")),
        "clock": [datetime.time(1), None, datetime.time(23, 59)],
        "price": pa.array(
            [decimal.Decimal("0.05"), None, decimal.Decimal(24)], pa.decimal128(15, 2)
        ),
        "Mixed Case": [1, 2, 3],
        "order": [1, 2, 3],
        "nothing": pa.nulls(3),
    }
)

# condition -> the rows for which it is true
TRUE_FOR = {
    "small > 5": [2],
    "small < 1000": [0, 2],
    "small + 1 > 127": [2],
    "small + small > 250": "overflow",
    "id > 1.5": [1],
    "id < 2e18": [0, 1],
    "id = 1152921504606846976": [1],
    "big > -1": [0, 1, 2],
    "big > id": [1],
    "x > id": [0],
    "x + id > 0": [0],
    "x = 1.5": [0],
    "x / 0 > 1": [0],
    "id / 0 > 1": "divide by zero",
    "single = 0.5": [0],
    "s = 'ab'": [0],
    "s = 'it''s'": [2],
    "s <> 'ab'": [2],
    "s = long": [0],
    "s = dict": [0],
    "view = 'ab' OR view > 'b'": [0, 1],
    "dict IN ('ab', 'c')": [0],
    "s LIKE '%b'": [0],
    "s NOT LIKE '%b'": [2],
    "s ILIKE 'A_'": [0],
    "dict LIKE 'b%'": [1],
    "view LIKE 'b%'": [1],
    "flag": [0],
    "NOT flag": [2],
    "flag = false": [2],
    "flag IS TRUE": [0],
    "flag IS NOT TRUE": [1, 2],
    "flag IS FALSE": [2],
    "flag IS NULL": [1],
    "flag IS NOT NULL": [0, 2],
    "flag AND NULL": [],
    "flag OR NULL": [0],
    "nothing = 1": [],
    "nothing IS NULL": [0, 1, 2],
    "id = NULL": [],
    "id IN (1, NULL)": [0],
    "id NOT IN (3, NULL)": [],
    "id NOT IN (3, 4)": [0, 1],
    "day = '2020-01-01'": [0],
    "day > DATE '2020-01-01'": [2],
    "day < '2020-01-01 10:00'": [0],
    "at > '2020-01-01'": [0],
    "at = TIMESTAMP '2020-01-01 12:00:00'": [0],
    "at < DATE '2020-01-02'": [0],
    "at > '2020-01-01 11:59:59.999999999'": [0],
    "utc = '2020-01-01'": [0, 1, 2],
    "utc > '2020-01-01T00:00:00+02:00'": [0, 1, 2],
    "utc > TIMESTAMPTZ '2020-01-01 00:00:00+02'": [0, 1, 2],
    "utc >= TIMESTAMP '2020-01-01 00:00:00.5'": [],
    "utc > DATE '2020-01-01'": [],
    "clock > '01:00:00'": [2],
    "clock = TIME '01:00'": [0],
    "price = 0.05": [0],
    "price > 23": [2],
    "price * (1 - price) < 0": [2],
    "price BETWEEN 0 AND 1": [0],
    "price NOT BETWEEN 0 AND 1": [2],
    '"Mixed Case" = 2': [1],
    '"order" >= 2': [1, 2],
    "order >= 2": [1, 2],
    "id % 2 = 1": [0],
    "-small = -1": [0],
    "-(id) / 2 = 0": [0],
    "1 = 1": [0, 1, 2],
    "NULL": [],
    "id IN (1, 2, 3, 4, 5, 6, 7, 8, 9)": [0],
    "id NOT IN (2, 3, 4, 5, 6, 7, 8, 9, 10)": [0, 1],
    "id IN (2, 3, 4, 5, 6, 7, 8, 9, 10.5, 1)": [0],
    "day IN ('2020-01-01', '2020-01-02', '2020-01-03', '2020-01-04', '2020-01-05', "
    "'2020-01-06', '2020-01-07', '2020-01-08', '2020-01-09')": [0],
    "small IN (1, 2, 3, 4, 5, 6, 7, 8, 1000)": [0],
    "id = 1 -- AND flag": [0],
    "upper(s) = 'AB'": [0],
    "upper(dict) = upper(long)": [0, 1],
    "lower(view) LIKE 'b%'": [1],
    "trim(s) = 'ab' OR length(s) > 2": [0, 2],
    "upper(dict) IN ('AB', 'X')": [0],
    "upper(NULL) = 'A'": [],
    "length(nothing) = 1": [],
}


def rows_kept(table, condition):
    """The numbers of the rows for which the condition is true."""
    expression = compile_condition(condition, table.schema)
    found = ds.dataset(table).scanner(columns={"keep": expression}).to_table()["keep"]
    return [row for row, keep in enumerate(found.to_pylist()) if keep]


@pytest.mark.parametrize("condition", TRUE_FOR)
def test_conditions_mean_what_they_mean_in_sql(condition):
    wanted = TRUE_FOR[condition]
    check_text(condition)
    if isinstance(wanted, str):
        with pytest.raises(pa.ArrowInvalid, match=wanted):
            rows_kept(TABLE, condition)
        return
    assert rows_kept(TABLE, condition) == wanted


REFUSED = {
    "": "it is empty",
    "-- nothing": "it is empty",
    "id >": "it can't be read at",
    "id > 1; flag": "is not supported",
    "id AS b": "it can't be read at 'AS'",
    "SELECT 1": "it can't be read at 'SELECT'",
    "id > 1 ORDER BY id": "it is not one condition",
    "left(s, 1) = 'a'": "LEFT(s, 1) is not supported",
    "upper(s, 'x') = 'A'": "it can't be read at ')'",
    "trim(long FROM s) = 'a'": "the characters must be a text in quotes",
    "replace(s, 'a', long) = 'a'": "the replacement must be a text in quotes",
    "substring(s, small) = 'a'": "must be whole numbers",
    "substring(s, 1, -1) = 'a'": "the length must not be negative",
    "substring(s, 9999999999) = 'a'": "9999999999 is too large",
    "id IN (SELECT 1)": "IN needs a list",
    "EXISTS (SELECT 1)": "is not supported",
    "id IN ()": "IN needs a list",
    "CASE WHEN flag THEN flag END": "is not supported",
    "CAST(id AS TEXT) = '1'": "casts are not supported",
    "id::text = '1'": "casts are not supported",
    "TRY_CAST('2020-01-01' AS DATE) = day": "is not supported",
    "s LIKE long": "the pattern must be a text",
    "s LIKE 'a!%' ESCAPE '!'": "is not supported",
    "id BETWEEN SYMMETRIC 1 AND 2": "SYMMETRIC is not supported",
    "id IS 3": "IS needs NULL, TRUE or FALSE",
    "t.id = 1": "write the plain name",
    "id = $x": "has no value here",
    "s = 'unterminated": "it is not one condition",
}


@pytest.mark.parametrize("condition", REFUSED)
def test_what_is_not_supported_is_refused_without_a_table(condition):
    with pytest.raises(FilterError) as caught:
        check_text(condition)
    assert REFUSED[condition] in str(caught.value)
    assert repr(condition) in str(caught.value)


MISFITS = {
    "idd = 1": "there is no column 'idd'; did you mean 'id'?",
    "ID = 1": "there is no column 'ID'; did you mean 'id'?",
    "id": "id (int64) is not a condition",
    "'x'": "'x' is not a condition",
    "flag AND id": "id (int64) is not a condition",
    "NOT s": "s (string) is not a condition",
    "s = 1": "s (string) can't be compared with 1",
    "id > 'x'": "id (int64) can't be compared with 'x'",
    "id IN (1, 'x')": "can't be compared with 'x'",
    "flag = 1": "flag (bool) can't be compared with 1",
    "day > 'soon'": "'soon' is not a date and time",
    "day = DATE '2020-13-01'": "'2020-13-01' is not a date",
    "clock > 'noon'": "'noon' is not a time",
    "at > utc": "can't be compared with utc",
    "id LIKE 'x'": "id (int64) is not a text",
    "day LIKE '2020-01-01'": "is not a text",
    "s + 1 > 2": "s (string) and 1 can't be calculated with",
    "-s = 'x'": "can't be calculated with",
    "1e400 > id": "1e400 is too large",
    "upper(id) = 'A'": "UPPER(id): id (int64) is not a text",
    "length(day) = 1": "day (date32[day]) is not a text",
    "trim(upper(flag)) = 'A'": "flag (bool) is not a text",
    "upper(s) = 1": "UPPER(s) (string) can't be compared with 1",
}


@pytest.mark.parametrize("condition", MISFITS)
def test_what_does_not_fit_the_table_is_said_before_anything_runs(condition):
    with pytest.raises(FilterError) as caught:
        compile_condition(condition, TABLE.schema)
    assert MISFITS[condition] in str(caught.value)


def test_a_column_that_is_there_twice_is_ambiguous():
    schema = pa.schema([("a", pa.int64()), ("a", pa.int64()), ("b", pa.int64())])
    compile_condition("b = 1", schema)
    with pytest.raises(FilterError, match="there 2 times"):
        compile_condition("a = 1", schema)


def test_deep_nesting_is_an_error_not_a_crash():
    for deep in ("(" * 5000 + "flag" + ")" * 5000, " AND ".join(["flag"] * 5000)):
        with pytest.raises(FilterError, match="nested too deeply"):
            compile_condition(deep, TABLE.schema)


def test_columns_are_named_once_in_order():
    condition = "b > a AND b < 3 AND \"C d\" IS NULL AND 'x' = 'y'"
    assert columns_of(condition) == ["b", "a", "C d"]


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        ("small + 1", pa.int64()),
        ("small + small", pa.int8()),
        ("id * 1.5", pa.float64()),
        ("1.5", pa.float64()),
        ("id / 2", pa.int64()),
        ("x / 2", pa.float64()),
        ("price * (1 - price)", pa.decimal128(32, 4)),
        ("s", pa.string()),
        ("dict", TABLE.schema.field("dict").type),
        ("id > 1", pa.bool_()),
        ("upper(dict)", TABLE.schema.field("dict").type),
        ("trim(view)", pa.string_view()),
        ("lower(long)", pa.large_string()),
        ("length(long) + 1", pa.int64()),
    ],
)
def test_values_have_types(text, type_):
    expression, found = compile_value(text, TABLE.schema)
    assert found == type_
    assert len(serialize(expression)) > 8


@pytest.mark.parametrize(
    "text",
    [
        "upper({})",
        "lower({})",
        "trim({})",
        "ltrim({})",
        "rtrim({}, 'b ')",
        "trim({}, ' a')",
        "replace({}, 'a', 'xyz')",
        "replace({}, '', 'xyz')",
        "substring({}, 2)",
        "substring({}, 2, 3)",
        "substring({}, 0, 2)",
        "substring({}, 1, 0)",
        "length({})",
        "upper(trim(lower({})))",
    ],
)
def test_text_functions_are_those_of_sql(text):
    texts = ["ab", " Ab ", "", None, "bab b", "É é", "\ttab", "a text that is longer than a view"]
    plain = pa.array(texts)
    table = pa.table(
        {"s": plain, "v": plain.cast(pa.string_view()), "d": plain.dictionary_encode()}
    )
    query = f"SELECT {text.format('s')} FROM t"
    expected = duckdb.connect().from_arrow(table.select(["s"])).query("t", query).fetchall()
    for column in table.column_names:
        expression, _ = compile_value(text.format(column), table.schema)
        found = _native.project_table(table, [("x", serialize(expression))])["x"]
        assert found.to_pylist() == [value for (value,) in expected]


def test_comparisons_with_literals_skip_row_groups(tmp_path):
    days = [datetime.date(2020, 1, 1 + n // 100) for n in range(1000)]
    table = pa.table(
        {
            "i": pa.array(range(1000), pa.int32()),
            "day": days,
            "price": pa.array(range(1000)).cast(pa.decimal128(21, 2)),
            "at": pa.array(days).cast(pa.timestamp("ms")),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=100)
    file = ParquetFile(str(tmp_path / "t.parquet"))
    for condition in (
        "i > 899",
        "i IN (900, 901)",
        "i BETWEEN 950 AND 2000000000000",
        "day > '2020-01-09'",
        "at >= '2020-01-10'",
        "price > 899.5",
    ):
        groups = file.groups(columns_of(condition))
        rule = prunable(condition, table.schema)
        skipped = [may_skip(rule, group, "arrow") for group in groups]
        assert skipped == [True] * 9 + [False], condition


class Conditions:
    """Random conditions over random tables, as text for Zerrow and for DuckDB."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def table(self):
        rows = self.random.randrange(0, 40)

        def column(make, type_):
            return pa.array(
                [None if self.random.random() < 0.25 else make() for _ in range(rows)], type_
            )

        pick = self.random.randrange
        return pa.table(
            {
                "a": column(lambda: pick(-5, 6), pa.int64()),
                "b": column(lambda: pick(-5, 6), pa.int32()),
                "f": column(lambda: pick(-10, 11) / 2, pa.float64()),
                "d": column(lambda: decimal.Decimal(pick(-500, 500)) / 100, pa.decimal128(9, 2)),
                "s": column(
                    lambda: self.random.choice(["", "a", "ab", "b%", "B", "_"]), pa.string()
                ),
                "t": column(lambda: self.random.choice(["a", "ab", "c"]), pa.string()),
                "p": column(lambda: pick(2) == 1, pa.bool_()),
                "q": column(lambda: pick(2) == 1, pa.bool_()),
                "day": column(lambda: DAY + datetime.timedelta(pick(-3, 4)), pa.date32()),
                "moment": column(
                    lambda: datetime.datetime(2020, 1, 1) + datetime.timedelta(hours=pick(-30, 30)),
                    pa.timestamp("us"),
                ),
            }
        )

    def condition(self, depth=3):
        choose = self.random.choice
        if depth == 0:
            return self.leaf()
        kind = choose(["and", "or", "not", "leaf", "is", "null"])
        if kind in ("and", "or"):
            return f"({self.condition(depth - 1)} {kind} {self.condition(depth - 1)})"
        if kind == "not":
            return f"NOT ({self.condition(depth - 1)})"
        if kind == "is":
            said = choose(["TRUE", "NOT TRUE", "FALSE", "NOT FALSE", "NULL", "NOT NULL"])
            return f"({self.condition(depth - 1)}) IS {said}"
        return "NULL" if kind == "null" and self.random.random() < 0.2 else self.leaf()

    def leaf(self):
        kinds = [self.numbers_compared, self.texts, self.flags, self.times, self.lists, self.nulls]
        return self.random.choice(kinds)()

    def numbers_compared(self):
        if self.random.random() < 0.3:
            low, high = self.number(), self.number()
            return f"{self.number()} {self.negation()}BETWEEN {low} AND {high}"
        return f"{self.number()} {self.operator()} {self.number()}"

    def texts(self):
        choose = self.random.choice
        if self.random.random() < 0.5:
            return f"s {self.negation()}{choose(['LIKE', 'ILIKE'])} {choose(self.patterns)}"
        return f"{choose('st')} {self.operator()} {choose(['s', 't', chr(39) + 'ab' + chr(39)])}"

    def flags(self):
        return self.random.choice(["p", "q", "p = q", "p = true", "q <> FALSE"])

    def times(self):
        choose = self.random.choice
        right = choose(["day", "moment", "DATE '2020-01-01'", "TIMESTAMP '2020-01-01 05:00:00'"])
        return f"{choose(['day', 'moment'])} {self.operator()} {right}"

    def lists(self):
        choose = self.random.choice
        values = ", ".join(choose(self.numbers) for _ in range(choose([1, 3, 12])))
        return f"{choose('abfd')} {self.negation()}IN ({values})"

    def nulls(self):
        return f"{self.random.choice(['a', 'f', 's', 'p', 'day'])} IS {self.negation()}NULL"

    def operator(self):
        return self.random.choice(["=", "<>", "!=", "<", "<=", ">", ">="])

    def negation(self):
        return self.random.choice(["", "NOT "])

    patterns = ("'a%'", "'%b'", "'_'", "'%'", "''", "'A_'", "'a'")
    numbers = ("0", "1", "-1", "2", "3.5", "-0.25", "1e0", "5", "300", "NULL")

    def number(self):
        choose = self.random.choice
        kind = choose(["column", "column", "literal", "add", "negate", "modulo", "divide"])
        if kind == "column":
            return choose(["a", "b", "f", "d"])
        if kind == "literal":
            return choose(self.numbers)
        if kind == "add":
            right = choose(["a", "f", "d", "2", "-1.5"])
            return f"({choose(['a', 'b', 'f', 'd'])} {choose('+-*')} {right})"
        if kind == "negate":
            return f"(-{choose(['a', 'f', 'd'])})"
        if kind == "modulo":
            return f"({choose(['a', 'b'])} % {choose(['2', '3', '-2'])})"
        return f"(f / {choose(['2', '0.5', '-4'])})"


@pytest.mark.parametrize("seed", range(25))
def test_random_conditions_keep_the_rows_that_duckdb_keeps(seed):
    made = Conditions(seed)
    connection = duckdb.connect()
    for _ in range(20):
        table = made.table()
        numbered = table.append_column("nr", pa.array(range(table.num_rows), pa.int64()))
        connection.register("numbered", numbered)
        condition = made.condition()
        wanted = connection.sql(f"SELECT nr FROM numbered WHERE {condition} ORDER BY nr").fetchall()
        assert rows_kept(table, condition) == [nr for (nr,) in wanted], condition
        kept = numbered.filter(compile_condition(condition, numbered.schema))
        assert kept["nr"].to_pylist() == [nr for (nr,) in wanted], condition
