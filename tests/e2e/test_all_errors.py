"""All that is wrong with a project is said in one round, each with its file and line."""

FILES = {
    "zerrow_project.yml": "name: wrong\nsources:\n  trips: nowhere.parquet\n",
    "models/a.py": """import zerrow

@zerrow.model(partitioned_by="n")
def first(trips=zerrow.Model("trips", columns=[])):
    return trips

@zerrow.resources(timeout=-1)
@zerrow.model()
def second(first=zerrow.Model("first", columns="n")):
    return first

@zerrow.model(name=7)
def third(): ...

@zerrow.model
class Fourth: ...

for i in range(2):
    @zerrow.model(name=f"looped{i}", deterministic=i)
    def looped(second=zerrow.Model("secnod")):
        return second
""",
    "models/b.py": """import zerrow

@zerrow.model()
def one(two=zerrow.Model("two")): ...

@zerrow.model()
def two(one=zerrow.Model("one")): ...

@zerrow.model()
def reads(fist=zerrow.Model("fist")): ...

@zerrow.model()
def after(lost=zerrow.Model("lost"), first=zerrow.Model("first")): ...
""",
    "lost.sql": "SELECT $nothing FROM trips\n",
}
EXPECTED = [
    ("models/a.py:3", "partitioned_by"),
    ("models/a.py:4", "columns is empty"),
    ("models/a.py:7", "timeout must be a positive number"),
    ("models/a.py:9", "columns must be a list"),
    ("models/a.py:12", "name must be a text"),
    ("models/a.py:15", "decorates functions"),
    ("models/a.py:19", "deterministic must be True or False, not 0"),
    ("models/a.py:19", "deterministic must be True or False, not 1"),
    ("zerrow_project.yml:3", "nowhere.parquet"),
    ("lost.sql:", "nothing"),
    ("models/b.py:4", "cycle: one -> two -> one"),
    ("models/b.py:10", 'unknown input "fist"'),
]


def test_in_one_round(zerrow, project):
    outcome = zerrow("explain", "-p", project(FILES), "-O", "json")
    assert outcome.code == 1, outcome
    outcome = zerrow("run", "-p", project(FILES), "-O", "json")
    assert outcome.code == 1, outcome
    errors = [
        (f"{error['file']}:{error['line']}", error["message"]) for error in outcome.report["errors"]
    ]
    missing = [
        (place, words)
        for place, words in EXPECTED
        if not any(f"{where}:".startswith(place) and words in message for where, message in errors)
    ]
    assert not missing, errors
    assert len(errors) == len(EXPECTED), errors  # and no consequences of these


def test_consequences_of_a_file_that_fails_are_not_told(zerrow, project):
    files = {
        "a.py": "import zerrow\n\n@zerrow.model()\ndef a(): ...\n\nraise ValueError('no')\n",
        "b.py": "import zerrow\n\n@zerrow.model()\ndef b(c=zerrow.Model('c')): ...\n",
    }
    outcome = zerrow("run", "-p", project(files), "-O", "json")
    [error] = outcome.report["errors"]
    assert (error["file"], error["line"]) == ("a.py", 6)
