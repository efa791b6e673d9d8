"""A project's files: found, read, checked and described to the engine."""
