"""Chains over text columns: with dictionaries, with plain strings, and where outputs are copied.

K chains at once read one source of 8 text columns of 16 to 64 bytes (1,000, 10,000 or 100,000
distinct values, drawn evenly) and 2 integers. A chain keeps half of the rows, sorts them by a text
column, joins a small table (which 9 of 10 rows have a partner in) and keeps the first half. Each
chain has a condition of its own.

native  filter, sort and slice are the project file's operators; the join is a Python function that
        looks up rows with pyarrow and takes them with zerrow.compute
sql     all four are SQL models, in DataFusion

automatic   the file has strings, stored as dictionaries, which is what Zerrow then has of them
dictionary  the file's schema says that its texts are dictionaries
encoded     the file has plain strings, of which the operator `dictionary` makes dictionaries
plain       the file has plain strings

Each arm is one command with an engine of its own: cold, new memory. The source is read once in each
arm, with the cache or without it.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import lib
import tables

SORTED_BY = "s1"
PARTNERS = 900  # of 1,000 values of b
CHUNK = 1_000_000  # values of a

NATIVE = """\
  - name: filtered_{i}
    input: {source}
    operator: filter
    filter: {{condition: "{condition}"}}
  - name: sorted_{i}
    input: filtered_{i}
    operator: sort
    sort: {{by: [{by}]}}
  - name: half_{i}
    input: joined_{i}
    operator: slice
    slice: {{length: {half}}}
"""
SMALL = f"""\
import pyarrow as pa, pyarrow.compute as pc, zerrow, zerrow.compute as zc

@zerrow.model()
def small():
    keys = list(range({PARTNERS}))
    return pa.table({{"key": keys, "label": [f"label {{key:04}}" for key in keys]}})
"""
JOIN = """
@zerrow.model()
def joined_{i}(
    rows: pa.Table = zerrow.Model("sorted_{i}", dictionary="auto"),
    small: pa.Table = zerrow.Model("small"),
):
    partner = pc.index_in(rows["b"], small["key"].combine_chunks())
    rows = rows.append_column("label", small["label"].combine_chunks().take(partner))
    return zc.filter(rows, partner.is_valid())
"""
SQL = {
    "filtered": "SELECT * FROM {source} WHERE {condition}",
    "sorted": "SELECT * FROM filtered_{i} ORDER BY {by}",
    "joined": "SELECT r.*, s.label FROM sorted_{i} r JOIN small s ON r.b = s.key",
    "half": "SELECT * FROM joined_{i} LIMIT {half}",
}
# Of each arm: the form of the texts, the backend and other options.
ARMS = {
    "automatic": ("automatic", "memfd"),
    "dictionary": ("dictionary", "memfd"),
    "encoded": ("encoded", "memfd"),
    "plain": ("plain", "memfd"),
    "copy, automatic": ("automatic", "copy"),
    "copy, plain": ("plain", "copy"),
    "copy, plain, no cache": ("plain", "copy", "--no-cache"),
}


def files(variant: str, form: str, rows: int, chains: int) -> dict[str, str]:
    """A project of so many chains."""
    source = tables.texts(rows, "plain" if form == "encoded" else form)
    project = f"name: chains\nsources: {{source: {source}}}\nmodels:\n"
    if form == "encoded":
        columns = [f"s{i}" for i in range(8)]
        project += "  - name: encoded\n    input: source\n    operator: dictionary\n"
        project += f"    dictionary: {{columns: {columns}}}\n"
    models, made = SMALL, {}
    for i in range(chains):
        first = i * CHUNK // (2 * chains)
        values = {
            "i": i,
            "source": "encoded" if form == "encoded" else "source",
            "condition": f"a >= {first} AND a < {first + CHUNK // 2}",
            "by": SORTED_BY,
            "half": rows // 2 * PARTNERS // 1000 // 2,
        }
        if variant == "native":
            project += NATIVE.format(**values)
            models += JOIN.format(**values)
        else:
            for step, text in SQL.items():
                made[f"{step}_{i}.sql"] = text.format(**values) + "\n"
    if project.endswith("models:\n"):
        project = project.removesuffix("models:\n")
    return {"zerrow_project.yml": project, "models.py": models, **made}


def figures(project: Path, backend: str, *options: str) -> lib.Figures:
    """What is stored: once (new and copied bytes of all models), and how much is referred to."""
    report = lib.run_zerrow(project, "--engine", "own", "--backend", backend, *options)
    models = report["models"]
    steps: lib.Figures = {}
    for model in models:
        step = model["name"].rpartition("_")[0] or model["name"]
        if step != "small":
            steps[f"{step}_cpu_s"] = (steps.get(f"{step}_cpu_s") or 0) + model["cpu_s"]
    return {
        **{name: report["figures"][name] for name in ("wall_s", "cpu_s", "peak_bytes")},
        "new_bytes": sum(model["new_bytes"] for model in models),
        "copied_bytes": sum(model["copied_bytes"] for model in models),
        "referenced_bytes": sum(model["reshared_bytes"] for model in models),
        "rows": sum(model["rows"] for model in models),
        **steps,
    }


def measure(variant: str, chains: int, options: argparse.Namespace) -> list[lib.Arm]:
    arms = []
    for name in options.arms or ARMS:
        form, *how = ARMS[name]
        texts = files(variant, form, options.rows, chains)

        def run(texts: dict[str, str] = texts, how: list[str] = how) -> lib.Figures:
            with lib.project(texts) as project:
                return figures(project, *how)

        arms.append(lib.Arm(name, run))
    lib.interleave(arms, options.repeats, options.warmup)
    return arms


def ratios(arms: list[lib.Arm]) -> list[list[str]]:
    """How many times the time and memory of dictionaries others take."""
    best = arms[0]
    rows = []
    for arm in arms[1:]:
        row = [f"{arm.name} / {best.name}"]
        for key in ("wall_s", "cpu_s", "peak_bytes"):
            theirs, ours = arm.median(key), best.median(key)
            row.append(f"{theirs / ours:.2f}" if theirs and ours else "-")
        rows.append(row)
    return rows


def main() -> None:
    parser = lib.arguments(__doc__.splitlines()[0], repeats=3, warmup=0)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--chains", type=int, action="append", help="K; default 1, 4 and 16")
    parser.add_argument("--variant", choices=("native", "sql"), action="append")
    parser.add_argument("--arms", choices=ARMS, action="append")
    options = parser.parse_args()
    file, options.json = options.json, None
    parts = {}
    for variant, chains in itertools.product(
        options.variant or ("native", "sql"), options.chains or (1, 4, 16)
    ):
        arms = measure(variant, chains, options)
        title = f"{chains} chains over {options.rows:,} rows of text, {variant}"
        lib.report(title, "cold, files in the page cache", arms, options)
        print(lib.text_table(["times as much", "wall", "cpu", "peak"], ratios(arms)), flush=True)
        parts[title] = {arm.name: arm.samples for arm in arms}
    if file:
        Path(file).write_text(json.dumps({"machine": lib.machine(), "parts": parts}, indent=1))


if __name__ == "__main__":
    main()
