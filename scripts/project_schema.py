"""Prints the JSON Schema of zerrow_project.yml, for editors: docs/zerrow_project.schema.json."""

import json

import msgspec
from zerrow._project.project_types import Document


def schema() -> str:
    """The document, as it is published."""
    return json.dumps(msgspec.json.schema(Document), indent=2) + "\n"


if __name__ == "__main__":
    print(schema(), end="")
