"""In the virtual machine: a table of Arrow's moves into a file as it is, in one call.

Its buffers are ordinary memory of Arrow's default pool. Other processes, and this one after it has
overwritten what it had, read the table through the file: no buffer is copied but for its edges.
"""

import ctypes
import datetime
import fcntl
import mmap
import os
import struct
import sys

import pyarrow as pa

PAGE = 4096
KZ_MOVE_EDGES = 1 << 1
PR_SET_THP_DISABLE = 41

CREATE = struct.Struct("IIiI")
MOVE = struct.Struct("IIiIQQQQQQQ")
RANGE = struct.Struct("QQQQ")


def call(number: int, size: int) -> int:
    """The number of an ioctl, as _IOWR('Z', number, size) makes it."""
    return 3 << 30 | size << 16 | ord("Z") << 8 | number


class Moved:
    """The file that ranges of memory have moved to, and where each of them is."""

    def __init__(self, ranges: list[tuple[int, int]]) -> None:
        device = os.open("/dev/kernelzero", os.O_RDWR)
        create = bytearray(CREATE.pack(CREATE.size, 0, -1, 0))
        fcntl.ioctl(device, call(0x41, CREATE.size), create)
        self.fd: int = CREATE.unpack(create)[2]
        packed = b"".join(RANGE.pack(address, length, 0, 0) for address, length in ranges)
        array = ctypes.create_string_buffer(packed, len(packed))
        move = bytearray(
            MOVE.pack(
                MOVE.size, KZ_MOVE_EDGES, self.fd, len(ranges), ctypes.addressof(array), *[0] * 6
            )
        )
        fcntl.ioctl(device, call(0x42, MOVE.size), move)
        os.close(device)
        self.done, self.size, self.moved, _, self.copied, _ = MOVE.unpack(move)[5:]
        self.offsets = {
            (address, length): offset for address, length, offset, _ in RANGE.iter_unpack(array.raw)
        }

    def map(self) -> pa.Buffer:
        """The whole file."""
        return pa.py_buffer(mmap.mmap(self.fd, self.size, prot=mmap.PROT_READ))


def make_table(rows: int) -> pa.Table:
    """Every kind of layout: with nulls, nested, of variable length, as dictionary, in chunks."""
    numbers = range(rows)
    return pa.table(
        {
            "int64": pa.array(numbers, pa.int64()),
            "double": pa.array((None if i % 7 == 0 else i / 3 for i in numbers), pa.float64()),
            "bool": pa.array(i % 3 == 0 for i in numbers),
            "string": pa.array(f"row {i}" for i in numbers),
            "large_binary": pa.array((b"x" * (i % 50) for i in numbers), pa.large_binary()),
            "list": pa.array(([i] * (i % 4) for i in numbers), pa.list_(pa.int32())),
            "struct": pa.array({"a": i, "b": str(i % 100)} for i in numbers),
            "dictionary": pa.array(f"word {i % 1000}" for i in numbers).dictionary_encode(),
            "time": pa.array(
                (datetime.datetime(2024, 1, 1) + datetime.timedelta(seconds=i) for i in numbers),
                pa.timestamp("us"),
            ),
            "chunks": pa.chunked_array(
                [pa.array(range(0, rows // 3)), pa.array(range(rows // 3, rows))]
            ),
        }
    )


def arrays_of(table: pa.Table) -> list[pa.Array]:
    """Arrays that hold all of the table's buffers, dictionaries among them."""
    arrays = [chunk for column in table.columns for chunk in column.chunks]
    return arrays + [a.dictionary for a in arrays if isinstance(a, pa.DictionaryArray)]


def ranges_of(table: pa.Table) -> list[tuple[int, int]]:
    """Address and length of each buffer that has bytes, once."""
    buffers = (buffer for array in arrays_of(table) for buffer in array.buffers())
    return sorted({(b.address, b.size) for b in buffers if b is not None and b.size})


def read_array(array: pa.Array, moved: Moved, file: pa.Buffer) -> pa.Array:
    """The same array of the file's bytes."""
    buffers = iter(array.buffers())

    def read_buffer() -> pa.Buffer | None:
        buffer = next(buffers)
        if buffer is None or not buffer.size:
            return buffer
        return file.slice(moved.offsets[buffer.address, buffer.size], buffer.size)

    def read(like: pa.Array) -> pa.Array:
        own = [read_buffer() for _ in range(like.type.num_buffers)]
        if pa.types.is_list(like.type):
            children = [read(like.values)]
        else:
            children = [read(like.field(i)) for i in range(like.type.num_fields)]
        return pa.Array.from_buffers(
            like.type, len(like), own, like.null_count, like.offset, children
        )

    if isinstance(array, pa.DictionaryArray):
        indices = read(array.indices)
        return pa.DictionaryArray.from_arrays(indices, read_array(array.dictionary, moved, file))
    return read(array)


def read_table(table: pa.Table, moved: Moved) -> pa.Table:
    """The same table of the file's bytes."""
    file = moved.map()
    columns = [
        pa.chunked_array([read_array(chunk, moved, file) for chunk in column.chunks], column.type)
        for column in table.columns
    ]
    return pa.table(columns, schema=table.schema)


def main() -> None:
    """Ends with the line that kernel/vm/init judges by."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    # What a table this small has of a huge page is copied.
    assert ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0
    table, expected = make_table(rows), make_table(rows)
    ranges = ranges_of(table)
    whole = sum(max(0, (a + n) // PAGE - -(-a // PAGE)) for a, n in ranges)
    touched = sum(-(-(a + n) // PAGE) - a // PAGE for a, n in ranges)

    moved = Moved(ranges)
    print(f"{len(ranges)} buffers, {moved.moved} pages moved, {moved.copied} copied")
    assert moved.done == len(ranges)
    assert moved.moved == whole
    assert moved.copied == touched - whole
    assert table.equals(expected), "the owner's view"
    read = read_table(table, moved)
    read.validate(full=True)
    assert read.equals(expected), "the file"

    child = os.fork()
    if not child:
        os._exit(0 if read_table(table, moved).equals(expected) else 1)
    assert os.waitpid(child, 0)[1] == 0, "the file in another process"

    for address, length in ranges:
        ctypes.memset(address, 0xA5, length)
    assert read.equals(expected), "the file, after its owner has overwritten what it had"
    print("ok table (0 s)")
    print("OK arrow")
    sys.stdout.flush()
    os._exit(0)  # the interpreter's own objects may lie in what was overwritten


if __name__ == "__main__":
    main()
