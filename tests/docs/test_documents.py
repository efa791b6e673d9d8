"""The documents hold: the commands that they show are run, with the files that they show.

A fenced block with `file=NAME` in its first line is written to that file (`append` adds to it). A
`console` block's lines with `$ ` are run; the lines below one must come in this order in what it
prints, where `...` stands for anything; `console fails` expects a failure.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document):
    """(language, words after it, text, line) of each fenced block."""
    text = (ROOT / document).read_text()
    for match in FENCE.finditer(text):
        line = text[: match.start()].count("\n") + 1
        yield match[1], match[2].split(), match[3], line


def write(folder, words, text):
    name = next(word for word in words if word.startswith("file=")).removeprefix("file=")
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a" if "append" in words else "w", encoding="utf-8") as file:
        file.write(text)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The Python of this test first on the path, as after activating its environment."""
    folder = Path(sys.executable).parent
    path = f"{folder}:{os.environ['PATH']}"
    if not (folder / "zerrow").exists():  # a checkout that isn't installed
        command = tmp_path_factory.mktemp("bin") / "zerrow"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m zerrow._entry "$@"\n')
        command.chmod(0o755)
        path = f"{command.parent}:{path}"
    return {**os.environ, "PATH": path, "COLUMNS": "100"}


def steps(text):
    """The commands of a console block, each with the lines that it should print."""
    found = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def run(command, expected, *, folder, env, fails=False):
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode != 0) == fails, f"$ {command}\n{done.stdout}"
    pattern = ".*".join(re.escape(line).replace(re.escape("..."), ".*") for line in expected)
    assert re.search(pattern, done.stdout, re.DOTALL), (
        f"$ {command}\nprinted\n{done.stdout}\ninstead of\n" + "\n".join(expected)
    )


@pytest.mark.parametrize(
    "document", ["README.md", "docs/tutorial.md", "docs/engine.md", "docs/simulate.md"]
)
def test_the_commands_of_a_document_work(document, environment, tmp_path):
    ran = 0
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    environment = {**environment, "XDG_RUNTIME_DIR": str(runtime), "ZERROW_ENGINE": "auto"}
    for language, words, text, line in blocks(document):
        if any(word.startswith("file=") for word in words):
            write(tmp_path, words, text)
        elif language == "console":
            for command, expected in steps(text):
                try:
                    run(
                        command,
                        expected,
                        folder=tmp_path,
                        env=environment,
                        fails="fails" in words,
                    )
                except AssertionError as problem:
                    pytest.fail(f"{document}:{line}: {problem}")
                ran += 1
    assert ran > 0


def test_the_readmes_pipeline_runs(environment, tmp_path):
    """README's Python and SQL snippets are one project; here it gets the demo's data."""
    example = ROOT / "examples" / "flights"
    subprocess.run([sys.executable, example / "prepare.py"], check=True, capture_output=True)
    (tmp_path / "zerrow_project.yml").write_text(
        f"name: readme\nparameters: {{late_after: {{type: int, default: 15}}}}\n"
        f"sources: {{flights: {example}/data/flights}}\n"
    )
    names = {"python": "models.py", "sql": "worst_hours.sql"}
    for language, _, text, _ in blocks("README.md"):
        if language in names:
            (tmp_path / names[language]).write_text(text)
    for command in ("zerrow show worst_hours", "zerrow show league"):
        run(command, [], folder=tmp_path, env=environment)


def test_what_a_document_shows_is_compared(environment, tmp_path):
    ((command, expected), (_, nothing)) = steps("$ echo one; echo two\none\n...w...\n$ true\n")
    assert (expected, nothing) == (["one", "...w..."], [])
    run(command, expected, folder=tmp_path, env=environment)
    for wrong in (["two", "one"], ["one", "three"], ["on.", "two"]):
        with pytest.raises(AssertionError, match="instead of"):
            run(command, wrong, folder=tmp_path, env=environment)
