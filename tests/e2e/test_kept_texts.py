"""What a run stores of texts that operators and `zerrow.compute` keep: each dictionary once."""

ROWS = 200_000
VALUES = 20_000
WIDTH = 50  # characters of a value
INDICES = 4 * ROWS
DICTIONARY = VALUES * WIDTH
SMALL = 100_000  # what small buffers and what counts pages may add

PROJECT = """\
name: texts
models:
  - name: half
    operator: filter
    input: made
    filter: {condition: n % 2 = 0}
  - name: ordered
    operator: sort
    input: half
    sort: {by: [city desc]}
  - name: first
    operator: slice
    input: ordered
    slice: {length: 50000}
  - name: both
    operator: concat
    inputs: [ordered, first]
  - name: loud
    operator: project
    input: made
    project: {columns: {city: upper(city)}}
  - name: encoded
    operator: dictionary
    input: plain
    dictionary: {columns: [name]}
"""

MODELS = f"""\
import pyarrow as pa
import zerrow
import zerrow.compute as zc

ROWS, VALUES, WIDTH = {ROWS}, {VALUES}, {WIDTH}


@zerrow.model()
def made():
    values = pa.array([f"city {{i * 7919 % VALUES:0{{WIDTH - 5}}}}" for i in range(VALUES)])
    indices = pa.array([i * 31 % VALUES for i in range(ROWS)], pa.int32())
    city = pa.DictionaryArray.from_arrays(indices, values)
    return pa.table({{"city": city, "n": range(ROWS)}})


@zerrow.model()
def plain(made=zerrow.Model("made", columns=["city"])):
    return pa.table({{"name": made["city"].cast(pa.string())}})


@zerrow.model()
def shouted(plain=zerrow.Model("plain")):
    return pa.table({{"name": zc.upper(plain["name"])}})


@zerrow.model()
def lowered(loud=zerrow.Model("loud")):
    assert zc.lower(zc.upper(loud["city"])) == zc.lower(loud["city"])
    return pa.table({{"city": zc.lower(loud["city"])}})


@zerrow.model()
def viewed(plain=zerrow.Model("plain")):
    return pa.table({{"name": plain["name"].cast(pa.string_view()), "n": range(ROWS)}})


@zerrow.model()
def views_in_order(viewed=zerrow.Model("viewed")):
    return zc.sort(zc.filter(viewed, "n % 2 = 0"), "n desc")


@zerrow.expectation()
def all_is_right(
    made=zerrow.Model("made"), both=zerrow.Model("both"), shouted=zerrow.Model("shouted"),
    lowered=zerrow.Model("lowered"), views_in_order=zerrow.Model("views_in_order"),
    encoded=zerrow.Model("encoded"),
):
    texts = made["city"].cast(pa.string()).to_pylist()
    assert shouted["name"].to_pylist() == [text.upper() for text in texts]
    assert lowered["city"].to_pylist() == texts
    assert encoded["name"].to_pylist() == texts
    assert views_in_order["name"].to_pylist() == texts[::2][::-1]
    rows = sorted(zip(texts[::2], range(0, ROWS, 2)), key=lambda row: row[0], reverse=True)
    rows += rows[:50000]
    return list(zip(both["city"].to_pylist(), both["n"].to_pylist())) == rows
"""


def test_what_does_not_change_is_stored_once(zerrow, project):
    folder = project({"zerrow_project.yml": PROJECT, "models.py": MODELS})
    outcome = zerrow("run", "-p", folder, "-O", "json", "--strict", "--backend", "memfd")
    assert outcome.code == 0, outcome.out
    models = outcome.models

    def stored(model):
        """What a model has added to shared memory."""
        return models[model]["new_bytes"] + models[model]["copied_bytes"]

    columns = INDICES + 8 * ROWS
    assert DICTIONARY + columns <= stored("made") <= DICTIONARY + columns + SMALL
    # Indices and numbers of half of the rows; the dictionary is the first model's.
    for name in ("half", "ordered"):
        assert columns // 2 <= stored(name) <= columns // 2 + SMALL
        assert models[name]["reshared_bytes"] >= DICTIONARY
    for name in ("first", "both"):
        assert stored(name) <= SMALL
    # Upper and lower case: of a dictionary its texts, of plain strings all texts but no offsets.
    for name in ("loud", "lowered"):
        assert DICTIONARY <= stored(name) <= DICTIONARY + SMALL
        assert models[name]["reshared_bytes"] >= INDICES
    assert WIDTH * ROWS <= stored("shouted") <= WIDTH * ROWS + SMALL
    assert models["shouted"]["reshared_bytes"] >= 4 * ROWS
    # Half of the views, 16 bytes each, and of the numbers.
    assert stored("views_in_order") <= 24 * ROWS // 2 + SMALL
    assert models["views_in_order"]["reshared_bytes"] >= WIDTH * ROWS
    assert stored("encoded") <= DICTIONARY + INDICES + SMALL


def test_tables_that_do_not_fit_together_are_an_error_of_the_model(zerrow, project):
    folder = project(
        {
            "zerrow_project.yml": "name: texts\nmodels:\n"
            "  - name: both\n    operator: concat\n    inputs: [one, two]\n",
            "models.py": "import pyarrow as pa, zerrow\n"
            "@zerrow.model()\ndef one():\n    return pa.table({'x': ['a']})\n"
            "@zerrow.model()\ndef two():\n    return pa.table({'x': [1]})\n",
        }
    )
    outcome = zerrow("run", "-p", folder, "-O", "json")
    assert outcome.code == 1
    error = outcome.models["both"]["error"]
    assert error["message"] == "concat: column 'x' is string in 'one' and int64 in 'two'"
    assert (error["file"], error["line"]) == ("zerrow_project.yml", 3)
