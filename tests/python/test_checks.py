"""SQL models, native models and conditions in a project, and what is wrong with them."""

import re

import pytest

YML = """
name: flights
parameters:
  limit: {type: int, default: 3}
  origin: {type: str, default: JFK}
sources:
  flights: data/flights.parquet
models:
"""


def native(project, text):
    project.write("zerrow_project.yml", YML + text)


def model(project, name):
    found = project.describe()
    assert found["errors"] == []
    (entry,) = (entry for entry in found["models"] if entry["name"] == name)
    return entry


def python_model(project, arguments, decorator="@zerrow.model()", name="late"):
    project.write(f"{name}.py", f"import zerrow\n{decorator}\ndef {name}({arguments}): ...\n")


def test_a_sql_file_is_a_model(project):
    project.write(
        "models/late.sql",
        """
        -- Which are late?

        SELECT f.carrier, count(*) AS n
        FROM flights AS f
        WHERE dep_delay > $limit
        GROUP BY 1;
        """,
    )
    project.write(
        "other.sql",
        """
        -- zerrow: name=Busy engine=duckdb
        -- zerrow: memory=2GiB deterministic=false tags=daily,core
        SELECT * FROM LATE""",
    )
    busy = model(project, "Busy")
    assert (busy["memory_bytes"], busy["deterministic"]) == (2 << 30, False)
    assert busy["tags"] == ["daily", "core"]
    late = model(project, "late")
    assert (late["kind"], late["file"], late["line"]) == ("sql", "models/late.sql", 3)
    assert late["engine"] == "datafusion"
    assert late["imports"] == ["datafusion"]
    assert late["sql"].startswith("-- Which are late?\n")
    assert (late["memory_bytes"], late["deterministic"]) == (None, True)
    assert late["sql"].endswith("WHERE dep_delay > 3\nGROUP BY 1")
    assert late["parameters"] == [{"argument": "limit", "name": "limit"}]
    assert late["inputs"] == [
        {
            "parameter": "flights",
            "model": "flights",
            "columns": ["carrier", "dep_delay"],
            "filter": "dep_delay > 3.0",
            "line": 4,
            "filter_columns": ["dep_delay"],
            "dictionary": "auto",
        }
    ]
    busy = model(project, "Busy")
    assert busy["engine"] == "duckdb"
    assert busy["inputs"][0] | {"line": 0} == {
        "parameter": "LATE",
        "model": "late",
        "columns": None,
        "filter": None,
        "line": 0,
        "filter_columns": [],
        "dictionary": "auto",
    }


def test_counting_rows_reads_the_smallest_column(project):
    project.write("n.sql", "SELECT count(*) AS n FROM flights")
    assert model(project, "n")["inputs"][0]["columns"] == ["dep_delay"]


def test_planned_columns_are_known_before_anything_runs(project):
    native(
        project,
        """
  - {name: counted, operator: aggregate, input: late,
     aggregate: {by: [carrier], measures: {n: count, most: max(delay)}}}
  - {name: made, operator: project, input: counted, project: {columns: {twice: n * 2}}}
""",
    )
    project.write("late.sql", "SELECT carrier, dep_delay AS delay FROM flights")
    project.write("last.sql", "-- zerrow: engine=duckdb\nSELECT twice, 1 AS one FROM made")
    python_model(project, "late=zerrow.Model('late')", name="open")
    project.write("fallback.sql", "SELECT x FROM open")
    columns = {
        name: [(column["name"], column["type"]) for column in model(project, name)["columns"]]
        for name in ("late", "counted", "made", "last")
    }
    assert columns == {
        "late": [("carrier", "string"), ("delay", "double")],
        "counted": [("carrier", "string"), ("n", "int64"), ("most", "double")],
        "made": [("twice", "int64")],
        "last": [("twice", "int64"), ("one", "int32")],
    }
    assert model(project, "fallback")["columns"] is None


SQL_MISTAKES = {
    "SELECT a\nFROM flights\nWHERE )": (3, "this SQL can't be read at ')'"),
    "DROP TABLE flights": (1, "a SQL model is one SELECT, not DROP"),
    "": (1, "the file is empty"),
    "SELECT 1;\nSELECT 2": (1, "has 2 statements"),
    "SELECT\n  $limits": (2, "there is no parameter 'limits'; did you mean 'limit'?"),
    "-- zerrow: name=x engine=spark\nSELECT 1": (1, "engine must be datafusion or duckdb"),
    "-- zerrow: nmae=x\nSELECT 1": (1, "no setting 'nmae'; did you mean 'name'?"),
    "-- zerrow: name\nSELECT 1": (1, "takes name=value"),
    "-- more\n-- zerrow: memory=much\nSELECT 1": (2, "memory must be a size such as"),
    "-- zerrow: deterministic=no\nSELECT 1": (1, "must be true or false, not 'no'"),
    "-- zerrow: materialization_strategy=REPLACE\nSELECT 1": (1, "is not supported yet"),
    "-- bauplan: partitioned_by = day\nSELECT 1": (1, "is not supported yet: it needs the cat"),
    "-- bauplan: name\nSELECT 1": (1, "takes name=value"),
    "-- bauplan: output_schema=None\nSELECT 1": (1, "has a class None of TableSchema"),
    "SELECT f.carrier,\n f.dep_dely FROM flights f": (2, "did you mean 'dep_delay'?"),
    "SELECT carrier\nFROM flights\nWHERE dep_dely > 1": (
        3,
        "no column 'dep_dely'; did you mean 'dep_delay'?",
    ),
    "SELECT carrier,\n nope(day) AS x\nFROM flights": (2, "Invalid function 'nope'"),
    "-- zerrow: engine=duckdb\nSELECT carrier,\n nope(day) AS x\nFROM flights": (3, "name nope"),
    "SELECT carrier\nFROM flights\nWHERE carrier + 1 > day": (1, "Cannot coerce arithmetic"),
    "SELECT 'x\nFROM flights": (2, "a ' is not closed"),
}


@pytest.mark.parametrize("text", SQL_MISTAKES)
def test_mistakes_in_a_sql_file(project, text):
    (project.path / "m.sql").write_text(text)
    file, line, message = project.error()
    assert (file, line) == ("m.sql", SQL_MISTAKES[text][0])
    assert SQL_MISTAKES[text][1] in message


def test_names_of_columns_are_as_the_engine_reads_them(project):
    project.write("a.sql", 'SELECT f."Origin" FROM flights f')
    project.write("b.sql", "-- zerrow: engine=duckdb\nSELECT f.ORIGIN FROM flights f")
    project.write("c.sql", "WITH f AS (SELECT 1 AS z) SELECT f.z FROM f, flights")
    assert project.errors() == []


def test_native_models(project):
    native(
        project,
        """
  - name: few
    operator: filter
    input: flights
    filter: {condition: dep_delay > $limit}
  - name: renamed
    operator: project
    input: few
    project:
      columns: {who: carrier, twice: dep_delay * 2, one: 1}
  - name: sorted
    operator: sort
    input: renamed
    memory: 3MB
    sort: {by: [twice desc, who]}
  - name: counted
    operator: aggregate
    input: flights
    aggregate: {by: [carrier], measures: {n: count, delay: mean(dep_delay)}}
""",
    )
    found = project.describe()
    assert found["errors"] == []
    few, renamed, ordered, counted = found["models"]
    assert few["operator"] == {"kind": "filter", "condition": "dep_delay > 3"}
    assert few["parameters"] == [{"argument": "limit", "name": "limit"}]
    assert few["inputs"][0]["columns"] is None
    assert (few["kind"], few["file"], few["line"]) == ("native", "zerrow_project.yml", 9)
    assert few["inputs"][0] | {"columns": None} == {
        "parameter": "input",
        "model": "flights",
        "columns": None,
        "filter": None,
        "line": 11,
        "filter_columns": [],
        "dictionary": "auto",
    }
    assert renamed["operator"]["columns"] == [
        ["who", "carrier"],
        ["twice", "dep_delay * 2"],
        ["one", "1"],
    ]
    assert ordered["operator"] == {"kind": "sort", "by": ["twice desc", "who"]}
    assert ordered["memory_bytes"] == 3_000_000
    assert few["memory_bytes"] is None
    assert counted["operator"] == {
        "kind": "aggregate",
        "by": ["carrier"],
        "measures": [["n", "count"], ["delay", "mean(dep_delay)"]],
    }
    assert counted["inputs"][0]["columns"] == ["carrier", "dep_delay"]


NATIVE_MISTAKES = {
    "operator: filtr\n    input: flights": "no operator 'filtr'; did you mean 'filter'?",
    "operator: filter": "input is missing",
    "input: flights": "operator is missing",
    "operator: filter\n    input: flights": "filter is missing",
    "operator: filter\n    input: flights\n    filter: {}": "filter.condition is missing",
    "operator: filter\n    input: flights\n    filter: {condition: a > 1}\n    memory: all": (
        "memory must be a size such as"
    ),
    "operator: concat\n    inputs: [flights, flights]\n    memory: 0": "memory must be a size",
    "operator: filter\n    input: flights\n    sort: {by: [a]}": "no setting 'sort'",
}
SETTING_MISTAKES = {
    "filter: {conditon: a}": "no setting 'conditon'",
    "filter: {condition: dep_dely > 1}": "did you mean 'dep_delay'?",
    "filter: {condition: day}": "non-boolean predicate 'day' returning Int64",
    "filter: {condition: day > $x}": "no parameter 'x'",
    "project: {columns: {a: lower(day)}}": "'lower' requires String, but received Int64",
    "project: {columns: {a: count(carrier)}}": "it has an aggregate",
    "project: {columns: {a: 'trim(day from carrier)'}}": "failed to match any signature",
    "project: {columns: {}}": "project.columns must not be empty",
    "project: {columns: {a: carrier + 1}}": "Cannot coerce arithmetic expression",
    "slice: {}": "give an offset, a length or both",
    "slice: {offset: -1}": "offset must be a number of rows, not '-1'",
    "slice: {length: many}": "length must be a number of rows, not 'many'",
    "slice: {length: true}": "length must be a number of rows",
    "slice: {length: $origin}": "not \"'JFK'\"",
    "slice: {lenght: 1}": "did you mean 'length'?",
    "dictionary: {columns: []}": "dictionary.columns must not be empty",
    "dictionary: {columns: [carier]}": "did you mean 'carrier'?",
    "dictionary: {column: [carrier]}": "did you mean 'columns'?",
    "sort: {by: []}": "sort.by must not be empty",
    "sort: {by: [dayy desc]}": "no column 'dayy'",
    "aggregate: {by: [dayy], measures: {n: count}}": "no column 'dayy'",
    "aggregate: {measures: {n: mean}}": "not a measure",
    "aggregate: {measures: {n: men(day)}}": "did you mean 'mean'",
    "aggregate: {measures: {n: mean(x)}}": "no column 'x'",
    "aggregate: {by: [day], measures: {day: count}}": "'day' is there twice",
}
CONCAT_MISTAKES = {
    "": "inputs is missing",
    "inputs: flights": "inputs must be a list",
    "inputs: []": "inputs must not be empty",
    "inputs: [flights]\n    input: flights": "no setting 'input'; did you mean 'inputs'?",
    "inputs: [flights]\n    concat: {}": "no setting 'concat'",
}
for _settings, _message in CONCAT_MISTAKES.items():
    NATIVE_MISTAKES[f"operator: concat\n    {_settings}"] = _message
for _settings, _message in SETTING_MISTAKES.items():
    _operator = _settings.split(":")[0]
    NATIVE_MISTAKES[f"operator: {_operator}\n    input: flights\n    {_settings}"] = _message


def test_native_models_of_several_inputs_and_of_rows(project):
    native(
        project,
        """
  - name: some
    operator: slice
    input: flights
    slice: {offset: 2, length: $limit}
  - name: encoded
    operator: dictionary
    input: some
    dictionary: {columns: [carrier]}
  - name: both
    operator: concat
    inputs:
      - flights
      - encoded
      - flights
""",
    )
    found = project.describe()
    assert found["errors"] == []
    some, encoded, both = found["models"]
    assert some["operator"] == {"kind": "slice", "offset": 2, "length": 3}
    assert some["parameters"] == [{"argument": "limit", "name": "limit"}]
    assert encoded["operator"] == {"kind": "dictionary", "columns": ["carrier"]}
    assert both["operator"] == {"kind": "concat"}
    assert [(i["parameter"], i["model"], i["line"]) for i in both["inputs"]] == [
        ("input", "flights", 20),
        ("input2", "encoded", 21),
        ("input3", "flights", 22),
    ]


def test_what_is_joined_must_have_the_same_columns(project):
    native(
        project,
        """
  - {name: few, operator: filter, input: flights, filter: {condition: day > 1}}
  - {name: less, operator: project, input: flights, project: {columns: {day: day}}}
  - {name: fine, operator: concat, inputs: [few, flights]}
  - {name: more, operator: concat, inputs: [few, less]}
""",
    )
    file, line, message = project.error()
    assert (file, line) == ("zerrow_project.yml", 12)
    assert re.fullmatch("concat: column '.*' of 'few' is there 0 times in 'less'", message)


@pytest.mark.parametrize("text", NATIVE_MISTAKES)
def test_mistakes_in_native_models(project, text):
    native(project, f"  - name: m\n    {text}\n")
    file, line, message = project.error()
    assert file == "zerrow_project.yml"
    assert 8 <= line <= 8 + text.count("\n") + 2
    assert NATIVE_MISTAKES[text] in message


def test_a_filter_of_an_input_has_the_parameters_values(project):
    native(project, "")
    condition = "dep_delay>$limit AND carrier <> $origin"
    python_model(project, f"f=zerrow.Model('flights', filter='{condition}')")
    (entry,) = model(project, "late")["inputs"]
    assert entry["filter"] == "dep_delay>3 AND carrier <> 'JFK'"
    (found,) = project.describe(origin="' OR 'a'='a", limit="-1")["models"]
    assert found["inputs"][0]["filter"] == "dep_delay>(-1) AND carrier <> ''' OR ''a''=''a'"


FILTER_MISTAKES = {
    "dep_dely > 1": "there is no column 'dep_dely'; did you mean 'dep_delay'?",
    "dep_delay LIKE '1'": "common type to coerce Float64 and Utf8",
    "dep_delay": "non-boolean predicate 'dep_delay' returning Float64",
    "dep_delay >": "it can't be read: expected: an expression",
    "dep_delay > random()": "another one in another run",
    "lower(day) = 'x'": "'lower' requires String, but received Int64",
    "carrier = $orign": "there is no parameter 'orign'; did you mean 'origin'?",
    "day = $origin": "Cannot cast string 'JFK' to value of Int64 type",
}


@pytest.mark.parametrize("text", FILTER_MISTAKES)
def test_mistakes_in_filters_of_sources(project, text):
    native(project, "")
    python_model(project, f'\n  f=zerrow.Model("flights", filter="{text}")')
    file, line, message = project.error()
    assert (file, line) == ("late.py", 4)
    assert message.startswith("filter ")
    assert FILTER_MISTAKES[text] in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("a=zerrow.Model('made', filter='count(x) = 1')", "it has an aggregate"),
        ("a=zerrow.Model('made', filter='anything > 1')", None),
        ("a=zerrow.Model('made', columns=['anything'])", None),
        ("a=zerrow.Model('declared', filter='z > 1')", "no column 'z' in 'declared'"),
        ("a=zerrow.Model('queried', columns=['z'])", "no column 'z' in 'queried'"),
        ("a=zerrow.Model('queried', columns=['N'])", "did you mean 'n'?"),
        ("a=zerrow.Model('queried', filter='z > 1')", "there is no column 'z'"),
        ("a=zerrow.Model('queried', columns=['n'], filter='carrier > 1')", None),
        ("a=zerrow.Model('loose', columns=['z'])", "no column 'z' in 'loose'"),
        ("a=zerrow.Model('loose', columns=['N'])", "did you mean 'n'?"),
        ("a=zerrow.Model('starred', columns=['z'])", "no column 'z' in 'starred'"),
        ("a=zerrow.Model('counted', columns=['day'])", "no column 'day' in 'counted'"),
        ("a=zerrow.Model('ordered', columns=['day'])", "no column 'day' in 'ordered'"),
        ("a=zerrow.Model('ordered', columns=['n'])", None),
        ("a=zerrow.Model('few', filter='carrier')", "non-boolean predicate 'carrier'"),
    ],
)
def test_columns_of_models_are_checked_as_far_as_they_are_certain(project, arguments, message):
    native(
        project,
        """
  - {name: counted, operator: aggregate, input: flights,
     aggregate: {by: [carrier], measures: {n: count}}}
  - {name: ordered, operator: sort, input: counted, sort: {by: [n]}}
  - {name: few, operator: filter, input: flights, filter: {condition: day > 1}}
""",
    )
    python_model(project, "f=zerrow.Model('flights')", name="made")
    python_model(project, "f=zerrow.Model('flights')", '@zerrow.model(columns=["a"])', "declared")
    project.write("queried.sql", "SELECT carrier, count(*) AS n FROM flights GROUP BY 1")
    project.write("loose.sql", "-- zerrow: engine=duckdb\nSELECT count(*) AS n FROM flights")
    project.write("starred.sql", "SELECT * FROM queried")
    python_model(project, arguments)
    if message is None:
        assert project.errors() == []
        return
    file, line, said = project.error()
    assert (file, line) == ("late.py", 3)
    assert message in said
