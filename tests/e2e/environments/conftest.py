"""Packages for tests, as wheels in a folder: what needs no network to be installed.

pyarrow's is made of the one that is installed here.
"""

import base64
import hashlib
import importlib.metadata
import zipfile

import pytest


def write_wheel(folder, name, version, files, requires=()):
    """A pure wheel with these files, text by path."""
    info = f"{name}-{version}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {requirement}\n" for requirement in requires),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},{_digest(text)},{len(text)}\n" for path, text in files.items())
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            wheel.writestr(path, text)


def _digest(text):
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def rewrap(folder, package):
    """A wheel of a package that is installed here."""
    found = importlib.metadata.distribution(package)
    info = f"{package}-{found.version}.dist-info"
    tags = [
        line.removeprefix("Tag: ").strip()
        for line in found.read_text("WHEEL").splitlines()
        if line.startswith("Tag: ")
    ]
    kept = [
        path
        for path in found.files
        if ".." not in path.parts and path.suffix != ".pyc" and path.locate().is_file()
    ]
    names = {str(path) for path in kept}
    record = [
        line
        for line in found.read_text("RECORD").splitlines()
        if line.rsplit(",", 2)[0].strip('"') in names
    ]
    file = folder / f"{package}-{found.version}-{tags[0]}.whl"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as wheel:
        for path in kept:
            if path.name in ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json"):
                continue
            wheel.write(path.locate(), str(path))
        wheel.writestr(f"{info}/RECORD", "\n".join([*record, ""]))


class Environments:
    """The folder in which they are kept."""

    def __init__(self, cache):
        self.folder = cache / "zerrow" / "environments"

    def complete(self):
        """Those that may be used, by name; what else is there has names that begin with dots."""
        return [path.name for path in self.folder.glob("[!.]*") if path.name != "locks"]

    def left(self):
        return [path.name for kind in ("new", "old") for path in self.folder.glob(f".{kind}-*")]

    def importing(self):
        """Whether a new one is being tried."""
        return any(self.folder.glob(".new-*/imports.txt"))


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """A folder with pyarrow and small packages."""
    folder = tmp_path_factory.mktemp("wheels")
    rewrap(folder, "pyarrow")
    for version in ("1.0", "2.0"):
        write_wheel(folder, "tiny", version, {"tiny.py": f"VERSION = {version!r}\n"})
    write_wheel(folder, "broken", "1.0", {"broken.py": "import not_there\n"})
    write_wheel(folder, "deadly", "1.0", {"deadly.py": "import os\nos.abort()\n"})
    write_wheel(folder, "sleepy", "1.0", {"sleepy/__init__.py": "import time\ntime.sleep(600)\n"})
    slow = "import time\ntime.sleep(2)\n"
    write_wheel(folder, "slow", "1.0", {"slow.py": slow, "tests/__init__.py": "import not_there\n"})
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Kept between tests: most need only that the environments are there."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def offline(monkeypatch, wheels, cache):
    """uv takes packages from the folder alone; environments are kept in `cache`."""
    monkeypatch.setenv("UV_FIND_LINKS", str(wheels))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(wheels / ".uv"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    return Environments(cache)


@pytest.fixture
def environments(offline, monkeypatch, tmp_path):
    """Where they are kept, in a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Environments(tmp_path / "cache")


@pytest.fixture
def one(project):
    """Writes a project with one model that needs these packages."""

    def write(packages, body="return pa.table({'n': [1]})", top=""):
        text = f"""import pyarrow as pa
import zerrow
{top}

@zerrow.model()
@zerrow.python(pip={packages!r})
def model():
    {body}
"""
        return project({"models.py": text})

    return write
