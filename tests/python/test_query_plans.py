"""Queries as their engines plan them: what is read of tables gives what whole tables give."""

import datetime
import random
import time
from contextlib import suppress
from decimal import Decimal

import pyarrow as pa
import pytest
from zerrow._errors import SqlError
from zerrow._sql import fusion
from zerrow._sql.filters import Condition
from zerrow._sql.names import exact_query
from zerrow._sql.query_plans import UnplannableError, plan_query
from zerrow._worker.tasks_sql import _duckdb, datafusion_query

RUN = {"datafusion": datafusion_query, "duckdb": _duckdb}
NAN = float("nan")
DAY = datetime.date(2020, 1, 1)
NOON = datetime.datetime(2020, 1, 1, 12)
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("x", pa.float64()),
        ("s", pa.string()),
        ("k", pa.dictionary(pa.int32(), pa.string())),
        ("day", pa.date32()),
        ("PULoc", pa.int16()),
        ("seen", pa.timestamp("us")),
        ("utc", pa.timestamp("ns", "UTC")),
        ("fare", pa.decimal128(15, 2)),
        ("paid", pa.bool_()),
    ]
)
VALUES = {
    "id": [0, 1, 2, 3, None],
    "x": [0.0, -0.0, 1.5, NAN, None],
    "s": ["", "a", "ab", "it's", None],
    "k": ["a", "b", None],
    "day": [DAY, DAY + datetime.timedelta(1), None],
    "PULoc": [1, 2, None],
    "seen": [NOON, NOON + datetime.timedelta(microseconds=1), None],
    "utc": [NOON, NOON + datetime.timedelta(hours=1), None],
    "fare": [Decimal("0.05"), Decimal("0.06"), Decimal("-1.00"), None],
    "paid": [True, False, None],
}


def made(seed, rows=30):
    pick = random.Random(seed)
    columns = [
        pa.array([pick.choice(VALUES[field.name]) for _ in range(rows)], field.type)
        for field in SCHEMA
    ]
    return pa.table(columns, schema=SCHEMA)


def narrowed(table, name, plan):
    """What a run would give the query: the filter is applied exactly."""
    if name in plan.filters:
        table = Condition(plan.filters[name].text, table.schema).kept(table)
    return table.select(plan.columns[name]) if name in plan.columns else table


def rows_of(table):
    return sorted(map(str, table.to_pylist()))


QUERIES = [
    "SELECT id FROM t",
    "SELECT * FROM t",
    "SELECT count(*) AS n FROM t",
    "SELECT id FROM (SELECT id, x FROM t) AS q",
    "SELECT id FROM (SELECT * FROM t) AS q WHERE x > 1",
    "SELECT id FROM (SELECT * FROM t UNION ALL SELECT * FROM u) AS q",
    "SELECT id, x FROM t WHERE id > 1 AND upper(s) = 'A'",
    "SELECT t.id FROM t JOIN u ON t.id = u.id WHERE t.x > 1 AND u.s LIKE 'a%'",
    "SELECT id FROM t WHERE id = 1 UNION ALL SELECT id FROM t WHERE x > 1",
    "SELECT id FROM t WHERE id IN (SELECT id FROM u WHERE s = 'a') OR x < 1",
    "SELECT id, (SELECT max(x) FROM u WHERE u.id = t.id) AS m FROM t WHERE k = 'a'",
    "WITH t AS (SELECT * FROM t WHERE id > 0) SELECT a.x FROM t a JOIN t b ON a.id = b.id",
    "SELECT id, row_number() OVER (PARTITION BY id ORDER BY x, s) AS n FROM t WHERE id > 1",
    "SELECT t.id FROM t NATURAL JOIN u",
    "SELECT id FROM t WHERE 1 = 0",
    "SELECT id FROM t WHERE 1 = 0 AND x > 1",
    "SELECT k, sum(id) AS n FROM t WHERE NOT (x < 1) GROUP BY k HAVING count(s) > 1",
    "SELECT DISTINCT s FROM t WHERE day >= '2020-01-01' AND day < '2020-01-02'",
    "SELECT id FROM t WHERE x / 0 > 1 OR id / 2 = 1",
    "SELECT p FROM t AS q(p, q, r, s, v, w, a, b, c, d) WHERE p > 1",
    "SELECT t.id FROM t LEFT JOIN u ON t.id = u.id AND u.fare > 0 WHERE t.paid",
    "SELECT id FROM t WHERE id > 0 EXCEPT SELECT id FROM u WHERE k = 'a'",
    "SELECT s, max(fare) AS m FROM t WHERE seen > '2020-01-01' GROUP BY s ORDER BY s LIMIT 2",
]


@pytest.mark.parametrize("engine", RUN)
@pytest.mark.parametrize("sql", QUERIES)
def test_what_is_read_suffices(engine, sql):
    for seed in range(3):
        tables = {"t": made(seed), "u": made(seed + 100)}
        if "u" not in sql.replace("upper", "").replace("sum", "").replace("count", ""):
            del tables["u"]
        plan = plan_query(sql, engine, {name: table.schema for name, table in tables.items()})
        wanted = RUN[engine](tables, sql)
        given = {name: narrowed(table, name, plan) for name, table in tables.items()}
        found = RUN[engine](given, sql)
        assert rows_of(found) == rows_of(wanted)
        assert found.schema.names == plan.output.names
        if engine == "datafusion":
            assert found.schema.types == plan.output.types


class Conditions:
    """Random ones over the schema's columns."""

    def __init__(self, seed):
        self.choose = random.Random(seed).choice

    def condition(self, depth=3):
        kind = self.choose(["and", "or", "not", "leaf"]) if depth else "leaf"
        if kind in ("and", "or"):
            return f"({self.condition(depth - 1)} {kind} {self.condition(depth - 1)})"
        return f"NOT ({self.condition(depth - 1)})" if kind == "not" else self.leaf()

    def leaf(self):
        choose = self.choose
        name, literals = choose(
            [
                ("id", ["1", "2", "1.5", "-1"]),
                ("x", ["0", "1.5", "-0.0", "10", "'NaN'"]),
                ("s", ["'a'", "'it''s'", "''"]),
                ("k", ["'a'", "'z'"]),
                ("day", ["'2020-01-01'", "DATE '2020-01-02'"]),
                ("puloc", ["1", "2", "70000"]),
                (
                    "seen",
                    ["'2020-01-01'", "'2020-01-01 12:00:00'", "TIMESTAMP '2020-01-01 12:00:00'"],
                ),
                ("utc", ["'2020-01-01 12:00:00+00'", "'2020-01-01 13:00:00'"]),
                ("fare", ["0.05", "0", "0.055", "7"]),
            ]
        )
        negation = choose(["", "NOT "])
        return choose(
            [
                f"{name} {choose(['=', '<>', '<', '<=', '>', '>='])} {choose(literals)}",
                f"{choose(literals)} < {name}",
                f"{name} IS {negation}NULL",
                f"{name} {negation}IN ({choose(literals)}, {choose(literals)}, NULL)",
                f"{name} {negation}BETWEEN {choose(literals)} AND {choose(literals)}",
                f"s {negation}LIKE 'a%'",
                f"{negation}paid",
                "upper(s) = 'A'",
                "coalesce(id, 1) = 1",
                "date_part('day', day) = 1",
            ]
        )


@pytest.mark.parametrize(("engine", "seeds"), [("datafusion", 150), ("duckdb", 60)])
def test_random_filters_keep_the_same_rows_pushed_down_or_not(engine, seeds):
    pushed = 0
    for seed in range(seeds):
        condition = Conditions(seed).condition()
        sql = f"SELECT id, x, s FROM t WHERE {condition}"
        table = made(seed)
        plan = plan_query(sql, engine, {"t": table.schema})
        pushed += "t" in plan.filters
        wanted = rows_of(RUN[engine]({"t": table}, sql))
        assert rows_of(RUN[engine]({"t": narrowed(table, "t", plan)}, sql)) == wanted, sql
        if engine == "datafusion":  # an input's filter means the same
            kept = Condition(condition, table.schema).kept(table)
            assert rows_of(kept.select(["id", "x", "s"])) == wanted, sql
    assert pushed > seeds / 5


@pytest.mark.parametrize(
    ("condition", "pushed"),
    [
        ("id > 1", "id > 1"),
        ("puloc = 7", '"PULoc" = 7'),
        ("s = 'it''s' AND random() < 0.5", None),
        ("day < now()", None),
        ("day = CURRENT_DATE AND id > 1", None),
        ("upper(s) = 'A'", None),
        ("upper(s) = 'A' AND id > 1", "id > 1"),
        ("upper(s) = 'A' OR id > 1", None),
        ("id / x > 1 AND id IS NOT NULL", "id IS NOT NULL"),
        ("CAST(s AS INT) = 1", None),
        ("x > 1.5", "x > 1.5"),
    ],
)
def test_only_what_is_certain_is_pushed_down(condition, pushed):
    plan = plan_query(f"SELECT id FROM t WHERE {condition}", "datafusion", {"t": SCHEMA})
    found = plan.filters.get("t")
    assert (found and found.text) == pushed


@pytest.mark.parametrize(
    ("condition", "pushed"),
    [
        ("id > 1", "id > 1"),
        ("PULOC = 7", '"PULoc" = 7'),
        ("id IN (1, 7) AND k = 'it''s'", "(id = 1 OR id = 7) AND k = 'it''s'"),
        ("id BETWEEN 1 AND 5 AND s IS NOT NULL", "id >= 1 AND id <= 5 AND s IS NOT NULL"),
        ("day >= '2020-01-01'", "day >= '2020-01-01'"),
        ("utc > '2020-01-01'", "utc > '2020-01-01 00:00:00.000000000Z'"),
        ("fare < 24", "fare < 24.00"),
        ("fare > 1234567890123.05", None),  # DataFusion would compare it as a wider decimal
        # Floats have NaNs and two zeros; other conditions aren't DataFusion's, or not certainly.
        ("x > 1.5", None),
        ("x = 0 AND id > 1", "id > 1"),
        ("upper(s) = 'A'", None),
        ("s LIKE '%a'", None),
        ("id > 1.5", None),
        ("s = 'a' || chr(10) || 'b'", None),
        ("id > year(age(DATE '2000-01-01'))", None),
        ('seen < "now"()::TIMESTAMP', None),
        ("day = current_date AND id > 1", None),
        ("seen < '9999-01-01'", None),
        ("id > (SELECT max(id) FROM t)", None),
    ],
)
def test_of_duckdb_only_what_datafusion_takes_for_the_same(condition, pushed):
    plan = plan_query(f"SELECT count(*) AS n FROM t WHERE {condition}", "duckdb", {"t": SCHEMA})
    found = plan.filters.get("t")
    assert (found and found.text) == pushed


@pytest.mark.parametrize("engine", RUN)
def test_columns_of_a_type_that_an_engine_lacks(engine):
    types = {"duckdb": pa.float16(), "datafusion": pa.run_end_encoded(pa.int32(), pa.int64())}
    schema = pa.schema([("id", pa.int64()), ("odd", types[engine])])
    try:
        plan = plan_query("SELECT id FROM t", engine, {"t": schema})
    except UnplannableError:
        return
    assert plan.columns == {"t": ["id"]}


def test_a_table_is_read_in_whole_if_one_of_its_scans_is():
    sql = "SELECT a.id FROM t a, t b WHERE a.id = 1"
    for engine in RUN:
        assert plan_query(sql, engine, {"t": SCHEMA}).filters == {}


def test_which_functions_are_another_value_in_another_run():
    from datafusion import SessionConfig, SessionContext

    context = SessionContext(SessionConfig().with_information_schema(True))
    query = "SELECT routine_name FROM information_schema.routines WHERE NOT is_deterministic"
    names = set(context.sql(query).to_arrow_table()["routine_name"].to_pylist())
    # Of tables, which they make from their arguments alone.
    assert names - {"generate_series", "range"} <= fusion.VOLATILE


def test_which_of_duckdbs_functions_are():
    import duckdb

    columns = "DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'scalar' AND"
    told = duckdb.sql(f"SELECT {columns} stability <> 'CONSISTENT'").fetchall()
    assert {name for (name,) in told} <= fusion.VOLATILE
    # It doesn't say so of all.
    for (name,) in duckdb.sql(f"SELECT {columns} len(parameters) = 0").fetchall():
        values = set()
        with suppress(duckdb.Error):  # some want arguments all the same
            for _ in range(2):
                values |= set(duckdb.sql(f"SELECT {name}()::VARCHAR").fetchall())
                time.sleep(0.001)
        assert len(values) < 2 or name in fusion.VOLATILE


NAMES = {"trips": ["PULocationID", "Miles", "id"], "zones": ["LocationID", "Zone", "id"]}


@pytest.mark.parametrize(
    ("sql", "exact"),
    [
        ("SELECT miles FROM trips -- Miles", 'SELECT "Miles" FROM trips -- Miles'),
        ("SELECT 'Miles', \"Miles\" FROM trips", "SELECT 'Miles', \"Miles\" FROM trips"),
        ("SELECT t.MILES FROM trips T", 'SELECT t."Miles" FROM trips T'),
        (
            "SELECT zone FROM trips JOIN zones ON pulocationid = locationid",
            'SELECT "Zone" FROM trips JOIN zones ON "PULocationID" = "LocationID"',
        ),
        (
            "WITH q AS (SELECT Miles FROM trips) SELECT miles FROM q",
            'WITH q AS (SELECT "Miles" FROM trips) SELECT "Miles" FROM q',
        ),
        (
            "WITH trips AS (SELECT 1 AS Miles) SELECT MILES FROM trips",
            'WITH trips AS (SELECT 1 AS Miles) SELECT "miles" FROM trips',
        ),
        ("SELECT 1 AS Zone FROM zones ORDER BY Zone", "SELECT 1 AS Zone FROM zones ORDER BY Zone"),
        (
            "SELECT id, count(*) AS Miles FROM trips "
            "GROUP BY id HAVING MILES > 1 AND max(PULOCATIONID) > 2",
            'SELECT "id", count(*) AS Miles FROM trips '
            'GROUP BY "id" HAVING MILES > 1 AND max("PULocationID") > 2',
        ),
        (
            "SELECT id FROM trips QUALIFY row_number() OVER (ORDER BY MILES) = 1",
            'SELECT "id" FROM trips QUALIFY row_number() OVER (ORDER BY "Miles") = 1',
        ),
        (
            "SELECT miles FROM trips UNION SELECT zone FROM zones ORDER BY MILES",
            'SELECT "Miles" FROM trips UNION SELECT "Zone" FROM zones ORDER BY "Miles"',
        ),
        (
            "SELECT id FROM trips WHERE EXISTS (SELECT 1 FROM zones WHERE locationid = miles)",
            'SELECT "id" FROM trips WHERE EXISTS '
            '(SELECT 1 FROM zones WHERE "LocationID" = "Miles")',
        ),
    ],
)
def test_names_without_quotes_are_spelled_as_the_only_column(sql, exact):
    assert exact_query(sql, NAMES) == exact


def test_names_beyond_ascii():
    table = pa.table({"Größe": [1, 2], "ß": [3, 4]})
    sql = "SELECT größe AS ü\nFROM t -- Größe\tß\nWHERE ß > 3"
    assert datafusion_query({"t": table}, sql).to_pydict() == {"ü": [2]}


def test_of_twins_the_one_that_is_spelled_so_is_meant():
    columns = {"t": ["id", "ID"]}
    assert exact_query("SELECT id, ID AS b FROM t", columns) == 'SELECT "id", "ID" AS b FROM t'


def test_of_twins_none_is_picked():
    with pytest.raises(SqlError, match='could be the column "id" or "ID"') as caught:
        exact_query("SELECT 1\nFROM t WHERE\n Id = 1", {"t": ["id", "ID"]})
    assert caught.value.line == 3
