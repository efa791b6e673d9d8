"""`zerrow env ls` and `zerrow env clear`: PYTHON -m zerrow._environments.command ls FOLDER text."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from zerrow._environments.store import Environment, Store

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def main() -> int:
    """Entry point; returns the exit code."""
    what, folder, form = sys.argv[1:]
    if not folder:
        print("there is no folder for environments: set HOME or XDG_CACHE_HOME", file=sys.stderr)
        return 1
    store = Store(Path(folder))
    try:
        document, text = _clear(store) if what == "clear" else _list(store)
    except OSError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    print(json.dumps(document, indent=2) if form == "json" else text)
    return 0


def _list(store: Store) -> tuple[dict[str, Any], str]:
    entries = [_entry(environment) for environment in store.environments()]
    document = {
        "folder": str(store.folder),
        "environments": entries,
        "bytes": sum(entry["bytes"] for entry in entries),
    }
    if not entries:
        return document, "there are no environments"
    rows = [("id", "size", "used", "python", "packages")]
    for entry in entries:
        used, packages = entry["used"][:16].replace("T", " "), ", ".join(entry["packages"])
        rows.append((entry["id"], _size(entry["bytes"]), used, entry["python"], packages))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return document, "\n".join([*lines, f"{_size(document['bytes'])} in {store.folder}"])


def _entry(environment: Environment) -> dict[str, Any]:
    used = datetime.fromtimestamp(environment.used(), UTC).isoformat(timespec="seconds")
    return {
        "id": environment.folder.name,
        **environment.about,
        "used": used,
        "bytes": environment.size(),
    }


def _clear(store: Store) -> tuple[dict[str, Any], str]:
    sizes = {environment.folder: environment.size() for environment in store.environments()}
    removed, kept = store.clear()
    freed = sum(sizes.get(environment.folder, 0) for environment in removed)
    names = [environment.folder.name for environment in kept]
    document = {"removed": len(removed), "freed_bytes": freed, "in_use": names}
    text = f"removed {len(removed)} environments ({_size(freed)})"
    if names:
        text += f"; {', '.join(names)}: kept, as a run is using it"
    return document, text


def _size(count: float) -> str:
    for unit in _UNITS:
        if count < 1024 or unit == _UNITS[-1]:
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


if __name__ == "__main__":
    sys.exit(main())
