"""Texts as dictionaries that nobody asked for: nobody sees them who would not see plain ones."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from zerrow._worker import dictionaries, tasks_native, tasks_sql
from zerrow._worker.tasks import narrow

MARK = {b"zerrow:dictionary": b"auto"}
TEXTS = ["b", None, "", "a", "ä", "B", "a", "", None, "c", "b", "longer than twelve bytes"] * 4


def marked(table, columns=("s", "t", "bin")):
    """As a source gives the table: dictionaries of its columns, one for several chunks."""
    for name in columns:
        at = table.schema.get_field_index(name)
        field = table.field(at)
        coded = table[name].combine_chunks().dictionary_encode()
        chunks = pa.chunked_array([coded[:17], coded[17:17], coded[17:]])
        new = field.with_type(coded.type).with_metadata({**(field.metadata or {}), **MARK})
        table = table.set_column(at, new, chunks)
    return table


@pytest.fixture
def plain():
    n = len(TEXTS)
    return pa.table(
        {
            "n": pa.array(range(n), pa.int64()),
            "s": pa.array(TEXTS),
            "t": pa.array(TEXTS[1:] + TEXTS[:1], pa.large_string()),
            "bin": pa.array([None if s is None else s.encode() for s in TEXTS]),
            "own": pa.array(TEXTS).dictionary_encode(),
            "date": pa.array(["2020-01-01", "2020-02-03"] * (n // 2)),
        }
    )


def same(found, expected, *, ordered=True):
    """Whether a consumer that was promised nothing sees the same."""
    found = dictionaries.as_chosen(found, "never")
    assert found.schema.equals(expected.schema, check_metadata=True)
    rows = [table.to_pylist() for table in (found, expected)]
    assert rows[0] == rows[1] if ordered else sorted(map(str, rows[0])) == sorted(map(str, rows[1]))


QUERIES = [
    "SELECT * FROM x",
    "SELECT s, t, bin, own FROM x WHERE s > 'a' ORDER BY n",
    "SELECT n FROM x WHERE s = '' OR s IS NULL ORDER BY n",
    "SELECT n FROM x WHERE s IN ('a', 'b') AND s NOT IN ('c') ORDER BY n",
    "SELECT n FROM x WHERE s LIKE '%twelve%' OR s ILIKE 'A' ORDER BY n",
    "SELECT s, count(*) c, min(t) lo, max(s) hi, count(DISTINCT s) d FROM x GROUP BY s ORDER BY s",
    "SELECT s, own, count(*) c FROM x GROUP BY s, own ORDER BY s, own",
    "SELECT upper(s) u, s || t AS both, length(s) l, coalesce(s, 'x') c, nullif(s, 'a') z FROM x",
    "SELECT coalesce(s, own) c, CASE WHEN n > 3 THEN s ELSE 'x' END k FROM x ORDER BY n",
    "SELECT substr(s, 1, 1) f, replace(s, 'a', 'b') r, concat(s, t) c, s = own q FROM x ORDER BY n",
    "SELECT regexp_like(s, 'a|b') r, starts_with(s, 'a') p, strpos(s, 'a') i FROM x ORDER BY n",
    "SELECT a.n, b.s FROM x a JOIN x b ON a.s = b.s AND a.n < b.n ORDER BY a.n, b.n",
    "SELECT a.s, b.t FROM x a LEFT JOIN x b ON a.t = b.s AND b.n < 3 ORDER BY a.n, b.n",
    "SELECT DISTINCT s FROM x ORDER BY s NULLS FIRST",
    "SELECT s FROM x UNION ALL SELECT t FROM x",
    "SELECT s FROM x UNION SELECT 'z'",
    "SELECT s, row_number() OVER (PARTITION BY s ORDER BY n) r, lag(s) OVER (ORDER BY n) p FROM x",
    "SELECT first_value(s) OVER (ORDER BY n) f, array_agg(s) OVER (ORDER BY n) a FROM x",
    "SELECT array_agg(s ORDER BY n) a, string_agg(s, ',' ORDER BY n) g FROM x",
    "SELECT arrow_typeof(s) t, ARROW_TYPEOF(own) o FROM x LIMIT 1",
    "SELECT cast(date AS date) d, date > '2020-01-15' later FROM x ORDER BY n",
    "SELECT encode(bin, 'hex') h, bin = 'a' a FROM x ORDER BY n",
    "SELECT struct(s, n) st, [s, t] li FROM x ORDER BY n",
    'SELECT s AS "S", s AS b FROM x WHERE false',
    "SELECT max(s) FROM x WHERE n < 0",
    "SELECT n FROM x WHERE s BETWEEN 'a' AND t ORDER BY n",
    "WITH y AS (SELECT s, n FROM x ORDER BY n LIMIT 5) SELECT s FROM y ORDER BY n DESC",
]


@pytest.mark.parametrize("sql", QUERIES)
def test_datafusion_answers_the_same(plain, sql):
    table = marked(plain)
    expected = tasks_sql.datafusion_query({"x": plain}, sql)
    same(tasks_sql.datafusion_query({"x": table}, sql), expected, ordered="ORDER BY" in sql)


def test_datafusion_keeps_dictionaries_and_their_marks(plain):
    found = tasks_sql.datafusion_query(
        {"x": marked(plain)}, "SELECT s, own, s AS z FROM x WHERE n > 3"
    )
    assert [dictionaries.is_marked(field) for field in found.schema] == [True, False, True]
    assert pa.types.is_dictionary(found.schema.field("own").type)


DUCKDB_QUERIES = [
    "SELECT typeof(s) a, typeof(own) b, s FROM x ORDER BY n",
    "SELECT n FROM x WHERE s SIMILAR TO 'a|b' OR s GLOB '*t*' ORDER BY n",
    "SELECT s, string_agg(t, ',' ORDER BY n) g, mode(s) m FROM x GROUP BY s ORDER BY s",
    "SELECT s.upper() u, s[1] f, bin FROM x ORDER BY n",
    "SELECT * FROM x WHERE s >= 'a' AND t IN ('a', 'b') ORDER BY n",
    "SELECT a.n, b.t FROM x a JOIN x b ON a.s = b.s WHERE b.s = 'c' ORDER BY a.n, b.n",
    "SELECT columns('s|t') FROM x ORDER BY n",
    "SELECT s FROM x UNION ALL SELECT own FROM x",
]


@pytest.mark.parametrize("sql", DUCKDB_QUERIES)
def test_duckdb_answers_the_same(plain, sql):
    expected = tasks_sql._duckdb({"x": plain}, sql)
    same(tasks_sql._duckdb({"x": marked(plain)}, sql), expected, ordered="ORDER BY" in sql)


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SELECT s FROM x WHERE n > 3", []),
        ("SELECT s, n FROM x ORDER BY n", []),
        ("SELECT s, t FROM x ORDER BY t", []),
        ("SELECT s, t FROM x ORDER BY 1", []),
        ("SELECT s AS z FROM x ORDER BY z", []),
        ("SELECT t, min(n) FROM x GROUP BY t ORDER BY min(s)", ["t"]),
        ("SELECT array_agg(n ORDER BY s) FROM x", ["s"]),
        ('SELECT n, count(*) FROM x GROUP BY n, upper("s")', ["s"]),
        ("SELECT s AS z FROM x GROUP BY z", ["s", "t"]),
        ("SELECT s, count(*) FROM x GROUP BY 1", ["s", "t"]),
        ("SELECT DISTINCT s FROM x", ["s", "t"]),
        ("SELECT lag(n) OVER (PARTITION BY s ORDER BY n) FROM x", ["s"]),
        ("WITH y(a, b) AS (SELECT s, t FROM x) SELECT a FROM y GROUP BY a", ["s", "t"]),
    ],
)
def test_large_dictionaries_that_a_query_groups_by_are_decoded(plain, monkeypatch, sql, names):
    table = marked(plain.select(["n", "s", "t"]), ["s", "t"])
    same_inputs = tasks_sql._without_slow_dictionaries({"x": table}, sql)
    assert same_inputs["x"].schema.equals(table.schema, check_metadata=True)
    monkeypatch.setattr(tasks_sql, "_FEW_VALUES", 3)
    given = tasks_sql._without_slow_dictionaries({"x": table}, sql)["x"]
    assert [
        f.name for f in given.schema if f.name != "n" and f.type != table.schema.field(f.name).type
    ] == names
    assert given.to_pylist() == table.to_pylist()
    found = tasks_sql.datafusion_query({"x": table}, sql)
    same(found, tasks_sql.datafusion_query({"x": plain}, sql), ordered=False)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT DISTINCT\nON (n % 3) n, s, own FROM x ORDER BY n % 3, n",
        "SELECT First_Value(s ORDER BY n), last_value(t ORDER BY n) FROM x GROUP BY n % 3",
    ],
)
def test_queries_that_pick_rows_get_plain_texts(plain, sql):
    table = marked(plain)
    given = tasks_sql._without_slow_dictionaries({"x": table}, sql)["x"]
    assert given.schema.equals(plain.schema, check_metadata=True)
    assert given.to_pylist() == plain.to_pylist()
    found = tasks_sql.datafusion_query({"x": table}, sql)
    same(found, tasks_sql.datafusion_query({"x": plain}, sql), ordered=False)


def test_errors_are_those_of_plain_texts(plain):
    for sql in (
        "SELECT s + 1 FROM x WHERE s = 'a'",
        "SELECT cast(s AS int) FROM x",
        "SELECT q FROM x",
    ):
        messages = []
        for table in (plain, marked(plain)):
            with pytest.raises(Exception) as caught:  # noqa: PT011
                tasks_sql.datafusion_query({"x": table}, sql)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]


OPERATORS = [
    {"kind": "filter", "condition": "s > 'a' AND t IS NOT NULL"},
    {"kind": "filter", "condition": "s < t OR s LIKE 'l%'"},
    {"kind": "filter", "condition": "upper(s) = 'B' AND s IN ('b', 'B')"},
    {"kind": "filter", "condition": "date > '2020-01-15'"},
    {"kind": "project", "columns": [("a", "s"), ("b", "n + 1"), ("c", "own"), ("d", "upper(t)")]},
    {"kind": "project", "columns": [("a", "s = own"), ("b", "s = t"), ("c", "lower(own)")]},
    {"kind": "sort", "by": ["s", "n desc"]},
    {"kind": "sort", "by": ["t desc", "own", "n"]},
    {"kind": "slice", "offset": 3, "length": 20},
    {"kind": "dictionary", "columns": ["s"]},
    {
        "kind": "aggregate",
        "by": ["s", "own"],
        "measures": [("c", "count(*)"), ("lo", "min(t)"), ("m", "max(n)"), ("d", "count(s)")],
    },
]


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator["kind"])
def test_native_operators_give_the_same(plain, operator):
    found = dictionaries.computed(
        {"x": marked(plain)}, lambda given: tasks_native.apply(given["x"], operator)
    )
    ordered = operator["kind"] != "aggregate"
    same(found, tasks_native.apply(plain, operator), ordered=ordered)


def test_a_dictionary_that_a_model_asks_for_is_its_own(plain):
    encode = {"kind": "dictionary", "columns": ["s"]}
    found = dictionaries.computed(
        {"x": marked(plain)}, lambda given: tasks_native.apply(given["x"], encode)
    )
    assert [dictionaries.is_marked(field) for field in found.schema] == [
        field.name in ("t", "bin") for field in found.schema
    ]


@pytest.mark.parametrize("second", ["plain", "own", "view", "marked"])
def test_concat_gives_the_same(plain, second):
    first = plain.select(["s"])
    others = {
        "plain": first,
        "own": plain.select(["own"]).rename_columns(["s"]),
        "view": first.cast(pa.schema([("s", pa.string_view())])),
        "marked": first,
    }
    other = others[second]
    names = {"a": "first", "b": "second"}
    operator = {"kind": "concat"}
    expected = tasks_native._compute({"a": first, "b": other}, names, operator)
    given = {"a": marked(first, ["s"]), "b": marked(other, ["s"]) if second == "marked" else other}
    found = dictionaries.computed(
        given, lambda tables: tasks_native._compute(tables, names, operator)
    )
    same(found, expected)


def test_what_a_consumer_is_promised(plain):
    noted = plain.replace_schema_metadata({"note": "x"})
    table = marked(noted.set_column(1, pa.field("s", pa.string(), metadata={"k": "v"}), plain["s"]))
    never = dictionaries.as_chosen(table, "never")
    assert never.schema.types == plain.schema.types
    assert never.schema.metadata == {b"note": b"x"}
    assert never.schema.field("s").metadata == {b"k": b"v"}
    assert never.to_pylist() == plain.to_pylist()
    assert dictionaries.as_chosen(table, "auto") is table
    always = dictionaries.as_chosen(table, "always")
    texts = [name for name in plain.column_names if name != "n"]
    assert [f.name for f in always.schema if pa.types.is_dictionary(f.type)] == texts
    assert not any(dictionaries.is_marked(field) for field in always.schema)
    assert always.schema.field("s").metadata == {b"k": b"v"}
    assert always.to_pylist() == plain.to_pylist()
    assert dictionaries.as_chosen(plain, "always").schema.types == always.schema.types


def test_filters_of_inputs(plain):
    for condition in ("s = 'a'", "t >= 'b' AND n > 3", "s IS NULL", "date < '2020-01-15'"):
        found = narrow(marked(plain), ["n", "s"], condition)
        same(found, narrow(plain, ["n", "s"], condition))
        assert dictionaries.is_marked(found.schema.field("s"))


def test_texts_too_long_for_one_array_are_several(monkeypatch):
    chunk = pa.array(["ab", "c", None, "ab"]).dictionary_encode()

    def cast(part, type_):
        if len(part) > 1:
            raise pa.ArrowInvalid("too long")
        return part.dictionary_decode().cast(type_)

    class Part:
        def __init__(self, array):
            self.array = array

        def __len__(self):
            return len(self.array)

        def __getitem__(self, key):
            return Part(self.array[key])

        def cast(self, type_):
            return cast(self.array, type_)

    parts = dictionaries._decoded_parts(Part(chunk), pa.string())
    assert [part.to_pylist() for part in parts] == [["ab"], ["c"], [None], ["ab"]]


GROUPS = [["a", "b", None, "a"] * 25, ["c", "", "b", "c"] * 25, [None] * 100]


def write(path, texts, type_, groups=GROUPS, **options):
    schema = pa.schema([("s", type_), ("n", pa.int64())])
    with pq.ParquetWriter(path, schema, **options) as writer:
        for group in groups:
            values = pa.array(texts(group), type_)
            writer.write_table(pa.table([values, range(len(group))], schema=schema))


@pytest.mark.parametrize(
    "type_", [pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.string_view()]
)
def test_a_source_has_one_dictionary_for_row_groups_and_files(tmp_path, scan, monkeypatch, type_):
    monkeypatch.setattr("zerrow._sources.scan._BLOCK_ROWS", 100)
    paths = [str(tmp_path / f"{i}.parquet") for i in range(2)]
    for path, groups in zip(paths, (GROUPS, GROUPS[::-1]), strict=True):
        write(path, lambda group: group, type_, groups)
    found = scan(paths, [(["s", "n"], None, True)])
    assert set(found.values) == {"s"}
    assert len(found.indices) == len(found.answer["blocks"]) == 6
    assert all(set(file["encoded"]) == {"s"} for file in found.answer["files"])
    plain = pa.string() if type_ == pa.string_view() else type_
    column = found.dictionary("s")
    assert column.type == pa.dictionary(pa.int32(), plain)
    assert len(set(found.values["s"][0].to_pylist())) == len(found.values["s"]) == 4
    expected = pq.read_table(paths).column("s").cast(plain)
    assert column.cast(plain).equals(expected)


def test_what_does_not_pay_stays_plain(tmp_path, scan):
    path = str(tmp_path / "t.parquet")
    table = pa.table(
        {
            "unique": [f"a comment, number {i}" for i in range(500)],
            "few": ["a", "b"] * 250,
            "own": pa.array(["a", "b"] * 250).dictionary_encode(),
            "list": [["a"]] * 500,
            "number": [1, 2] * 250,
        }
    )
    pq.write_table(table, path)
    found = scan([path], [(table.column_names, None, True)])
    assert {name for _, name in found.indices} == {"few"}
    assert {name for _, name in found.entries} == {"unique", "own", "list", "number"}
    pq.write_table(table, path, use_dictionary=False)
    found = scan([path], [(["few"], None, True)])
    assert (found.indices, found.answer["files"][0]["encoded"]) == ({}, {})


def test_one_file_without_a_dictionary_decides_for_all(tmp_path, scan):
    paths = [str(tmp_path / f"{i}.parquet") for i in range(2)]
    write(paths[0], lambda group: group, pa.string())
    write(paths[1], lambda group: group, pa.string(), use_dictionary=False)
    found = scan(paths, [(["s"], None, True)])
    assert found.indices == {}
    write(paths[1], lambda group: group, pa.string(), groups=[])
    assert scan(paths, [(["s"], None, True)]).indices.keys() == {(0, "s")}


def test_a_filter_sees_the_texts(tmp_path, scan, monkeypatch):
    monkeypatch.setattr("zerrow._sources.scan._BLOCK_ROWS", 100)
    path = str(tmp_path / "t.parquet")
    write(path, lambda group: group, pa.string())
    reads = [(["s", "n"], "s = 'aa'", True), (["s", "n"], "upper(s) = 'C'", True)]
    found = scan([path], reads)
    assert found.answer["reads"] == [[], [1]]
    both = scan([path], [(["s"], None, True), (["s"], None, False)])
    assert both.indices.keys() == both.entries.keys()
    assert both.dictionary("s").cast(pa.string()).equals(both.table(read=1)["s"])


def test_indices_that_the_engine_has(tmp_path, scan, monkeypatch):
    monkeypatch.setattr("zerrow._sources.scan._BLOCK_ROWS", 100)
    path = str(tmp_path / "t.parquet")
    write(path, lambda group: group, pa.string())
    found = scan([path], [(["s"], None, True)], have=[(0, 0, "s", True), (0, 1, "s")])
    assert found.indices.keys() == {(1, "s"), (2, "s")}
    found = scan([path], [(["s"], None, True)], have=[(0, i, "s", True) for i in range(3)])
    assert (found.indices, found.values) == ({}, {})


@pytest.mark.parametrize("type_", [pa.string(), pa.large_binary()])
def test_values_that_the_engine_has_are_extended(tmp_path, scan, monkeypatch, type_):
    monkeypatch.setattr("zerrow._sources.scan._BLOCK_ROWS", 100)
    path = str(tmp_path / "t.parquet")
    write(path, lambda group: group, type_)
    first = pa.array(["z", "c", "", "y"], type_)
    reads = [(["s"], None, True)]
    found = scan([path], reads, values={"s": first, "gone": first})
    values = found.values["s"][0].chunk(0)
    assert values.slice(0, 4).equals(first)
    assert sorted(values.slice(4).to_pylist()) == pa.array(["a", "b"], type_).to_pylist()
    assert found.dictionary("s").cast(type_).equals(pq.read_table(path)["s"])
    # Where there is nothing to add they aren't sent.
    again = scan([path], reads, values={"s": values})
    assert again.values == {}
    texts = [values.take(again.indices[block, "s"][0].chunk(0)) for block in range(3)]
    assert pa.chunked_array(texts).equals(pq.read_table(path)["s"])
    some = scan([path], reads, values={"s": values}, have=[(0, i, "s", True) for i in range(3)])
    assert (some.indices, some.values) == ({}, {})
    # The same of a column that is decoded as plain texts.
    assert scan([path], [(["s"], None)], values={"s": first}).values == {}
