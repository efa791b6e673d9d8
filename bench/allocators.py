"""What allocators leave to copy at the edges of buffers when kernelzero moves them.

Each policy is the environment of the zygote, which workers' allocators have from it.
`copied_percent` is what of a function's output had to be copied: bytes that share a page with
others, and pages that the zygote has as well.
"""

from __future__ import annotations

import os

import lib
import libraries
import library_functions

OWN_MAPPINGS = "glibc.malloc.mmap_threshold=32768"

POLICIES = {
    "system": {"ARROW_DEFAULT_MEMORY_POOL": "system"},
    "system, own mappings": {
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "GLIBC_TUNABLES": OWN_MAPPINGS,
    },
    "mimalloc": {"ARROW_DEFAULT_MEMORY_POOL": "mimalloc"},
    "mimalloc, own mappings": {
        "ARROW_DEFAULT_MEMORY_POOL": "mimalloc",
        "GLIBC_TUNABLES": OWN_MAPPINGS,
    },
    "jemalloc": {"ARROW_DEFAULT_MEMORY_POOL": "jemalloc"},
}


def main() -> None:
    parser = lib.arguments(__doc__.splitlines()[0], repeats=1, warmup=0)
    parser.add_argument("--size", type=int, default=32_000_000, help="bytes of the input")
    options = parser.parse_args()
    arms = []
    for policy, variables in POLICIES.items():
        os.environ.update({"GLIBC_TUNABLES": "", **variables})
        named = {name: lib.Arm(f"{name}, {policy}", dict) for name in library_functions.KINDS}
        for _ in range(options.repeats):
            for name, figures in libraries.zerrow_run(options.size, "kernelzero", 1).items():
                copied = 100 - (figures.pop("shared_percent") or 0)
                named[name].samples.append({"copied_percent": copied, **figures})
        arms += named.values()
    arms.sort(key=lambda arm: arm.name)
    lib.report("what is copied at the edges", "cold", arms, options)


if __name__ == "__main__":
    main()
