"""What the decorators note, refuse, and leave as it was."""

import inspect
import subprocess
import sys

import pytest
import zerrow

HERE = __file__


def declaration(function):
    return function.__zerrow__


def test_importing_zerrow_loads_no_data_library():
    code = "import sys, zerrow; print({'pyarrow', 'sqlglot', 'yaml', 'numpy'} & set(sys.modules))"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "set()"


def test_a_model_stays_the_function_that_it_is():
    @zerrow.model(name="late", columns=["a", "b"])
    @zerrow.python("3.11")
    @zerrow.resources(timeout=2)
    def is_late(flights=zerrow.Model("flights"), limit=3):
        """Doc."""
        return (flights, limit)

    assert is_late(flights=1) == (1, 3)
    assert is_late(1, limit=2) == (1, 2)
    assert is_late.__doc__ == "Doc."
    noted = declaration(is_late)
    assert (noted.kind, noted.name, noted.columns, noted.timeout_s) == (
        "python",
        "late",
        ["a", "b"],
        2.0,
    )
    assert noted.file == HERE
    assert inspect.getsource(is_late).splitlines()[3].strip().startswith("def is_late")


def test_what_a_function_needs_and_whether_it_repeats_itself_is_noted():
    @zerrow.model(deterministic=False)
    @zerrow.resources(memory="2GB")
    def drawn():
        return None

    @zerrow.expectation
    @zerrow.resources(memory=5000)
    def fine():
        return True

    assert declaration(drawn).memory_bytes == 2_000_000_000
    assert declaration(drawn).deterministic is False
    assert declaration(fine).memory_bytes == 5000
    assert declaration(fine).deterministic is True


def test_decorators_work_without_parentheses():
    @zerrow.expectation
    def fine(table=zerrow.Model("t")):
        return True

    @zerrow.model
    def same(table=zerrow.Model("t")):
        return table

    assert declaration(fine).kind == "expectation"
    assert declaration(same).name == "same"
    assert fine(table=None) is True


def test_the_line_is_that_of_the_def():
    line = inspect.currentframe().f_lineno

    @zerrow.model(
        name="x",
    )
    @zerrow.resources(timeout=1)
    def x():
        return None

    assert declaration(x).line == line + 6


def test_a_missing_input_is_explained():
    @zerrow.model()
    def late(flights=zerrow.Model("flights"), origin=zerrow.Parameter("origin")):
        return flights

    with pytest.raises(
        TypeError, match=r"late\(flights=\.\.\., origin=\.\.\.\).*Parameter\('origin'\)"
    ):
        late(flights=1)
    with pytest.raises(TypeError, match="unexpected keyword"):
        late(flihgts=1, origin="x")


REFUSED = {
    "materialization_strategy": lambda: zerrow.model(materialization_strategy="REPLACE"),
    "partitioned_by": lambda: zerrow.model(partitioned_by=["a"]),
    "overwrite_filter": lambda: zerrow.model(overwrite_filter="a > 1"),
    "internet_access": lambda: zerrow.model(internet_access=False),
    "cache_strategy": lambda: zerrow.model(cache_strategy="DEFAULT"),
    "cpus": lambda: zerrow.resources(cpus=2),
    "memory_swap": lambda: zerrow.resources(memory_swap="1G"),
    "ref=": lambda: zerrow.Model("t", ref="main"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_work_yet_is_refused_with_its_place(what):
    with pytest.raises(zerrow.ProjectError, match="not supported yet") as caught:
        REFUSED[what]()
    assert what in caught.value.message
    assert caught.value.file == HERE
    source = inspect.getsource(sys.modules[__name__]).splitlines()
    assert what.removesuffix("=") in source[caught.value.line - 1]


@pytest.mark.parametrize(
    ("pip", "requirements"),
    [
        ({}, []),
        ({"b": "1.*", "A": "2.2.2"}, ["a==2.2.2", "b==1.*"]),
        ({"Some_Thing[x,y]": ">= 2, <3"}, ["some-thing[x,y]>=2,<3"]),
        ({"a": "1!2.0rc1+local"}, ["a==1!2.0rc1+local"]),
    ],
)
def test_packages_become_requirements(pip, requirements):
    @zerrow.python("3.11", pip=pip)
    def late():
        pass

    assert (declaration(late).python, declaration(late).packages) == ("3.11", requirements)


def test_what_means_nothing_more_than_the_default_is_accepted():
    zerrow.model(materialization_strategy="NONE", cache_strategy="NONE", internet_access=True)
    zerrow.python()
    zerrow.python("3.11", pip={})
    zerrow.resources()


WRONG = {
    "columns must be a list": lambda: zerrow.model(columns="a"),
    "names 'a' twice": lambda: zerrow.model(columns=["a", "a"]),
    "columns must be names": lambda: zerrow.model(columns=["a", 1]),
    "columns is empty": lambda: zerrow.Model("t", columns=[]),
    "filter must be": lambda: zerrow.Model("t", filter=" "),
    "needs a name": lambda: zerrow.Model(""),
    "Parameter\\(\\) needs a name": lambda: zerrow.Parameter(3),
    "timeout must be": lambda: zerrow.resources(timeout=0),
    "memory must be a size": lambda: zerrow.resources(memory="much"),
    "not True": lambda: zerrow.resources(memory=True),
    "tags must be a list": lambda: zerrow.model(tags="daily"),
    "not 'two words'": lambda: zerrow.model(tags=["two words"]),
    "not 'a,b'": lambda: zerrow.expectation(tags=["a,b"]),
    "deterministic must be": lambda: zerrow.model(deterministic="no"),
    "version is a text": lambda: zerrow.python(3.11),
    "version is a text such as": lambda: zerrow.python("python3"),
    "versions by package": lambda: zerrow.python(pip=["pandas"]),
    "isn't the name of a package": lambda: zerrow.python(pip={"--pre": "1"}),
    "needs a version": lambda: zerrow.python(pip={"pandas": "1 -r x.txt"}),
    "needs a version such as": lambda: zerrow.python(pip={"pandas": None}),
    "names 'Pandas' twice": lambda: zerrow.python(pip={"pandas": "2", "Pandas": "2"}),
    "decorates functions": lambda: zerrow.model()(3),
    "name must be a text": lambda: zerrow.model(name=" ")(lambda: None),
    "written twice": lambda: zerrow.model()(zerrow.model()(lambda: None)),
    "not both": lambda: zerrow.model()(zerrow.expectation()(lambda: None)),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_arguments_are_errors(message):
    with pytest.raises(zerrow.ProjectError, match=message) as caught:
        WRONG[message]()
    assert caught.value.file == HERE
    assert str(caught.value).startswith(f"{HERE}:{caught.value.line}: ")
