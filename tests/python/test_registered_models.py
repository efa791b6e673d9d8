"""Models that factories, loops and other decorators make: found by name, wherever they are."""

FACTORY = """
import functools
import zerrow

def make(name, columns=None):
    @zerrow.model(name=name, columns=columns)
    def made(flights=zerrow.Model("flights")):
        return flights

def labelled(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return function(*args, **kwargs)
    return inner
"""


def found(project):
    described = project.describe()
    assert described["errors"] == []
    return [(m["name"], m["file"], m["line"], m["module"]) for m in described["models"]]


def test_models_that_other_functions_make(project):
    project.write("lib/factory.py", FACTORY)
    project.write(
        "a.py",
        """
        import zerrow
        from lib.factory import labelled, make

        for name in ("one", "two"):
            make(name)

        def hidden():
            @zerrow.model()
            def inner(): ...
        hidden()

        @zerrow.model(name="first")
        def same(): ...

        @zerrow.model(name="second")
        def same(): ...

        @labelled
        @zerrow.model()
        @labelled
        @zerrow.resources(timeout=1)
        @functools.cache
        def wrapped(*, one=zerrow.Model("one")): ...
        """.replace("import zerrow\n", "import functools, zerrow\n", 1),
    )
    assert found(project) == [
        ("one", "lib/factory.py", 6, "a.py"),
        ("two", "lib/factory.py", 6, "a.py"),
        ("inner", "a.py", 9, "a.py"),
        ("first", "a.py", 13, "a.py"),
        ("second", "a.py", 16, "a.py"),
        ("wrapped", "a.py", 23, "a.py"),
    ]


def test_models_that_a_library_makes(project):
    project.write("venv/lib/factory.py", FACTORY)
    project.write(
        "a.py",
        """
        import sys
        sys.path.insert(0, __file__.replace("a.py", "venv/lib"))
        import factory, zerrow
        factory.make("one")
        zerrow.model
        """,
    )
    assert found(project) == [("one", "a.py", 4, "a.py")]


def test_a_decorator_whose_result_nobody_finds(project):
    project.write("factory.py", FACTORY)
    project.write(
        "a.py",
        """
        import zerrow
        from factory import labelled

        @lambda function: lambda **tables: function(**tables)
        @zerrow.model()
        def hides(): ...

        def make():
            @labelled
            @zerrow.model()
            def inner(): ...
        make()
        """,
    )
    errors = project.errors()
    assert [(file, line) for file, line, _ in errors] == [("a.py", 6), ("a.py", 11)]
    for _, _, text in errors:
        assert "has a decorator above @zerrow.model whose result isn't found" in text


def test_a_decorator_below_that_hides_the_arguments(project):
    project.write(
        "a.py",
        """
        import zerrow
        @zerrow.model(name="hidden")
        @lambda function: lambda **tables: function(**tables)
        def hides(): ...
        """,
    )
    _, _, text = project.error()
    assert "a decorator needs functools.wraps to show those of its function" in text


def test_a_file_that_is_imported_under_two_names(project):
    project.write("models/a.py", "import zerrow\n@zerrow.model()\ndef f(): ...\n")
    project.write(
        "b.py",
        """
        import sys, zerrow
        sys.path.insert(0, __file__.replace("b.py", "models"))
        import a
        @zerrow.model()
        def g(): ...
        """,
    )
    assert [name for name, *_ in found(project)] == ["f", "g"]


def test_files_whose_names_differ_in_signs_only(project):
    project.write("a-b.py", "import zerrow\n@zerrow.model()\ndef f(): ...\n")
    project.write("a+b.py", "import zerrow\n@zerrow.model()\ndef g(): ...\n")
    assert {name for name, *_ in found(project)} == {"f", "g"}
