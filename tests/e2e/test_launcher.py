"""The program that stands on PATH as `zerrow`, in trees as pip and venv make them.

In each lies a copy of it and, in the real command's place, a script that tells how it was started.
"""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
OTHER_PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor - 1}"
SITE = f"lib/{PYTHON}/site-packages"
TELL = """#!/bin/sh
printf '%s\\0' "$ZERROW_PYTHON" "${PYTHONPATH-}" "$@"
exit 7
"""


@pytest.fixture(scope="session")
def launcher():
    """The installed one, or what a build has left."""
    for path in (Path(sys.executable).parent / "zerrow", ROOT / "build/dev/src/launcher/zerrow"):
        if path.exists() and path.read_bytes()[:4] == b"\x7fELF":
            return path
    pytest.skip("the launcher isn't built")


def executable(path, text="#!/bin/sh\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def package(site):
    """A package in this folder of packages, which a script stands for."""
    executable(site / "zerrow/_bin/zerrow", TELL)
    (site / "zerrow/__init__.py").touch()
    return site


class Told(NamedTuple):
    """How the command was started."""

    python: str
    pythonpath: str
    arguments: list[bytes]


class Tree:
    """A prefix with the launcher in bin/."""

    def __init__(self, launcher, prefix):
        self.prefix = prefix
        self.command = prefix / "bin/zerrow"
        self.command.parent.mkdir(parents=True)
        shutil.copy(launcher, self.command)

    def start(self, *arguments, command=None, cwd=None, **environment):
        """The finished process, with no more in its environment than this."""
        environment = {"PATH": "/nowhere", **environment}
        variables = {name: str(value) for name, value in environment.items()}
        start = [command or self.command, *arguments]
        return subprocess.run(start, env=variables, cwd=cwd, capture_output=True, check=False)

    def tell(self, *arguments, **options):
        done = self.start(*arguments, **options)
        assert (done.returncode, done.stderr) == (7, b"")
        python, pythonpath, *words = done.stdout.split(b"\0")[:-1]
        return Told(os.fsdecode(python), os.fsdecode(pythonpath), words)

    def problem(self, *arguments, **options):
        done = self.start(*(arguments or ("info",)), **options)
        assert (done.returncode, done.stdout) == (1, b"")
        text = done.stderr.decode()
        assert text.startswith("zerrow: ")
        return text


def make_venv(launcher, prefix):
    tree = Tree(launcher, prefix)
    (prefix / "pyvenv.cfg").write_text("home = /usr/bin\n")
    executable(prefix / "bin/python")
    package(prefix / SITE)
    return tree


@pytest.fixture
def venv(launcher, tmp_path):
    return make_venv(launcher, tmp_path / "venv")


@pytest.fixture
def home(launcher, tmp_path):
    """After `pip install --user`."""
    tree = Tree(launcher, tmp_path / "home/.local")
    package(tree.prefix / SITE)
    return tree


@pytest.fixture
def on_path(tmp_path):
    """The interpreter in a folder of PATH."""
    return executable(tmp_path / "system/bin" / PYTHON)


def test_a_virtual_environment_s_python_is_beside_it(venv, on_path):
    told = venv.tell("info", PATH=on_path.parent)
    assert told == (str(venv.prefix / "bin/python"), "", [b"info"])


def test_a_virtual_environment_that_was_moved(venv, tmp_path):
    moved = tmp_path / "with blanks" / "moved"
    moved.parent.mkdir()
    venv.prefix.rename(moved)
    assert venv.tell(command=moved / "bin/zerrow").python == str(moved / "bin/python")


@pytest.mark.parametrize("link", ["folder", "command"])
def test_reached_through_a_symlink(venv, tmp_path, link):
    there = tmp_path / "there"
    there.symlink_to(venv.prefix if link == "folder" else venv.command)
    command = there / "bin/zerrow" if link == "folder" else there
    assert venv.tell(command=command).python == str(venv.prefix / "bin/python")


def test_found_on_path(venv, tmp_path):
    run = f"PATH={venv.command.parent} zerrow info"
    done = subprocess.run(["/bin/sh", "-c", run], cwd=tmp_path, capture_output=True, check=False)
    assert done.stdout.startswith(os.fsencode(venv.prefix / "bin/python"))


def test_for_the_user_alone_the_interpreter_comes_from_path(home, on_path):
    told = home.tell(HOME=home.prefix.parent, PATH=f"/nowhere:{on_path.parent}")
    assert told == (str(on_path), "", [])


def test_a_user_s_folder_that_is_named_otherwise(home, on_path):
    told = home.tell(HOME="/nowhere", PYTHONUSERBASE=home.prefix, PATH=on_path.parent)
    assert told == (str(on_path), "", [])


def test_below_a_prefix_the_interpreter_is_told_where_the_packages_are(home, on_path):
    site = str(home.prefix / SITE)
    assert home.tell(PATH=on_path.parent) == (str(on_path), site, [])
    assert home.tell(PATH=on_path.parent, PYTHONPATH="/mine").pythonpath == f"/mine:{site}"


@pytest.mark.parametrize("lib", ["lib", "lib64"])
@pytest.mark.parametrize("packages", ["site-packages", "dist-packages"])
def test_system_wide(launcher, tmp_path, on_path, lib, packages):
    tree = Tree(launcher, tmp_path / "usr/local")
    package(tree.prefix / lib / PYTHON / packages)
    python = executable(tree.prefix / "bin" / PYTHON)
    assert tree.tell(PATH=on_path.parent) == (str(python), "", [])


def test_beside_packages_of_another_python_its_own_is_taken(venv):
    other = package(venv.prefix / "lib" / OTHER_PYTHON / "site-packages")
    (other / "zerrow/_bin/zerrow").write_text("#!/bin/sh\nexit 1\n")
    (venv.prefix / "lib" / f"{PYTHON}0" / "site-packages").mkdir(parents=True)
    assert venv.tell("info").arguments == [b"info"]


def test_an_active_environment_doesn_t_have_what_is_installed_outside(
    venv, home, on_path, tmp_path
):
    executable(venv.prefix / "bin" / PYTHON)
    (tmp_path / "folder" / PYTHON).mkdir(parents=True)
    (tmp_path / PYTHON).write_text("no program\n")
    path = f"{venv.prefix}/bin:{tmp_path}/folder:{tmp_path}:{on_path.parent}"
    assert home.tell(PATH=path).python == str(on_path)


def test_what_is_on_pythonpath_comes_first(venv, tmp_path):
    checkout = package(tmp_path / "checkout/python")
    executable(checkout / "zerrow/_bin/zerrow", TELL.replace("exit 7", "exit 8"))
    for path in (checkout, f"/nowhere:{checkout}:/nowhere"):
        assert venv.start(PYTHONPATH=path).returncode == 8
    assert venv.start(PYTHONPATH="nowhere:python", cwd=checkout.parent).returncode == 8
    assert venv.start(PYTHONPATH="nowhere:", cwd=checkout).returncode == 8
    assert venv.start(PYTHONPATH=tmp_path).returncode == 7


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["", "", "a b", "-", "--"],
        [b"\xff\xfe=\x80", "naïve", "*\n'\"$(false)\\"],
        ["version", "-O", "json"],
        ["version", ""],
        ["--version", "info"],
        ["versions"],
        ["x" * 100_000],
    ],
)
def test_arguments_pass_unchanged(venv, arguments):
    assert venv.tell(*arguments).arguments == [os.fsencode(each) for each in arguments]


def test_without_the_package_it_says_where_it_looked(launcher, tmp_path, on_path):
    tree = Tree(launcher, tmp_path / "lost")
    text = tree.problem(PATH=on_path.parent)
    assert f"{tree.prefix}/{SITE}\n" in text
    assert "Reinstall" in text


def test_a_package_that_isn_t_built(venv, tmp_path):
    unbuilt = tmp_path / "python/zerrow"
    unbuilt.mkdir(parents=True)
    (unbuilt / "__init__.py").touch()
    text = venv.problem(PYTHONPATH=unbuilt.parent)
    assert f"{unbuilt}/_bin/zerrow is missing" in text
    assert "make" in text


def test_a_virtual_environment_whose_interpreter_is_gone(venv, on_path):
    (venv.prefix / "bin/python").unlink()
    (venv.prefix / "bin/python").symlink_to("/nowhere/python")
    assert f"{venv.prefix}/bin/python, is missing" in venv.problem(PATH=on_path.parent)


def test_no_interpreter(home):
    text = home.problem(PATH="/nowhere:/nobody")
    assert f"there is no {PYTHON}" in text
    assert "/nowhere:/nobody" in text


def test_a_command_that_can_t_be_started(venv):
    executable(venv.prefix / SITE / "zerrow/_bin/zerrow", "#!/nowhere/sh\n")
    assert "zerrow/_bin/zerrow can't be started: No such file" in venv.problem()


@pytest.mark.parametrize("word", ["version", "--version"])
def test_the_version_is_the_command_s_and_needs_no_package(launcher, tmp_path, word):
    binary = Path(importlib.util.find_spec("zerrow").origin).parent / "_bin/zerrow"
    command = subprocess.run([binary, word], capture_output=True, check=True)
    done = Tree(launcher, tmp_path / "lost").start(word)
    assert (done.returncode, done.stdout, done.stderr) == (0, command.stdout, b"")


@pytest.mark.parametrize("word", ["version", "--version", "--help"])
def test_what_can_t_be_printed_is_no_success(zerrow_command, word):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*zerrow_command, word], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert b"couldn't be written" in done.stderr


@pytest.fixture(params=["launcher", "module"])
def zerrow_command(request):
    if request.param == "module":
        return [sys.executable, "-P", "-m", "zerrow"]
    return [request.getfixturevalue("launcher")]


def test_it_links_nothing_but_libc(launcher):
    lines = subprocess.run(["ldd", launcher], capture_output=True, text=True, check=True).stdout
    names = {Path(line.split()[0]).name.split(".")[0] for line in lines.splitlines()}
    assert names <= {"linux-vdso", "libc", "ld-linux-x86-64", "ld-linux-aarch64"}


def test_pip_knows_it():
    try:
        distribution = importlib.metadata.distribution("zerrow")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("not installed")
    commands = [file.locate() for file in distribution.files if file.match("bin/zerrow")]
    commands = [Path(command).resolve() for command in commands]
    assert Path(sys.executable).parent.resolve() / "zerrow" in commands
    assert not distribution.entry_points
