"""What finding unchanged bytes by content saves in functions that people write, and what it costs.

One run of all of them where it is looked for (`found`) and one with --no-content-reshare
(`stored`), in turns. The two that change all have nothing to find: their CPU says what looking
costs.
"""

from __future__ import annotations

import lib
import workloads

PROJECT = """\
name: content_reshare
parameters:
  size: {type: int, required: true}
  chunk_rows: {type: int, default: 0}
"""

MODELS = f"""\
import sys
sys.path.insert(0, {str(lib.ROOT / "bench")!r})
import duckdb, numpy as np, pandas as pd, polars as pl, pyarrow as pa, zerrow
import workloads


@zerrow.model()
def table(size: int = zerrow.Parameter("size"), rows: int = zerrow.Parameter("chunk_rows")):
    table = workloads.mixed(size)
    return pa.Table.from_batches(table.to_batches(rows)) if rows else table


@zerrow.model()
def pandas_assign(table: pd.DataFrame = zerrow.Model("table")):
    return table.assign(double=table["value"] * 2)


@zerrow.model()
def pandas_numpy(table: pa.Table = zerrow.Model("table")):
    frame = table.select(["id", "value"]).to_pandas()
    frame["double"] = frame["value"] * 2
    return frame.rename(columns={{"id": "key"}})


@zerrow.model()
def pandas_merge(table: pa.Table = zerrow.Model("table")):
    values = pd.DataFrame({{"value": np.arange(1000), "label": np.arange(1000) * 2.5}})
    return table.select(["id", "value"]).to_pandas().merge(values, on="value", how="left")


@zerrow.model()
def pandas_fillna(table: pa.Table = zerrow.Model("table")):
    return table.select(["id", "value"]).to_pandas().fillna(0)


@zerrow.model()
def polars_with_columns(table: pl.DataFrame = zerrow.Model("table")):
    return table.with_columns(double=pl.col("value") * 2)


@zerrow.model()
def polars_fill_null(table: pl.DataFrame = zerrow.Model("table")):
    return table.select(pl.col("id", "value").fill_null(0)).rechunk()


@zerrow.model()
def polars_join(table: pl.DataFrame = zerrow.Model("table")):
    labels = pl.DataFrame({{"value": np.arange(1000), "label": np.arange(1000) * 2.5}})
    return table.select("id", "value").join(labels, on="value", maintain_order="left")


@zerrow.model()
def duckdb_star(table: duckdb.DuckDBPyRelation = zerrow.Model("table")):
    return table.project("*, value * 2 AS double")


@zerrow.model()
def numpy_copy(table: pa.Table = zerrow.Model("table")):
    numbers = {{name: table[name].to_numpy().copy() for name in ("id", "value")}}
    return pa.table(numbers)


@zerrow.model()
def numpy_changes_all(table: pa.Table = zerrow.Model("table")):
    return pa.table({{name: table[name].to_numpy() + 1 for name in ("id", "value")}})


@zerrow.model()
def pandas_changes_all(table: pa.Table = zerrow.Model("table")):
    return table.select(["id", "value"]).to_pandas() * 3 + 1
"""
SQL = '-- zerrow: name=duckdb_sql engine=duckdb\nSELECT id, city, value + 1 AS next FROM "table"\n'
FIGURES = ("bytes", "new_bytes", "content_reshared_bytes", "cpu_s")


def main() -> None:
    parser = lib.arguments(__doc__.splitlines()[0], repeats=5)
    parser.add_argument("--size", type=int, default=workloads.GIB // 4, help="bytes of the table")
    parser.add_argument("--chunk-rows", type=int, default=0, help="of the table; 0: one chunk")
    options = parser.parse_args()
    files = {
        "zerrow_project.yml": PROJECT,
        "models/models.py": MODELS,
        "models/duckdb_sql.sql": SQL,
    }
    arms: dict[tuple[str, str], lib.Arm] = {}
    sides = {"found": [], "stored": ["--no-content-reshare"]}
    with lib.project(files) as project:
        for turn in range(options.warmup + options.repeats):
            for side in sorted(sides, reverse=turn % 2 == 1):
                report = lib.run_zerrow(
                    project,
                    *("--backend", "memfd", "--engine", "own", "--jobs", "1"),
                    *("--param", f"size={options.size}"),
                    *("--param", f"chunk_rows={options.chunk_rows}"),
                    *sides[side],
                )
                for model in report["models"]:
                    name = model["name"]
                    arm = arms.setdefault((name, side), lib.Arm(f"{name}, {side}", dict))
                    if turn >= options.warmup:
                        arm.samples.append({key: model[key] for key in FIGURES})
    ordered = [arms[key] for key in sorted(arms) if key[0] != "table"]
    note = f"a table of {options.size:,} bytes, chunks of {options.chunk_rows or 'all'} rows"
    lib.report("resharing by content", note, ordered, options)


if __name__ == "__main__":
    main()
