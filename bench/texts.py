"""CPU and new bytes of `zerrow.compute` against pyarrow: texts plain, as views and as dictionaries.

2 million rows in one chunk, one thread, in one process. New bytes are those of the result's buffers
that aren't the input's: what a run would store of it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import lib
import pyarrow as pa
import pyarrow.compute as pc

sys.path.insert(0, str(lib.ROOT / "python"))
import zerrow.compute as zc

WORDS = ("amber", "birch", "cedar", "dusty", "ember", "fjord", "grove", "heath")


def texts(rows: int, distinct: int) -> pa.DictionaryArray:
    """Rows of some distinct ASCII texts of 20 to 40 letters, in an order without pattern."""
    values = [
        f"{WORDS[i % 8]} {WORDS[i // 8 % 8]} {i:09d} {'x' * (i % 20)}" for i in range(distinct)
    ]
    indices = pa.array(((i * 2654435761) % 2**32 % distinct for i in range(rows)), pa.int32())
    return pa.DictionaryArray.from_arrays(indices, pa.array(values))


def buffers(values: pa.Array | pa.ChunkedArray | pa.Table) -> dict[int, int]:
    """Address and size of each buffer, dictionaries' too."""
    if isinstance(values, pa.Table):
        return {key: size for column in values.columns for key, size in buffers(column).items()}
    if isinstance(values, pa.ChunkedArray):
        return {key: size for chunk in values.chunks for key, size in buffers(chunk).items()}
    found = {buffer.address: buffer.size for buffer in values.buffers() if buffer is not None}
    if pa.types.is_dictionary(values.type):
        found |= buffers(values.dictionary)
    return found


def arm(name: str, function: Callable[[Any], Any], values: pa.Array | pa.Table) -> lib.Arm:
    given = buffers(values)

    def run() -> lib.Figures:
        begin = time.process_time()
        result = function(values)
        cpu = time.process_time() - begin
        new = sum(size for address, size in buffers(result).items() if address not in given)
        return {"cpu_s": cpu, "new_bytes": new}

    return lib.Arm(name, run)


def arms(rows: int, distinct: int) -> list[lib.Arm]:
    encoded = texts(rows, distinct)
    plain = encoded.cast(pa.string())
    forms = {"plain": plain, "view": plain.cast(pa.string_view()), "dictionary": encoded}
    functions: dict[str, tuple[Callable, Callable]] = {
        "upper": (zc.upper, pc.utf8_upper),
        "trim": (zc.trim, pc.utf8_trim_whitespace),
        "replace": (
            lambda x: zc.replace(x, "amber", "Amber"),
            lambda x: pc.replace_substring(x, "amber", "Amber"),
        ),
    }
    found = []
    for name, (ours, arrows) in functions.items():
        for form, values in forms.items():
            found.append(arm(f"{name}, {form}: zc", ours, values))
        found.append(arm(f"{name}, plain: pc", arrows, plain))
        # pyarrow has no functions of dictionaries: decoded, and encoded again for the same type.
        found.append(
            arm(
                f"{name}, dictionary: pc",
                lambda x, arrows=arrows: arrows(x.cast(pa.string())).dictionary_encode(),
                encoded,
            )
        )
    for form, values in forms.items():
        found.append(arm(f"sort, {form}: zc", lambda x: zc.sort(x, "x"), pa.table({"x": values})))
    # Nor can it sort a table by dictionaries or views.
    found.append(arm("sort, plain: pc", lambda x: x.sort_by("x"), pa.table({"x": plain})))
    return found


def main() -> None:
    parser = lib.arguments(__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--distinct", type=int, default=10_000, help="distinct texts")
    options = parser.parse_args()
    pa.set_cpu_count(1)
    compared = arms(options.rows, options.distinct)
    lib.interleave(compared, options.repeats, options.warmup)
    lib.report(
        f"functions of {options.rows:,} texts, {options.distinct:,} distinct",
        "warm, one thread",
        compared,
        options,
    )


if __name__ == "__main__":
    main()
