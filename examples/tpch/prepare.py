"""Writes the TPC-H tables as Parquet into data/ beside this file, with tpchgen-cli.

The tables are made in a folder of their own that takes the place of data/ once it is complete. A
data/ that has the wanted scale factor already is left alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

DATA = Path(__file__).resolve().parent / "data"
TABLES = ("lineitem", "orders", "customer", "part", "partsupp", "supplier", "nation", "region")
STAMP = "scale_factor"


def generator() -> str:
    """The command tpchgen-cli, which pip puts beside the Python that it installs for."""
    beside = Path(sys.executable).parent / "tpchgen-cli"
    found = str(beside) if beside.exists() else shutil.which("tpchgen-cli")
    if found is None:
        sys.exit("prepare.py: tpchgen-cli is missing: pip install tpchgen-cli")
    return found


def is_prepared(data: Path, scale_factor: float) -> bool:
    stamp = data / STAMP
    return stamp.exists() and float(stamp.read_text()) == scale_factor


def prepare(data: Path, scale_factor: float) -> bool:
    """Makes the tables unless they are there at this scale; returns whether it did."""
    if is_prepared(data, scale_factor):
        return False
    unfinished = data.with_name(f".{data.name}.{os.getpid()}")
    try:
        subprocess.run(
            [generator(), "parquet", "-s", str(scale_factor), "-o", str(unfinished), "--quiet"],
            check=True,
        )
        (unfinished / STAMP).write_text(f"{scale_factor}\n")
        shutil.rmtree(data, ignore_errors=True)
        os.replace(unfinished, data)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes the TPC-H example's Parquet files.")
    parser.add_argument(
        "--scale-factor", type=float, default=0.1, help="1 is about 1 GB of CSV (default 0.1)"
    )
    parser.add_argument("--data", type=Path, default=DATA, help="folder to write")
    arguments = parser.parse_args()
    made = prepare(arguments.data, arguments.scale_factor)
    megabytes = sum((arguments.data / f"{t}.parquet").stat().st_size for t in TABLES) / 1e6
    verb = "written" if made else "there already"
    print(f"tpch: scale factor {arguments.scale_factor:g} {verb} ({megabytes:.1f} MB)")


if __name__ == "__main__":
    main()
