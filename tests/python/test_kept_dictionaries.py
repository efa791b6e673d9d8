"""What a query makes of dictionaries refers to its inputs' again, with the same values."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zerrow._worker import tasks_sql
from zerrow._worker.kept_dictionaries import keep_dictionaries

ROWS = 140_000  # three of DataFusion's batches
NAMES = pa.array(["birch", "cedar", "ash", None, "elm", "a name of more than twelve bytes", ""])
MANY = pa.array([f"customer {i:06}" for i in range(1000)])


def dictionary(values, indices, index_type=None):
    return pa.DictionaryArray.from_arrays(pa.array(indices, index_type or pa.int32()), values)


def memory(values):
    """Address of each buffer that says what the values are."""
    return tuple(buffer.address for buffer in values.buffers()[1:] if buffer)


def dictionaries(column):
    return {memory(chunk.dictionary) for chunk in column.chunks}


def kept(chunks, **inputs):
    """Of chunks of a column `s`; all that must always hold is checked."""
    column = pa.chunked_array(chunks)
    field = pa.field("s", column.type, metadata={"mark": "kept"})
    output = pa.table([column, pa.nulls(len(column))], schema=pa.schema([field, ("n", pa.null())]))
    tables = {name: pa.table({name: value}) for name, value in inputs.items()}
    found = keep_dictionaries(output, tables)
    assert found.schema.equals(output.schema, check_metadata=True)
    found.validate(full=True)
    assert found.to_pylist() == output.to_pylist()
    return found["s"]


@pytest.fixture(scope="module")
def tables():
    draw = np.random.default_rng(1)
    numbers = draw.integers(0, 5000, ROWS)
    names = dictionary(NAMES, draw.integers(0, len(NAMES), ROWS))
    many = dictionary(MANY, draw.integers(0, len(MANY), ROWS))
    keys = dictionary(MANY.take(pa.arange(999, -1, -1)), range(1000))
    ids = np.arange(ROWS)
    big = pa.table({"id": ids, "k": ids % 1000, "n": numbers, "name": names, "who": many})
    return {"big": big, "small": pa.table({"key": range(1000), "label": keys})}


QUERIES = {
    "SELECT name, who FROM big ORDER BY n": "name who",
    "SELECT name, who FROM big WHERE n < 4000 ORDER BY who, n": "name who",
    "SELECT name, who, label FROM big JOIN small ON k = key WHERE n < 3000": "name who label",
    "SELECT name, label FROM big LEFT JOIN small ON k = key AND key < 500": "name label",
    "SELECT name, who FROM big WHERE k IN (SELECT key FROM small WHERE key > 300)": "name who",
    "SELECT name, who FROM big ORDER BY n, id LIMIT 20000": "name who",
    "SELECT DISTINCT who, k FROM big": "who",
    "SELECT who, count(*) AS c FROM big GROUP BY who, k": "who",
    "SELECT DISTINCT ON (k, n) name, who FROM big ORDER BY k, n, id": "name who",
    "SELECT name, who, rank() OVER (PARTITION BY k ORDER BY n) AS r FROM big": "name who",
    "SELECT lag(who) OVER (ORDER BY k, id) AS who FROM big": "who",
    "SELECT CASE WHEN n > 70 THEN who END AS who FROM big": "who",
    "SELECT who FROM big WHERE n < 100 UNION ALL SELECT label FROM small ORDER BY who": "who",
}


@pytest.mark.parametrize("sql", QUERIES)
def test_datafusion_keeps_its_inputs_dictionaries(tables, sql):
    own = {
        memory(column.chunk(0).dictionary)
        for table in tables.values()
        for column in table.columns
        if pa.types.is_dictionary(column.type)
    }
    found = tasks_sql.datafusion_query(tables, sql)
    before = tasks_sql._query(tasks_sql.datafusion_session(tables, merge=True), tables, sql)
    assert found.schema.equals(before.schema, check_metadata=True)
    rows = [sorted(map(repr, table.to_pylist())) for table in (found, before)]
    assert rows[0] == rows[1]
    for name in QUERIES[sql].split():
        assert dictionaries(found[name]) <= own, name
        assert len(dictionaries(found[name])) == 1, name


def test_a_sort_doesnt_append_dictionaries(tables):
    sql = "SELECT name, who FROM big ORDER BY n"
    found = tasks_sql._datafusion_result(tables, sql)
    assert found["who"].num_chunks > 1
    assert {len(chunk.dictionary) for chunk in found["who"].chunks} == {len(MANY)}


def test_a_new_value_makes_one_dictionary_for_all_batches(tables):
    sql = "SELECT CASE WHEN n > 70 THEN who ELSE 'nobody' END AS who FROM big"
    found = tasks_sql.datafusion_query(tables, sql)["who"]
    assert found.num_chunks > 1
    assert len(dictionaries(found)) == 1
    assert sorted(found.chunk(0).dictionary.to_pylist()) == [*MANY.to_pylist(), "nobody"]


def test_a_function_of_values_leaves_the_indices_where_they_are(tables):
    found = tasks_sql.datafusion_query(
        tables, "SELECT upper(who) AS u, reverse(name) AS r FROM big"
    )
    for name, source in (("u", "who"), ("r", "name")):
        given = tables["big"][source].chunk(0).indices.buffers()[1]
        for chunk in found[name].chunks:
            address = chunk.indices.buffers()[1].address
            assert given.address <= address < given.address + given.size
    assert len(dictionaries(found["u"])) == 1
    # Whose dictionary has a null would need new indices, which are more than seven names.
    assert len(dictionaries(found["r"])) == found["r"].num_chunks


def test_text_too_long_to_be_sorted_as_one_is_merged(tables, monkeypatch):
    """As DataFusion fails over more than 2 GiB of plain text."""
    query, session, merged = tasks_sql._query, tasks_sql.datafusion_session, []

    def note(inputs, *, merge=False):
        merged.append(merge)
        return session(inputs, merge=merge)

    def fail_unless_merged(context, inputs, sql):
        if not merged[-1] and any(pa.types.is_dictionary(t) for t in inputs["big"].schema.types):
            raise RuntimeError("Arrow error: Offset overflow error: 2198576000")
        return query(context, inputs, sql)

    monkeypatch.setattr(tasks_sql, "datafusion_session", note)
    monkeypatch.setattr(tasks_sql, "_query", fail_unless_merged)
    big, sql = tables["big"].select(["n", "who"]), "SELECT n, who FROM big ORDER BY n"
    found = tasks_sql.datafusion_query({"big": big}, sql)
    assert merged == [False, True]
    assert found["n"].to_pylist() == sorted(big["n"].to_pylist())
    assert dictionaries(found["who"]) == dictionaries(big["who"])
    field = big.schema.field("who").with_metadata({"zerrow:dictionary": "auto"})
    automatic = pa.table(big.columns, pa.schema([big.schema.field("n"), field]))
    merged.clear()
    found = tasks_sql.datafusion_query({"big": automatic}, sql)
    assert not any(merged)  # decoded instead
    assert found.schema.field("who").type == pa.string()
    assert found["n"].to_pylist() == sorted(big["n"].to_pylist())


# --- rewriting alone --------------------------------------------------------------------------

OWN = dictionary(pa.array(["a", "b", "c", "d"]), [3, 2, 1, 0, 0])


def test_what_refers_to_an_input_is_the_same_object():
    column = pa.chunked_array([OWN.slice(1, 2), OWN])
    table = pa.table({"s": column})
    assert keep_dictionaries(table, {"x": pa.table({"s": OWN})}) is table


@pytest.mark.parametrize("name", ["s", "other"])
def test_values_of_an_input_become_its_own(name):
    foreign = dictionary(pa.array(["c", "a", "c"]), [2, 1, None, 0, 0, 2])
    found = kept([foreign, OWN, foreign.slice(2, 3), foreign[:0]], **{name: OWN})
    assert dictionaries(found) == {memory(OWN.dictionary)}


@pytest.mark.parametrize("null_at", ["own", "foreign", "both"])
def test_nulls_in_dictionaries_stay_nulls(null_at):
    own = dictionary(pa.array(["a", None if null_at != "foreign" else "z", "b"]), [0, 1, 2])
    values = ["b", None if null_at != "own" else "a", "a"]
    foreign = dictionary(pa.array(values), [0, 1, 2, 1, None])
    found = kept([foreign, foreign.slice(1)], s=own)
    assert dictionaries(found) == {memory(own.dictionary)}
    one = dictionaries(kept([foreign, dictionary(pa.array(["x", None]), [0, 1])], s=OWN[:0]))
    assert len(one) == 1


def test_dictionaries_of_one_memory_and_other_nulls_are_different():
    values = pa.array(["a", "b", "c"])
    parts = []
    for valid in (0b101, 0b110):
        buffers = [pa.py_buffer(bytes([valid])), *values.buffers()[1:]]
        other = pa.Array.from_buffers(pa.string(), 3, buffers)
        parts.append(dictionary(other, [0, 1, 2]))
    assert len(dictionaries(kept(parts, s=OWN))) == 1


def test_a_dictionary_of_more_values_than_rows_is_cut_down():
    foreign = dictionary(pa.array([f"{i % 4}" for i in range(1000)]), [5, 1, 999, 2])
    own = dictionary(pa.array(["0", "1", "2", "3"]), [0])
    assert dictionaries(kept([foreign], s=own)) == {memory(own.dictionary)}
    new = kept([foreign, foreign.slice(1)], s=OWN)
    assert len(dictionaries(new)) == 1
    assert len(new.chunk(0).dictionary) == 3


def test_an_input_with_more_values_than_rows_isnt_searched():
    large = dictionary(pa.array([f"{i}" for i in range(100)]), [0])
    found = kept([dictionary(pa.array(["5", "7"]), [0, 1, 1])], s=large)
    assert dictionaries(found).isdisjoint({memory(large.dictionary)})


@pytest.mark.parametrize("index_type", [pa.int8(), pa.uint8(), pa.int16(), pa.uint32(), pa.int64()])
def test_index_types_stay(index_type):
    foreign = dictionary(pa.array(["d", "a"]), [0, 1, None, 1, 0], index_type)
    assert dictionaries(kept([foreign, foreign], s=OWN)) == {memory(OWN.dictionary)}


def test_indices_that_are_too_narrow_stay():
    texts = [f"{i}" for i in range(300)]
    parts = [dictionary(pa.array(texts[i : i + 100]), range(100), pa.int8()) for i in (0, 100, 200)]
    own = dictionary(pa.array(texts), [0])
    assert dictionaries(kept(parts, s=own)) == {memory(part.dictionary) for part in parts}
    large = dictionary(pa.array(texts[:200]), [0])
    unified = kept(
        [
            parts[0],
            parts[0],
            dictionary(parts[0].dictionary[:3].take(pa.array([2, 0])), [0, 1], pa.int8()),
        ],
        s=large,
    )
    assert len(dictionaries(unified)) == 1


@pytest.mark.parametrize(
    "value_type", [pa.string(), pa.large_string(), pa.binary(), pa.large_binary()]
)
def test_values_of_another_type_are_no_candidates(value_type):
    own = [OWN.cast(pa.dictionary(pa.int32(), t)) for t in (pa.large_string(), pa.string())]
    own.append(dictionary(OWN.dictionary.cast(pa.binary()), [0]))
    foreign = dictionary(pa.array(["c", "a"]).cast(value_type), [0, 1, 1, 0])
    found = kept([foreign, foreign], **{f"c{i}": column for i, column in enumerate(own)})
    same = {memory(c.dictionary) for c in own if c.type.value_type == value_type}
    assert dictionaries(found) == (same or {memory(foreign.dictionary)})


def test_ordered_nested_and_other_dictionaries_are_left_alone():
    two = [dictionary(pa.array(["a", "b"]), [1, 0]), dictionary(pa.array(["b", "a"]), [1, 0])]
    ordered = pa.dictionary(pa.int32(), pa.string(), ordered=True)
    numbers = [dictionary(pa.array([1, 2]), [0, 1]), dictionary(pa.array([2, 3]), [0, 1])]
    columns = {
        "ordered": pa.chunked_array(
            [
                pa.DictionaryArray.from_arrays(part.indices, part.dictionary, ordered=True)
                for part in two
            ]
        ),
        "struct": pa.chunked_array([pa.StructArray.from_arrays([part], ["f"]) for part in two]),
        "list": pa.chunked_array([pa.ListArray.from_arrays([0, 1, 2], part) for part in two]),
        "numbers": pa.chunked_array(numbers),
    }
    assert columns["ordered"].type == ordered
    table = pa.table(columns)
    found = keep_dictionaries(table, {"x": pa.table({"s": OWN})})
    assert all(a.equals(b) for a, b in zip(found.columns, table.columns, strict=True))
    for a, b in zip(found.columns, table.columns, strict=True):
        assert [c.buffers() and c.buffers()[-1].address for c in a.chunks if c.buffers()[-1]] == [
            c.buffers()[-1].address for c in b.chunks if c.buffers()[-1]
        ]


def test_indices_of_an_input_are_worth_more_than_a_few_values():
    given = dictionary(pa.array(["one", "two"]), [0, 1] * 5000)
    halves = [given[:5000], given[5000:]]
    swapped = [["x", "y"], ["y", "x"]]
    parts = [
        pa.DictionaryArray.from_arrays(half.indices, pa.array(values))
        for half, values in zip(halves, swapped, strict=True)
    ]
    found = kept(parts, s=given)
    assert [chunk.indices.buffers()[1].address for chunk in found.chunks] == [
        part.indices.buffers()[1].address for part in parts
    ]


def test_no_rows_and_no_columns():
    assert kept([OWN[:0], dictionary(pa.array([], pa.string()), [])], x=OWN).to_pylist() == []
    assert keep_dictionaries(pa.table({}), {}).num_columns == 0
    nothing = pa.chunked_array([], OWN.type)
    assert keep_dictionaries(pa.table({"s": nothing}), {})["s"].num_chunks == 0


TEXT = st.sampled_from(["", "a", "b", "c", "dd", "ä", None])


@st.composite
def chunk(draw):
    values = draw(st.lists(TEXT, max_size=12))
    index = st.none() | st.integers(0, len(values) - 1) if values else st.none()
    array = dictionary(pa.array(values, pa.string()), draw(st.lists(index, max_size=12)))
    begin = draw(st.integers(0, len(array)))
    return array.slice(begin, draw(st.integers(0, len(array) - begin)))


@settings(deadline=None, max_examples=300)
@given(st.lists(chunk(), min_size=1, max_size=5), st.lists(chunk(), max_size=3), st.data())
def test_values_never_change(output, inputs, data):
    shared = data.draw(st.lists(st.sampled_from(inputs), max_size=2)) if inputs else []
    tables = {f"x{i}": own for i, own in enumerate(inputs)}
    found = kept([*output, *shared], **tables)
    foreign = dictionaries(found) - {memory(own.dictionary) for own in inputs}
    assert len(foreign) <= max(1, len(dictionaries(pa.chunked_array(output))))
