"""Python environments of models that have packages of their own: made by uv, kept, removed."""
