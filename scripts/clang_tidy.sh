#!/usr/bin/env bash
# clang-tidy on one source file, by the flags in build/lint; only findings are printed.
set -uo pipefail
# Its target, or clang-tidy takes one from the compiler's name, which the precompiled header may not fit.
target=$(clang++-14 -dumpmachine)
output=$(clang-tidy-14 -p build/lint --quiet --extra-arg=-Wno-unknown-warning-option \
  --extra-arg="--target=$target" "$1" 2>&1)
status=$?
grep -v -E '^([0-9]+ warnings?( and [0-9]+ errors?)? generated\.|Suppressed .*|Use -header-filter.*|[0-9]+ warnings? treated as errors?)$' <<<"$output"
exit $status
