#!/usr/bin/env bash
# clang-tidy on one source file, by the flags in build/lint; only findings are printed.
set -uo pipefail
output=$(clang-tidy-14 -p build/lint --quiet --extra-arg=-Wno-unknown-warning-option "$1" 2>&1)
status=$?
grep -v -E '^([0-9]+ warnings?( and [0-9]+ errors?)? generated\.|Suppressed .*|Use -header-filter.*|[0-9]+ warnings? treated as errors?)$' <<<"$output"
exit $status
