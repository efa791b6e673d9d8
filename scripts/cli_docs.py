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


def document() -> str:
    """The whole page."""
    main = help_text()
    commands = re.findall(r"^  ([a-z]+) ", main.split("Commands:")[1].split("\n\n")[0], re.M)
    page = f"{HEAD}\n```text\n{main}\n```\n"
    for name in commands:
        page += f"\n## zerrow {name}\n\n```text\n{help_text(name)}\n```\n"
    return page


if __name__ == "__main__":
    print(document(), end="")
