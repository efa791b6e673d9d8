"""Seeds for the fuzz targets, one folder each: what is sound, and each way of lying, small.

Usage: fuzz_corpus.py FOLDER
"""

import json
import struct
import sys
from pathlib import Path
from typing import Any

Seeds = dict[str, bytes]

# JSON that parsers stumble over.
TEXTS: Seeds = {
    "empty": b"",
    "deep_arrays": b"[" * 70 + b"]" * 70,
    "deep_objects": b'{"a":' * 70 + b"0" + b"}" * 70,
    "open": b"[[[[",
    "same_key_twice": b'{"a":1,"a":2}',
    "not_utf8": b'"\xff\xfe"',
    "lone_surrogate": rb'"\ud800"',
    "numbers": b"[1e308,-1e308,18446744073709551615,-9223372036854775808,0.1]",
    "too_large_a_number": b"1e999",
    "not_a_number": b"NaN",
    "zero_byte": rb'"a\u0000b"',
    "many": b"[" + b"[]," * 1100 + b"[]]",
}

FAILED = {
    "op": "failed",
    "error": {"message": "m", "file": "f.py", "line": 7, "traceback": "t"},
}
OUTPUT = {
    "op": "output",
    "format": "sipc",
    "rows": 1,
    "bytes": 8,
    "copied_bytes": 8,
    "content_reshared_bytes": 0,
    "duplicate_bytes": None,
    "timings": {"open_s": 0.1, "run_s": 0.2, "encode_s": 0.3, "cpu_s": 0.4},
}
ANSWERS: list[dict[str, Any]] = [
    OUTPUT,
    {**OUTPUT, "format": "arrow_file"},
    {**OUTPUT, "rows": -1},
    {**OUTPUT, "rows": "1"},
    {**OUTPUT, "bytes": 2**64 - 1},
    {**OUTPUT, "timings": []},
    {"op": "result", "value": True},
    {"op": "result", "value": {"columns": [["x", "int64"]], "rows": [["1"]], "total_rows": 1}},
    {"op": "importing", "file": "a.py"},
    {"op": 3},
    FAILED,
    {"op": "failed", "error": {"message": 1, "line": -5}},
]

MODEL: dict[str, Any] = {
    "name": "a",
    "kind": "python",
    "file": "models/a.py",
    "line": 3,
    "function": "a",
    "module": "models/a.py",
    "sql": None,
    "engine": None,
    "operator": None,
    "inputs": [
        {
            "parameter": "t",
            "model": "t",
            "columns": ["x"],
            "filter": "x > 1",
            "filter_columns": ["x"],
            "dictionary": "never",
            "line": 4,
        },
    ],
    "parameters": [{"argument": "n", "name": "n"}],
    "columns": [{"name": "x", "type": "int64", "nullable": None, "lineage": ["t.x"]}],
    "contract": None,
    "timeout_s": 1.5,
    "memory_bytes": 2**30,
    "deterministic": True,
    "environment": None,
    "code": "f00d",
    "imports": ["numpy"],
    "tags": ["daily"],
}
SOURCE = {
    "table": "t",
    "files": [{"path": "/t.parquet", "partition": None}],
    "columns": [{"name": "x", "type": "int64", "bytes": 80}],
    "file": "zerrow_project.yml",
    "line": 3,
}
DESCRIPTION: dict[str, Any] = {
    "name": "p",
    "parameters": [{"name": "n", "type": "int", "value": 1, "file": "m.py", "line": 1}],
    "sources": [SOURCE],
    "models": [
        MODEL,
        {**MODEL, "name": "b", "kind": "expectation", "inputs": []},
        {**MODEL, "name": "e", "environment": {"python": "3.11", "packages": ["a==1"]}},
        {**MODEL, "name": "c", "kind": "sql", "sql": "SELECT 1", "engine": "duckdb"},
        {**MODEL, "name": "d", "kind": "native", "operator": {"op": "filter", "of": [[["x"]]]}},
    ],
    "errors": [],
    "import_again": "",
    "broken": ["lost"],
}
ERROR = {"file": "a.py", "line": 1, "model": "a", "message": "m", "traceback": ""}
CIRCLE = [
    {**MODEL, "name": name, "inputs": [{**MODEL["inputs"][0], "model": other}]}
    for name, other in (("a", "b"), ("b", "a"))
]
DESCRIPTIONS: list[dict[str, Any]] = [
    DESCRIPTION,
    {**DESCRIPTION, "errors": [ERROR]},
    {**DESCRIPTION, "models": CIRCLE},
    {**DESCRIPTION, "models": [{**MODEL, "timeout_s": -1}]},
    {**DESCRIPTION, "models": [{**MODEL, "line": 2**40}]},
    {**DESCRIPTION, "sources": [{**SOURCE, "files": ["relative"]}]},
    {**DESCRIPTION, "unknown": 1},
]

WANTED: dict[str, Any] = {
    "op": "run",
    "options": {
        "project_dir": "/p\u00ff",
        "parameters": [["n", "1"]],
        "select": ["a"],
        "jobs": 2,
        "backend": "auto",
        "strict": False,
        "account": True,
        "content_reshare": True,
        "preview_rows": 1,
        "preview": [],
        "keep": ["*"],
        "output_dir": "/out",
    },
    "plan_only": False,
    "python": "/bin/python",
    "python_path": ["/a"],
    "environment": [["PATH", "/bin"]],
}
REPORT: dict[str, Any] = {
    "name": "a",
    "kind": "python",
    "status": "failed",
    "rows": 1,
    "new_bytes": 1,
    "reshared_bytes": 2,
    "content_reshared_bytes": 1,
    "copied_bytes": 3,
    "duplicate_bytes": None,
    "wall_s": 0.1,
    "cpu_s": 0.2,
    "peak_memory_bytes": 4,
    "error": ERROR,
}
PROTOCOL: list[dict[str, Any]] = [
    {"op": "hello", "version": "1", "protocol": 1},
    {"op": "cancel"},
    {"op": "status"},
    {"op": "stop"},
    WANTED,
    {**WANTED, "environment": [["PATH"]]},
    {**WANTED, "python": "\u0100"},
    {"op": "welcome", "version": "1", "protocol": 1, "pid": 2, "refusal": ""},
    {"op": "accepted"},
    {"op": "planned", "models": [["a", "python"]]},
    {"op": "line", "model": "a", "stream": 1, "line": "\u00e9"},
    {"op": "finished", "report": REPORT},
    {"op": "preview", "preview": {"model": "a", "columns": [], "rows": [], "total_rows": 0}},
    {"op": "table", "model": "a", "table": {"format": "sipc", "rows": 1, "segments": [[1, 2]]}},
    {"op": "done", "report": {"run_id": "r", "status": "success", "models": []}},
    {"op": "failed", "code": 4, "message": "m"},
]

MAGIC = b"ZCHN"
BODY = b'{"op":"x"}'


def _packet(count: int = 0, size: int = len(BODY), spilled: int = 0, body: bytes = BODY) -> bytes:
    return MAGIC + struct.pack("<IQII", count, size, spilled, 0) + body


def _channel() -> Seeds:
    seeds = {f"text_{name}": b"\x40" + text for name, text in TEXTS.items()}
    seeds |= {f"spilled_{choice}": bytes([choice]) + BODY for choice in range(0x48, 0x80)}
    seeds |= {
        "sound": b"\0" + _packet(),
        "two_descriptors": b"\2" + _packet(2),
        "announces_more": b"\1" + _packet(4),
        "announces_fewer": b"\4" + _packet(1),
        "announces_thousands": b"\1" + _packet(16_384),
        "longer_body": b"\0" + _packet(size=2**63),
        "shorter_body": b"\0" + _packet(size=1),
        "half_a_header": b"\0" + _packet()[:12],
        "no_body_file": b"\0" + _packet(spilled=1),
        "two_bodies": b"\x18" + _packet(spilled=1),
    }
    return seeds


def _sipc() -> Seeds:
    """Headers alone: the target makes messages of random tables itself."""
    record_bytes = [1, 16, 16, 4, 8, 4, 24, 4, 4, 24, 16, 1]

    def message(section: int, count: int, there: int) -> bytes:
        end, sections = 320, b""
        for i, size in enumerate(record_bytes):
            end = (end + 63) // 64 * 64
            records = count if i == section else 0
            sections += struct.pack("<QQ", end, records)
            end += records * size
        header = struct.pack("<8sIIQQ", b"ZRWSIPC", 1, 320, min(end, there), 0) + sections
        return header + bytes(min(end, there) - len(header))

    seeds = {f"few_{i}": message(i, 3, 4096) for i in range(12)}
    return seeds | {f"lies_{i}": message(i, 2**36, 4096) for i in range(12)}


def _texts(documents: list[dict[str, Any]]) -> Seeds:
    return {str(i): json.dumps(document).encode() for i, document in enumerate(documents)} | TEXTS


def main(folder: Path) -> None:
    """Writes the seeds of every target."""
    answers = {
        f"{name}_{how}": bytes([how]) + text
        for name, text in _texts(ANSWERS).items()
        for how in (0, 2, 3, 4, 8)
    }
    targets = {
        "answer_fuzz": answers,
        "channel_fuzz": _channel(),
        "description_fuzz": _texts(DESCRIPTIONS),
        "protocol_fuzz": _texts(PROTOCOL),
        "sipc_fuzz": _sipc(),
    }
    for target, seeds in targets.items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for name, content in seeds.items():
            (folder / target / f"seed_{name}").write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
