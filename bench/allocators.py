"""What allocators leave to copy when kernelzero moves functions' buffers, and what it costs.

A policy is the environment that allocators read: what it sets holds against what Zerrow sets.
Copied are the bytes of buffers that share a page with others, and all of small buffers, which no
policy changes. `huge_bytes` is what the function got in huge pages, which move whole; `whole_cpu_s`
minus `cpu_s` is opening the inputs and publishing. Needs the kernel module: in the virtual machine,
`kernel/vm/run.sh debian 3600 figures:allocators`.
"""

from __future__ import annotations

import os

import lib
import libraries
import library_functions

FIGURES = ("output_bytes", "copied_percent", "huge_bytes", "faults", "cpu_s", "whole_cpu_s")

# What libraries do by themselves: mimalloc in pyarrow, jemalloc in polars.
OWN = {
    "ARROW_DEFAULT_MEMORY_POOL": "mimalloc",
    "_RJEM_MALLOC_CONF": "cache_oblivious:true,thp:default",
    "GLIBC_TUNABLES": "",
}
POLICIES = {
    "libraries' own": OWN,
    "aligned": {**OWN, "_RJEM_MALLOC_CONF": "cache_oblivious:false"},
    "aligned, huge": {**OWN, "_RJEM_MALLOC_CONF": "cache_oblivious:false,thp:always"},
    "Arrow: system": {**OWN, "ARROW_DEFAULT_MEMORY_POOL": "system"},
    "Arrow: jemalloc": {**OWN, "ARROW_DEFAULT_MEMORY_POOL": "jemalloc"},
    "glibc: own mappings": {**OWN, "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=32768"},
}


def main() -> None:
    parser = lib.arguments(__doc__.splitlines()[0], repeats=1, warmup=0)
    parser.add_argument("--size", type=int, default=32_000_000, help="bytes of the input")
    options = parser.parse_args()
    arms = {
        (function, policy): lib.Arm(f"{function}, {policy}", dict)
        for function in library_functions.KINDS
        for policy in POLICIES
    }
    for _ in range(options.repeats):
        for policy, variables in POLICIES.items():
            os.environ.update(variables)
            run = libraries.zerrow_run(options.size, "kernelzero", turns=1)
            for function, figures in run.items():
                figures["copied_percent"] = 100 - (figures["shared_percent"] or 0)
                arms[function, policy].samples.append({name: figures[name] for name in FIGURES})
    lib.report("allocators on kernelzero", "cold", list(arms.values()), options)


if __name__ == "__main__":
    main()
