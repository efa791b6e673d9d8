"""What allocators leave to copy when kernelzero moves functions' buffers, and what that costs.

A policy is the environment that allocators read; what is set there holds against Zerrow's own.
Copied are the bytes of buffers that share a page with others, and all of small buffers, which no
policy changes. `encode_s` is publishing: moving, and copying the rest. Needs the kernel module: in
the virtual machine, `COUNTED=1 MEMORY=3G kernel/vm/run.sh debian 3600 figures:allocators`.
"""

from __future__ import annotations

import os
from unittest import mock

import lib
import libraries
import library_functions

FIGURES = ("output_bytes", "copied_percent", "faults", "cpu_s", "encode_s")

# What libraries do by themselves: mimalloc in pyarrow, jemalloc in polars.
OWN = {
    "ARROW_DEFAULT_MEMORY_POOL": "mimalloc",
    "_RJEM_MALLOC_CONF": "cache_oblivious:true,thp:default",
}
POLICIES = {
    "Zerrow's": {},
    "libraries' own": OWN,
    "Arrow: system": {**OWN, "ARROW_DEFAULT_MEMORY_POOL": "system"},
    "Arrow: jemalloc": {**OWN, "ARROW_DEFAULT_MEMORY_POOL": "jemalloc"},
    "glibc: own mappings": {**OWN, "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=32768"},
}


def main() -> None:
    parser = lib.arguments(__doc__.splitlines()[0], repeats=1, warmup=1)
    parser.add_argument("--size", type=int, default=32_000_000, help="bytes of the input")
    options = parser.parse_args()
    arms = {
        (function, policy): lib.Arm(f"{function}, {policy}", dict)
        for function in library_functions.KINDS
        for policy in POLICIES
    }
    for turn in range(options.warmup + options.repeats):
        for policy, variables in POLICIES.items():
            with mock.patch.dict(os.environ, variables):
                run = libraries.zerrow_run(options.size, "kernelzero", turns=1)
            if turn < options.warmup:
                continue
            for function, figures in run.items():
                figures["copied_percent"] = 100 - (figures["shared_percent"] or 0)
                arms[function, policy].samples.append({name: figures[name] for name in FIGURES})
    lib.report("allocators on kernelzero", "cold", list(arms.values()), options)


if __name__ == "__main__":
    main()
