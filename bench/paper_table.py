"""The paper's table: ten columns of integers, handed over with both copies, one and none.

`writer_s` is making the table and handing it over, `encode_s` the latter alone: writing all bytes
to a file (full-copy and copy), or moving its pages into one (kernelzero). `reader_s` is from there
to the sum of all columns. Warm: the last of the rounds.
"""

from __future__ import annotations

import lib
import rounds

# Most copies first.
BACKENDS = ("full-copy", "copy", "kernelzero")


def main() -> None:
    parser = lib.arguments(__doc__.splitlines()[0], repeats=3, warmup=0)
    parser.add_argument("--size", type=int, default=256 * 2**20, help="bytes of the table")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of a run")
    parser.add_argument("--last", default="kernelzero", help="the backend without copies")
    options = parser.parse_args()

    def run(backend: str) -> lib.Figures:
        figures = rounds.zerrow_rounds(
            backend,
            options.size,
            options.rounds,
            table="integers(size, columns=10)",
            total="sum_all(table)",
            account=True,
        )[-1]
        make_s, encode_s, open_s, sum_s = (
            figures[name] or 0.0 for name in ("make_s", "encode_s", "open_s", "sum_s")
        )
        return {
            "writer_s": make_s + encode_s,
            "encode_s": encode_s,
            "reader_s": open_s + sum_s,
            "handover_s": figures["handover_s"],
            "cpu_s": figures["cpu_s"],
            "copied_bytes": figures["copied_bytes"],
        }

    names = [*BACKENDS[:2], options.last]
    arms = [lib.Arm(name, lambda name=name: run(name)) for name in names]
    lib.interleave(arms, options.repeats, options.warmup)
    lib.report(f"ten columns of integers, {options.size:,} bytes", "warm", arms, options)
    full, copy, none = arms
    for figure, arm, other, paper in (
        ("reader_s", full, copy, "3.8"),
        ("reader_s", full, none, "3.9"),
        ("writer_s", copy, none, "2.3"),
    ):
        ratio = (arm.median(figure) or 0.0) / (other.median(figure) or 1.0)
        print(f"{figure}: {arm.name} / {other.name} = {ratio:.1f} (the paper: {paper})")


if __name__ == "__main__":
    main()
