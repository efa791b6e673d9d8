"""Which engine the tests' commands use.

One of their own, or with ZERROW_TEST_ENGINE=resident all of them the same resident one, which has
to make no difference. A developer's own resident engine is left alone either way.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RESIDENT = os.environ.get("ZERROW_TEST_ENGINE") == "resident"


def pytest_configure(config):
    config.addinivalue_line("markers", "own_engine: about processes that the command has started")


def pytest_collection_modifyitems(items):
    """What is about the engine inside a command says nothing of a resident one."""
    if not RESIDENT:
        return
    for item in items:
        if item.get_closest_marker("own_engine"):
            item.add_marker(pytest.mark.skip(reason="about the engine of a command"))


@pytest.fixture(scope="session", autouse=True)
def engine_of_commands(tmp_path_factory):
    """Sets what commands find in their environment."""
    folder = tmp_path_factory.mktemp("runtime")
    folder.chmod(0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    os.environ["XDG_CONFIG_HOME"] = str(folder / "config")
    # What runs are remembered by, and where tables go when memory is short.
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    os.environ["ZERROW_ENGINE"] = "resident" if RESIDENT else "own"
    if not RESIDENT:
        yield
        return
    command = [str(Path(sys.executable).parent / "zerrow"), "engine"]
    subprocess.run([*command, "start"], check=True)
    yield
    subprocess.run([*command, "stop"], check=True)
