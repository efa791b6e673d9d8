"""`python -m zerrow`: replaces this Python process by the C++ binary in the package's folder.

Nothing heavy is imported on the way, so that the command answers at once. The binary starts its
workers with this interpreter. The `zerrow` on PATH is src/launcher, which needs no Python for that.
"""

import os
import sys
from pathlib import Path
from typing import NoReturn


def main() -> NoReturn:
    """Exec `zerrow/_bin/zerrow` with this process's arguments."""
    binary = Path(__file__).parent / "_bin" / "zerrow"
    os.environ["ZERROW_PYTHON"] = sys.executable
    try:
        os.execv(binary, ["zerrow", *sys.argv[1:]])
    except FileNotFoundError:
        sys.exit(f"zerrow: {binary} is missing: reinstall the package (in a checkout: make)")


if __name__ == "__main__":
    main()
