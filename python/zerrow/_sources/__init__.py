"""Parquet files as sources: footers, schemas, which row groups and columns must be decoded."""
