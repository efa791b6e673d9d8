#!/usr/bin/env bash
# Runs the module's tests in a virtual machine with Debian's kernel, with memory cgroups of version
# 2 and then, those to which it matters, with version 1. Prints a line for each program, what failed
# in full, and at the end "N passed, N failed". The consoles are kept in build/kernel/debian/.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../.." && pwd)
logs=$repo/build/kernel/debian
totals=$(mktemp)
trap 'rm -f "$totals"' EXIT

# run CGROUP SECONDS TEST...: one machine.
run() {
  local cgroup=$1 seconds=$2 status=0
  shift 2
  echo "== Debian's kernel, memory cgroups of version $cgroup"
  CGROUP=$cgroup "$here/run.sh" debian "$seconds" "$@" | awk -f "$here/report.awk" -v totals="$totals" || status=$?
  cp "$logs/log" "$logs/cgroup$cgroup.log"
  return "$status"
}

programs=()
for source in "$repo"/kernel/tests/[a-z]*.c; do
  name=$(basename "$source" .c)
  [[ $name == *_* || $name == race || $name == fuzz ]] || programs+=("$name")
done

failed=0
run 2 450 "${programs[@]}" race:-t:1 conformance arrow || failed=1
run 1 120 cgroup swap || failed=1
awk -v machines_failed="$failed" '
  { passed += $1; failed += $2 }
  END {
    if (machines_failed && !failed) failed = 1
    print passed + 0 " passed, " failed + 0 " failed"
  }' "$totals"
[[ $failed == 0 ]] || echo "The consoles are in $logs" >&2
exit "$failed"
