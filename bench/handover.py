"""How long a handover takes, by the size of the table: from 1 MB to 4 GB.

`handover_s` is from the producer's return to the consumer's function being entered with its table:
the producer's exit, trimming and freezing of its memory, scheduling, the fork of the consumer and
opening. `encode_s` to `freeze_cpu_s` are the producer's end, part by part, and `open_s` is from the
published table to the consumer's. `beyond_smallest_s` is what the size adds to `handover_s`.
Warm: the last of three rounds.
"""

from __future__ import annotations

import lib
import rounds

SIZES = {
    "1 MB": 1_000_000,
    "16 MB": 2**24,
    "128 MB": 2**27,
    "1 GB": 2**30,
    "4 GB": 2**32,
}

FIGURES = (
    "handover_s",
    "encode_s",
    "exit_s",
    "exit_cpu_s",
    "trim_cpu_s",
    "freeze_cpu_s",
    "open_s",
    "sum_s",
    "cpu_s",
    "copied_bytes",
)


def main() -> None:
    parser = lib.arguments(__doc__.splitlines()[0], repeats=3, warmup=0)
    parser.add_argument("--backend", default="memfd")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--largest", default="4 GB", choices=SIZES, help="stop at this size")
    options = parser.parse_args()

    def run(size: int) -> lib.Figures:
        rounds_ = rounds.zerrow_rounds(
            options.backend,
            size,
            options.rounds,
            table="integers(size)",
            total='sum_of(table, "c0")',
            account=True,
        )
        return {key: rounds_[-1][key] for key in FIGURES}

    names = list(SIZES)[: list(SIZES).index(options.largest) + 1]
    arms = [lib.Arm(name, lambda name=name: run(SIZES[name])) for name in names]
    lib.interleave(arms, options.repeats, options.warmup)
    smallest = arms[0].median("handover_s") or 0.0
    for arm in arms:
        for sample in arm.samples:
            sample["beyond_smallest_s"] = (sample["handover_s"] or 0.0) - smallest
    lib.report(f"handover by size, backend {options.backend}", "warm", arms, options)


if __name__ == "__main__":
    main()
