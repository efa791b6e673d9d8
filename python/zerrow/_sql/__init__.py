"""SQL as Zerrow itself reads it: conditions, values, what a query reads. Knows no files."""
