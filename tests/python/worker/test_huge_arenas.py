"""Huge pages for small objects: Python's memory stays sound while they are in force and after."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import gc, re
from zerrow import _process

def mapped(field):
    with open("/proc/self/smaps") as lines:
        return sum(map(int, re.findall(rf"^{field}:\\s+(\\d+) kB", lines.read(), re.M)))

def objects():
    return [(number, str(number)) for number in range(300_000)]  # some 40 MB

def check(made):
    assert all(text == str(number) for number, text in made)

plain = objects()
_process.use_huge_arenas(True)
_process.use_huge_arenas(True)
before = mapped("AnonHugePages")
huge = objects()
gained = mapped("AnonHugePages") - before
_process.use_huge_arenas(False)
_process.use_huge_arenas(False)
late = objects()
assert mapped("AnonHugePages") - before <= gained + 2048
for made in (plain, huge, late):
    check(made)
# Each may be given back while the other allocator is in force.
_process.use_huge_arenas(True)
del plain, made
again = objects()
_process.use_huge_arenas(False)
size = mapped("Size")
del huge, late
gc.collect()
assert mapped("Size") < size - 40_000, "memory wasn't given back"
check(again)
print(gained)
"""


def test_objects_lie_in_huge_pages():
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    enabled = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not enabled.exists() or "[never]" in enabled.read_text():
        pytest.skip("no huge pages here")
    assert int(done.stdout) > 20_000
