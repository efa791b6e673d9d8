"""Puts the project folder on the import path, as `zerrow` does for the functions it runs."""

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
for folder in (PROJECT / "models", PROJECT):
    sys.path.insert(0, str(folder))
