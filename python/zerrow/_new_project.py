"""`zerrow init DIR`: a project that runs as it is, to be changed into one's own.

Its files are those of `_template`; its source is made here, large enough that it shows how little
of it is copied on the way through the models.
"""

import re
import sys
from pathlib import Path

_TEMPLATE = Path(__file__).parent / "_template"
_PROJECT_FILE = "zerrow_project.yml"
_DATA = "data/trips.parquet"
_TRIPS = 3_000_000
_ZONES = ["Airport", "Castle", "Docks", "Harbour", "Market", "Museum", "Park", "Station"]
_MICROSECONDS = 1_000_000
_NEW_YEAR = 1_735_689_600 * _MICROSECONDS  # 2025 in UTC
_MINUTES_OF_A_YEAR = 365 * 24 * 60

_FAILED = 1
_USAGE = 2


def main() -> int:
    """Entry point of `python -m zerrow._new_project DIR`; returns the exit code."""
    folder = sys.argv[1]
    files = [path for path in _TEMPLATE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    names = sorted(str(path.relative_to(_TEMPLATE)) for path in files)
    for name in [*names, _DATA]:
        path = Path(folder, name)
        if path.exists() or path.is_symlink():
            print(f"error: {path} is already there: choose another folder", file=sys.stderr)
            return _USAGE
    try:
        for name in names:
            _write(Path(folder, name), (_TEMPLATE / name).read_text(), Path(folder))
        _write_trips(Path(folder, _DATA))
    except OSError as problem:
        print(f"error: {folder} can't be written: {problem}", file=sys.stderr)
        return _FAILED
    print(_what_next(folder))
    return 0


def _write(path: Path, text: str, folder: Path) -> None:
    if path.name == _PROJECT_FILE:
        project = re.sub(r"[^A-Za-z0-9_-]", "_", folder.resolve().name) or "demo"
        text = text.replace("NAME", project, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Fails where a file came meanwhile.
    with path.open("x", encoding="utf-8") as file:
        file.write(text)


def _write_trips(path: Path) -> None:
    """A year of a city's taxis, the same each time."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    dice = np.random.default_rng(2025)
    minute = np.sort(dice.integers(0, _MINUTES_OF_A_YEAR, _TRIPS))
    zone = dice.integers(0, len(_ZONES), _TRIPS, dtype=np.int8)
    far = np.linspace(3.0, 1.0, len(_ZONES))[zone]  # from the airport more than from the station
    km = np.round(dice.gamma(2.0, far) + 0.5, 1)
    minutes = np.round(km * dice.integers(2, 6, _TRIPS))
    fare = np.round(3 + 1.5 * km + 0.25 * minutes, 1)
    tip = np.round(np.where(dice.random(_TRIPS) < 0.4, 0, 0.1 * fare), 1)
    trips = pa.table(
        {
            "started": pa.array(_NEW_YEAR + minute * 60 * _MICROSECONDS, pa.timestamp("us")),
            "zone": pa.DictionaryArray.from_arrays(zone, _ZONES),
            "passengers": dice.integers(1, 5, _TRIPS),
            "km": km,
            "minutes": minutes,
            "fare": fare,
            "tip": tip,
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    # As a file that others wrote: its texts are texts.
    schema = trips.schema.set(1, pa.field("zone", pa.string()))
    pq.write_table(trips.cast(schema), path, compression="zstd", row_group_size=_TRIPS // 6)


def _what_next(folder: str) -> str:
    return f"""wrote {folder}: a source of {_TRIPS:,} trips, four models, an expectation and a test

Next:
  cd {folder}
  zerrow run              runs the models, each in a process of its own
  zerrow run -v           the same, with what was stored and what was shared
  zerrow show zones       rows of a model
  zerrow explain          what each model reads
  pytest                  the models as plain functions

Then name your own Parquet files in zerrow_project.yml, and write models/ of your own."""


if __name__ == "__main__":
    sys.exit(main())
