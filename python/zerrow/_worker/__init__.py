"""What runs inside zygotes, importers and workers."""
