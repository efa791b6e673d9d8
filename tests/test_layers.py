"""The source tree's own rules: includes and imports only go down, files stay small, one list of
versions.
"""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent

# Lowest first. A file may include its own folder and those before it.
LAYERS = [
    "launcher",
    *("base", "resource", "shm", "sipc", "decache", "sandbox", "engine", "server", "worker", "cli"),
]
ABOVE_ALL = len(LAYERS)
PUBLIC = -1
MAX_LINES = 500

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


def sources(*patterns):
    """Files of the tree by glob, what was built left out."""
    files = [path for pattern in patterns for path in ROOT.glob(pattern)]
    return [path for path in sorted(files) if "_bin" not in path.parts]


def layer_of(path):
    """Where a file stands: its layer's number, PUBLIC, or ABOVE_ALL."""
    parts = path.relative_to(ROOT).parts
    if parts[0] == "src":
        return LAYERS.index(parts[1])
    return PUBLIC if parts[0] == "include" else ABOVE_ALL


def layer_of_include(name):
    """The same of a quoted include."""
    folder = name.split("/")[0]
    return PUBLIC if folder == "zerrow" else LAYERS.index(folder)


CC_FILES = sources("include/**/*.h", "src/**/*.h", "src/**/*.cc", "src/**/*.c", "python/**/*.cc")


def test_every_folder_of_src_is_a_layer():
    folders = {path.name for path in (ROOT / "src").iterdir() if path.is_dir()}
    assert folders <= set(LAYERS)


@pytest.mark.parametrize("path", CC_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_includes_go_down(path):
    own = layer_of(path)
    for name in INCLUDE.findall(path.read_text()):
        if "/" not in name:
            assert own == ABOVE_ALL, f'{name}: include it by its folder, as "layer/{name}"'
            continue
        assert layer_of_include(name) <= own, f"{name} stands above {path.parent.name}"


# Lowest first, as above. Modules that no folder holds stand below all or, as FACADE, above all.
PYTHON = ROOT / "python" / "zerrow"
PYTHON_LAYERS = ["_environments", "_sql", "_sources", "_project", "_worker"]
BASE = -1
FACADE = {
    *("__init__", "_html", "_progress", "_run", "_run_errors", "_session"),
    *("compute", "standard_expectations"),
}


def python_layer_of(parts):
    """Of a module's name, without `zerrow`."""
    if parts[0] in PYTHON_LAYERS:
        return PYTHON_LAYERS.index(parts[0])
    return len(PYTHON_LAYERS) if parts[0] in FACADE else BASE


def imported_by(path):
    """The names of the package's modules that a file imports, anywhere, each as its parts."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "zerrow":
            yield from ([name.name] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("zerrow."):
            yield node.module.split(".")[1:]
        elif isinstance(node, ast.Import):
            names = [name.name.split(".") for name in node.names]
            yield from (parts[1:] for parts in names if parts[0] == "zerrow" and parts[1:])


def test_every_folder_of_the_package_is_a_layer():
    folders = {path.parent.name for path in PYTHON.glob("*/*.py")}
    assert folders == set(PYTHON_LAYERS)


@pytest.mark.parametrize("path", sources("python/zerrow/**/*.py"), ids=lambda path: path.stem)
def test_imports_go_down(path):
    own = python_layer_of(path.relative_to(PYTHON).with_suffix("").parts)
    above = [".".join(parts) for parts in imported_by(path) if python_layer_of(parts) > own]
    assert not above, f"{', '.join(above)} stands above {path.relative_to(PYTHON)}"


def test_files_stay_under_500_lines():
    files = CC_FILES + sources("python/**/*.py", "tests/**/*.py", "bench/**/*.py", "scripts/*")
    long = {
        str(path.relative_to(ROOT)): count
        for path in files
        if path.is_file() and (count := len(path.read_text().splitlines())) >= MAX_LINES
    }
    assert not long


def test_headers_are_included_once():
    headers = [path for path in CC_FILES if path.suffix == ".h"]
    assert [path for path in headers if "#pragma once" not in path.read_text()] == []


def test_an_environment_is_pinned_to_versions_that_the_wheel_takes():
    script = ROOT / "scripts" / "requirements.py"
    output = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    pinned = [Requirement(line) for line in output.stdout.splitlines()]
    versions = {pin.name.lower(): str(pin.specifier).removeprefix("==") for pin in pinned}
    assert len(versions) == len(pinned), "a package is listed with two versions"
    assert all(str(pin.specifier).startswith("==") for pin in pinned), "a package isn't pinned"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in [*project["dependencies"], *project["optional-dependencies"]["all"]]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(versions[wanted.name]), text
    # Its C++ libraries are what the binaries are built with.
    assert f"pyarrow=={versions['pyarrow']}" in project["dependencies"]
