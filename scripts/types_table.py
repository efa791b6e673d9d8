"""The table of docs/types.md: what each library makes of each Arrow type when it changes nothing.

Prints it as Markdown; with `--write` puts it into the document, between its two marker lines. Each
cell is measured: a column goes into the library's form and comes back as a model's output does. The
type that comes back is shown where it differs, then what became of the bytes: `=` all of them are
the input's, `~` some are, `copy` none is; `-` if the library can't hold the type.
"""

import datetime
import decimal
import sys
import warnings
from pathlib import Path

import pyarrow as pa
from zerrow._worker import convert

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "types.md"
BEGIN, END = "<!-- scripts/types_table.py -->\n", "<!-- end -->\n"
ROWS = 20_000
FORMS = ("pandas", "polars", "duckdb", "datafusion sql")


def columns() -> dict[str, pa.Array]:
    """A column of each type, without and with nulls where that matters to libraries."""
    whole = pa.array(range(ROWS))
    some = pa.array([i if i % 7 else None for i in range(ROWS)])
    texts = pa.array([f"a text that is not short {i}" for i in range(ROWS)])
    day = datetime.datetime(2013, 1, 1)
    times = pa.array([day + datetime.timedelta(seconds=i) for i in range(ROWS)])
    return {
        "int64": whole,
        "int64, nulls": some,
        "uint8": pa.array([i % 256 for i in range(ROWS)], pa.uint8()),
        "float64": whole.cast("float64"),
        "float64, nulls": some.cast("float64"),
        "float16": pa.array([float(i % 100) for i in range(ROWS)]).cast("float16"),
        "bool": pa.array([i % 3 == 0 for i in range(ROWS)]),
        "string": texts,
        "large_string": texts.cast(pa.large_string()),
        "string_view": texts.cast(pa.string_view()),
        "dictionary": pa.array([f"value {i % 50}" for i in range(ROWS)]).dictionary_encode(),
        "binary": texts.cast(pa.binary()),
        "fixed_size_binary": pa.array([b"12345678"] * ROWS, pa.binary(8)),
        "decimal128(15, 2)": pa.array(
            [decimal.Decimal(i) for i in range(ROWS)], pa.decimal128(15, 2)
        ),
        "date32": times.cast(pa.date32()),
        "time64[us]": times.cast(pa.time64("us")),
        "timestamp[us]": times,
        "timestamp[s, UTC]": times.cast(pa.timestamp("s")).cast(pa.timestamp("s", "UTC")),
        "duration[us]": whole.cast(pa.duration("us")),
        "list<int64>": pa.ListArray.from_arrays(pa.array(range(ROWS + 1), pa.int32()), whole),
        "fixed_size_list<int64>[2]": pa.FixedSizeListArray.from_arrays(whole, 2),
        "struct<a, b>": pa.StructArray.from_arrays([whole, texts], ["a", "b"]),
        "map<string, int64>": pa.array(
            [[("k", i)] for i in range(ROWS)], pa.map_("string", "int64")
        ),
        "null": pa.nulls(ROWS),
    }


def through(form: str, table: pa.Table) -> pa.Table:
    """The table through a library that changes nothing."""
    if form == "datafusion sql":
        import datafusion

        context = datafusion.SessionContext()
        context.from_arrow(table, "t")
        return pa.table(context.sql("SELECT * FROM t"))
    return convert.to_table(convert.from_table(table, form), "model")


def ranges(column: pa.ChunkedArray) -> list[tuple[int, int]]:
    """Addresses and sizes of the column's buffers."""
    return [
        (buffer.address, buffer.size)
        for chunk in column.chunks
        for part in ([chunk, chunk.dictionary] if pa.types.is_dictionary(chunk.type) else [chunk])
        for buffer in part.buffers()
        if buffer is not None and buffer.size > 0
    ]


def fate(before: pa.ChunkedArray, after: pa.ChunkedArray) -> str:
    """What became of the bytes."""
    known = ranges(before)
    found = ranges(after)
    total = sum(size for _, size in found)
    kept = sum(
        size
        for address, size in found
        if any(begin <= address and address + size <= begin + length for begin, length in known)
    )
    if total == 0 or kept >= 0.98 * total:
        return "="
    return "~" if kept >= 0.02 * total else "copy"


def cell(form: str, array: pa.Array) -> str:
    """One library, one type."""
    table = pa.table({"c": array})
    try:
        result = through(form, table)
    except Exception:  # whatever a library raises for what it can't do
        return "-"
    changed = "" if result["c"].type == array.type else f"{result['c'].type}, "
    return changed + fate(table["c"], result["c"])


def markdown() -> str:
    """The whole table."""
    lines = [
        "| Arrow type | " + " | ".join(FORMS) + " |",
        "|---|" + "---|" * len(FORMS),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, array in columns().items():
            cells = [cell(form, array) for form in FORMS]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines).replace("<", "&lt;").replace(">", "&gt;") + "\n"


def main() -> None:
    """Prints the table, or writes it into the document."""
    table = markdown()
    if sys.argv[1:] == ["--write"]:
        text = DOCUMENT.read_text()
        before, rest = text.split(BEGIN)
        DOCUMENT.write_text(before + BEGIN + table + END + rest.split(END)[1])
    else:
        print(table, end="")


if __name__ == "__main__":
    main()
