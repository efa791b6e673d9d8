"""What a model adds that hands on what it got: identity, projection, slice, rename, added column.

One run over a table of 1 GB; per model the report's own account of its output's bytes. Target: no
new data bytes for identity, two of four columns, a contiguous half of the rows and a rename.
"""

from __future__ import annotations

import lib
import workloads

PROJECT = """\
name: resharing
parameters:
  size: {type: int, required: true}
"""

MODELS = f"""\
import sys
sys.path.insert(0, {str(lib.ROOT / "bench")!r})
import pyarrow as pa, pyarrow.compute as pc, zerrow
import workloads


@zerrow.model()
def table(size: int = zerrow.Parameter("size")):
    return workloads.mixed(size)


@zerrow.model()
def identity(table: pa.Table = zerrow.Model("table")):
    return table


@zerrow.model()
def two_of_four_columns(table: pa.Table = zerrow.Model("table", columns=["id", "city"])):
    return table


@zerrow.model()
def half_of_the_rows(table: pa.Table = zerrow.Model("table")):
    return table.slice(table.num_rows // 4, table.num_rows // 2)


@zerrow.model()
def renamed(table: pa.Table = zerrow.Model("table")):
    return table.rename_columns(["a", "b", "c", "d"])


@zerrow.model()
def added_column(table: pa.Table = zerrow.Model("table")):
    return table.append_column("twice", pc.multiply(table["value"], 2))
"""

ARMS = (
    "table",
    "identity",
    "two_of_four_columns",
    "half_of_the_rows",
    "renamed",
    "added_column",
)
FIGURES = ("bytes", "new_bytes", "reshared_bytes", "copied_bytes")


def main() -> None:
    parser = lib.arguments(__doc__.splitlines()[0], repeats=1, warmup=0)
    parser.add_argument("--size", type=int, default=workloads.GIB, help="bytes of the table")
    parser.add_argument("--backend", default="memfd")
    options = parser.parse_args()
    arms = [lib.Arm(name, dict) for name in ARMS]
    with lib.project({"zerrow_project.yml": PROJECT, "models.py": MODELS}) as project:
        for _ in range(options.repeats):
            report = lib.run_zerrow(
                project, "--backend", options.backend, "--param", f"size={options.size}"
            )
            models = {model["name"]: model for model in report["models"]}
            for arm in arms:
                model = models[arm.name]
                sample: lib.Figures = {key: model[key] for key in FIGURES}
                arm.samples.append({**sample, "cpu_s": model["cpu_s"]})
    lib.report(
        f"resharing of {options.size:,} bytes",
        f"backend {options.backend}",
        arms,
        options,
    )


if __name__ == "__main__":
    main()
