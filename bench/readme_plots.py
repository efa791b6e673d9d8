"""The two plots of the README: how long a handover takes by size, and what a wide DAG costs.

Without options docs/plots.svg is drawn from docs/plots.json, whose bars are those of
docs/benchmarks.md. `--measure` measures the handovers anew, which wants an idle machine: from a
producer's return to its consumer's function having the table, by zerrow, and by an Arrow IPC file
in /dev/shm that is mapped or read; warm, medians. The bars are of bench/resident.py's part `wide`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import lib
import pyarrow as pa
import rounds

DOCS = Path(__file__).resolve().parent.parent / "docs"
FIGURES = DOCS / "plots.json"
PLOT = DOCS / "plots.svg"

SIZES = [2**20, 2**24, 2**27, 2**30, 2**32]
ROUNDS = 3
STYLES = {
    "Zerrow": {"color": "#0b7a75", "marker": "o"},
    "Arrow IPC, mapped": {"color": "#d9822b", "marker": "s"},
    "Arrow IPC, read": {"color": "#8a8a8a", "marker": "^"},
}


def measure(repeats: int) -> dict[str, dict[str, float]]:
    """Seconds of each arm, by bytes."""
    pa.array([0]).to_numpy()  # everything imported before the first fork
    found: dict[str, dict[str, float]] = {name: {} for name in STYLES}
    for size in SIZES:
        runs = {
            "Zerrow": lambda size=size: rounds.zerrow_rounds("memfd", size, ROUNDS),
            "Arrow IPC, mapped": lambda size=size: rounds.plain_rounds(
                rounds.write_ipc, rounds.map_ipc, size, ROUNDS
            ),
            "Arrow IPC, read": lambda size=size: rounds.plain_rounds(
                rounds.write_ipc, rounds.load_ipc, size, ROUNDS
            ),
        }
        arms = [lib.Arm(name, lambda run=run: run()[-1]) for name, run in runs.items()]
        lib.interleave(arms, repeats, warmup=0)
        for arm in arms:
            seconds = arm.median("handover_s")
            found[arm.name][str(size)] = seconds
            print(f"{size:>13,} bytes  {arm.name:18} {seconds * 1000:9.2f} ms", flush=True)
    return found


def draw(figures: dict[str, Any]) -> None:
    """Writes the plot; the same bytes for the same figures."""
    import matplotlib as mpl
    from matplotlib import pyplot

    mpl.rcParams.update({"svg.hashsalt": "zerrow", "svg.fonttype": "none", "font.size": 9})
    plot, (handover, wide) = pyplot.subplots(
        1, 2, figsize=(9, 3.2), width_ratios=(3, 2), layout="constrained"
    )
    for name, seconds in figures["handover_s"].items():
        sizes = [int(size) / 2**20 for size in seconds]
        times = [1000 * each for each in seconds.values()]
        handover.plot(sizes, times, label=name, **STYLES[name])
    handover.set(xscale="log", yscale="log", xlabel="table, MiB", ylabel="ms")
    handover.set_title("From a function's return to the next one's start", fontsize=10)
    handover.grid(alpha=0.3)
    handover.legend(frameon=False)
    names = list(figures["wide_cpu_s"])
    bars = wide.barh(names, figures["wide_cpu_s"].values(), color=["#0b7a75", "#d9822b", "#8a8a8a"])
    wide.bar_label(bars, fmt="%.1f s", padding=3)
    wide.invert_yaxis()
    wide.set_xlim(right=1.2 * max(figures["wide_cpu_s"].values()))
    wide.set_title("CPU of 8 chains over 100 columns, 1 GiB", fontsize=10)
    wide.spines[["top", "right"]].set_visible(False)
    plot.savefig(PLOT, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", action="store_true", help="measure the handovers first")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    figures = json.loads(FIGURES.read_text())
    if options.measure:
        figures["handover_s"] = measure(options.repeats)
        FIGURES.write_text(json.dumps(figures, indent=2) + "\n")
    draw(figures)


if __name__ == "__main__":
    main()
