"""What the columns of a query stem from: told right, or not at all."""

import random

import pyarrow as pa
import pytest
from zerrow._sql.lineage import column_lineage
from zerrow._worker.tasks_sql import _duckdb, datafusion_query

RUN = {"datafusion": datafusion_query, "duckdb": _duckdb}
TABLES = {"t": ["id", "x", "s", "PULoc"], "u": ["id", "y", "s"]}
BOTH = ("datafusion", "duckdb")


def made(seed, changed=()):
    """The tables, with other values in the columns that are changed."""
    pick = random.Random(seed).randrange
    tables = {}
    for table, names in TABLES.items():
        values = {name: [pick(5) for _ in range(20)] for name in names}
        for name in names:
            if (table, name) in changed:
                values[name] = [value * 7 + 100 for value in values[name]]
        tables[table] = pa.table(values)
    return tables


def lineage(sql, engine, output):
    found = column_lineage(sql, engine, TABLES, output)
    return [stems and [".".join(stem) for stem in stems] for stems in found]


# A query, what its columns stem from, and what decides which rows there are.
QUERIES = [
    ("SELECT id, x AS b FROM t", [["t.id"], ["t.x"]], []),
    ("SELECT * FROM u", [["u.id"], ["u.y"], ["u.s"]], []),
    ("SELECT puloc + X AS n FROM t", [["t.x", "t.PULoc"]], []),
    ('SELECT T."PULoc" AS n FROM t AS T', [["t.PULoc"]], []),
    ("SELECT 1 AS one, 'a' AS a, count(*) AS n FROM t", [[], [], []], []),
    ("SELECT x AS id, id + 1 AS n FROM t", [["t.x"], ["t.id"]], []),
    ("SELECT t.s FROM u AS t", [["u.s"]], []),
    (
        "SELECT t.x, u.s AS z FROM t JOIN u ON t.id = u.id WHERE y > 1",
        [["t.x"], ["u.s"]],
        ["t.id", "u.id", "u.y"],
    ),
    ("SELECT id FROM t JOIN u USING (id)", [["t.id", "u.id"]], ["t.id", "u.id"]),
    (
        "SELECT s, sum(x) AS n, max(t.id) AS m FROM t GROUP BY s HAVING sum(puloc) > 9",
        [["t.s"], ["t.x"], ["t.id"]],
        ["t.s", "t.PULoc"],
    ),
    (
        "WITH q AS (SELECT id, x + 1 AS v FROM t), r AS (SELECT id AS v, v AS id FROM q) "
        "SELECT v, id FROM r",
        [["t.id"], ["t.x"]],
        [],
    ),
    ("WITH u AS (SELECT id AS y, x AS id FROM t) SELECT y, id FROM u", [["t.id"], ["t.x"]], []),
    ("WITH t AS (SELECT id, s AS x FROM t) SELECT x FROM t", [["t.s"]], []),
    ("WITH q(a, b) AS (SELECT x, s FROM t) SELECT b FROM q", [["t.s"]], []),
    ("SELECT b FROM (SELECT id, x FROM t) AS q(a, b)", [["t.x"]], []),
    ("SELECT id, x FROM t UNION ALL SELECT y, s FROM u", [["t.id", "u.y"], ["t.x", "u.s"]], []),
    ("SELECT id FROM t EXCEPT SELECT y FROM u", [["t.id"]], ["u.y"]),
    (
        "SELECT row_number() OVER (PARTITION BY s ORDER BY x) AS n, id FROM t",
        [["t.x", "t.s"], ["t.id"]],
        [],
    ),
    (
        "SELECT x + (SELECT max(y) FROM u WHERE u.id = t.id) AS m, "
        "x > (SELECT max(s) FROM u) AS i FROM t",
        [["t.x", "u.y"], ["t.x", "u.s"]],
        ["t.id", "u.id"],
    ),
    ("SELECT CASE WHEN s > 2 THEN x END AS c FROM t", [["t.x", "t.s"]], []),
    ("SELECT sum(x) FILTER (WHERE s > 1) AS f FROM t", [["t.x", "t.s"]], []),
    ("SELECT t.*, y FROM t CROSS JOIN u", [[f"t.{name}"] for name in TABLES["t"]] + [["u.y"]], []),
]


@pytest.mark.parametrize("engine", BOTH)
@pytest.mark.parametrize(("sql", "stems", "deciding"), QUERIES)
def test_a_column_depends_on_what_it_stems_from_alone(engine, sql, stems, deciding):
    for seed in range(2):
        wanted = RUN[engine](made(seed), sql)
        assert lineage(sql, engine, wanted.column_names) == stems
        for place, own in enumerate(stems):
            others = {
                (table, name)
                for table, names in TABLES.items()
                for name in names
                if f"{table}.{name}" not in own + deciding
            }
            found = RUN[engine](made(seed, others), sql)
            assert sorted(map(str, found[place])) == sorted(map(str, wanted[place]))


@pytest.mark.parametrize("engine", BOTH)
@pytest.mark.parametrize(
    ("sql", "output"),
    [
        ("SELECT x FROM t AS q(x, id, s, z)", "x"),
        ("SELECT EXISTS (SELECT 1 FROM u WHERE u.id = t.id) AS e FROM t", "e"),
        ("SELECT sum(x) OVER w AS n FROM t WINDOW w AS (PARTITION BY s)", "n"),
        ("SELECT id FROM t UNION BY NAME SELECT id FROM u", "id"),
        (
            "WITH RECURSIVE r AS (SELECT id FROM t UNION ALL SELECT id + 1 FROM r WHERE id < 9) "
            "SELECT id FROM r",
            "id",
        ),
        ("SELECT a FROM (SELECT * FROM t JOIN u USING (s)) AS q(a, b, c, d, e, f)", "a"),
        ("SELECT * FROM (SELECT t.id, u.id FROM t, u) AS q", "id"),
    ],
)
def test_nothing_is_said_where_it_is_not_certain(engine, sql, output):
    assert lineage(sql, engine, [output]) == [None]


def test_columns_that_duckdb_has_numbered():
    sql = "SELECT t.id, u.id, COLUMNS('x') FROM t, u"
    assert lineage(sql, "duckdb", ["id", "id_1", "x"]) == [["t.id"], ["u.id"], None]


def test_columns_that_the_engine_has_in_another_order():
    assert lineage("SELECT id, x FROM t", "datafusion", ["x", "id"]) == [None, None]
    assert lineage("SELECT id, x FROM t", "datafusion", ["id"]) == [None]


def test_columns_that_only_capitals_tell_apart():
    twins = {"t": ["id", "ID"]}
    sql = 'SELECT "ID" AS a, id AS b FROM t'
    found = [("t", "ID")], [("t", "id")]
    assert column_lineage(sql, "datafusion", twins, ["a", "b"]) == list(found)
    assert column_lineage(sql, "duckdb", twins, ["a", "b"]) == [None, None]


def test_nothing_is_said_of_very_many_columns():
    wide = {"t": [f"c{place}" for place in range(1001)]}
    assert column_lineage("SELECT * FROM t", "duckdb", wide, wide["t"]) == [None] * 1001
    few = {"t": wide["t"][:300]}
    assert column_lineage("SELECT * FROM t", "duckdb", few, few["t"]) == [
        [("t", name)] for name in few["t"]
    ]


def test_a_deep_query_is_no_error():
    sql = "SELECT id FROM t"
    for _ in range(400):
        sql = f"SELECT id FROM ({sql}) AS q"
    assert lineage(sql, "duckdb", ["id"]) == [None]
