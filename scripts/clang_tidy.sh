#!/usr/bin/env bash
# clang-tidy on one source file, by the flags of build/dev. Arrow's headers come precompiled by
# clang: most of the time would go into parsing them again for each file.
set -uo pipefail
source=$1 pch=$2
output=$(clang-tidy-14 -p build/dev --quiet --extra-arg-before=-include-pch \
  --extra-arg-before="$pch" --extra-arg=-Wno-unknown-warning-option "$source" 2>&1)
status=$?
grep -v -E '^([0-9]+ warnings? (and [0-9]+ errors? )?generated\.|Suppressed .*|Use -header-filter.*|[0-9]+ warnings? treated as errors?)$' <<<"$output"
exit $status
