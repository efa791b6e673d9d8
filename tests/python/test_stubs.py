"""The bindings' stubs are what the C++ gives, with types where that says no more than `object`."""

import ast
import importlib
from pathlib import Path

import pytest
from nanobind.stubgen import StubGen

PACKAGE = Path(__file__).resolve().parents[2] / "python" / "zerrow"
UNTOLD = {"object", "tuple", "dict"}  # what the bindings say of Python's own values


def names_of(text):
    """Dotted name -> each argument's name, default and type, and the type of the result."""
    found = {}

    def visit(body, prefix):
        for node in body:
            if isinstance(node, ast.ClassDef):
                found[prefix + node.name] = {}
                visit(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.FunctionDef):
                found[prefix + node.name] = told_of(node)
            elif isinstance(node, ast.AnnAssign):
                found[prefix + ast.unparse(node.target)] = {"": ast.unparse(node.annotation)}

    visit(ast.parse(text).body, "")
    return found


def told_of(function):
    arguments = function.args
    told = {"->": ast.unparse(function.returns)}
    for one in [*arguments.args, *arguments.kwonlyargs]:
        told[one.arg] = ast.unparse(one.annotation) if one.annotation else ""
    told["defaults"] = [ast.unparse(one) for one in arguments.defaults]
    told["by name only"] = [one.arg for one in arguments.kwonlyargs]
    return told


def agree(generated, written):
    """Whether what is written is what was generated, or says more."""
    return generated == written or generated in UNTOLD


@pytest.mark.parametrize("name", ["_native", "_process", "_engine"])
def test_a_stub_says_what_the_binding_is(name):
    module = importlib.import_module(f"zerrow.{name}")
    generator = StubGen(module)
    generator.put(module)
    generated = names_of(generator.get())
    written = names_of((PACKAGE / f"{name}.pyi").read_text())
    assert set(generated) == set(written)
    for function, told in generated.items():
        assert set(told) == set(written[function]), function
        for what, text in told.items():
            assert agree(text, written[function][what]), (function, what)


def test_a_stub_that_is_not_current_is_noticed():
    told = names_of("class A:\n def f(self, x: int = 3, *, y: object) -> object: ...")
    for other in (
        "x: str = 3, *, y: object",
        "x: int = 4, *, y: object",
        "x: int = 3, y: object = 1",
    ):
        assert names_of(f"class A:\n def f(self, {other}) -> object: ...") != told
    assert agree("object", "pa.Table")
    assert not agree("int", "str")
