"""Prints docs/cli.md: the help of the installed `zerrow` command and of each of its commands."""

import re
import subprocess
import sys
from pathlib import Path

HEAD = """# The zerrow command

Made from the command's own help by `make docs`; change src/cli/arguments.cc instead.
"""


def command() -> list[str]:
    """The installed command, or in a checkout without it the module that the command runs."""
    installed = Path(sys.executable).parent / "zerrow"
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "zerrow._entry"]


def help_text(*words: str) -> str:
    """What `zerrow WORDS --help` prints."""
    return subprocess.run(
        [*command(), *words, "--help"], capture_output=True, text=True, check=True
    ).stdout.rstrip()


def commands(help_page: str) -> list[str]:
    """The names of the commands that a help page lists."""
    _, _, listed = help_page.partition("Commands:")
    return re.findall(r"^  ([a-z]+) ", listed.split("\n\n")[0], re.M)


def section(*words: str) -> str:
    """A command's help, and that of the commands below it."""
    page = help_text(*words)
    heading = f"\n## zerrow {' '.join(words)}\n" if words else HEAD
    below = "".join(section(*words, name) for name in commands(page))
    return f"{heading}\n```text\n{page}\n```\n{below}"


def document() -> str:
    """The whole page."""
    return section()


if __name__ == "__main__":
    print(document(), end="")
