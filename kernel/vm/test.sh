#!/usr/bin/env bash
# test.sh KERNEL (see image.sh): runs the module's tests in a virtual machine with that kernel, with memory
# cgroups of version 2 and then, those to which it matters, with version 1, and where the kernel can
# make large folios of all sizes, with those. Prints a line for each program, what failed in full, and
# at the end "N passed, N failed". The consoles are kept in build/kernel/KERNEL/.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../.." && pwd)
kernel=$1
logs=$repo/build/kernel/$kernel
totals=$(mktemp)
trap 'rm -f "$totals"' EXIT

# run CGROUP SECONDS TEST...: one machine.
run() {
  local cgroup=$1 seconds=$2 status=0
  shift 2
  echo "== The $kernel kernel, memory cgroups of version $cgroup"
  CGROUP=$cgroup "$here/run.sh" "$kernel" "$seconds" "$@" | awk -f "$here/report.awk" -v totals="$totals" || status=$?
  cp "$logs/log" "$logs/cgroup$cgroup.log"
  return "$status"
}

# version_1 SECONDS: with memory cgroups of version 1, unless the kernel was built without.
version_1() {
  local tree
  tree=$("$here/image.sh" "$kernel" | tail -n 1)
  if grep -q '^# CONFIG_MEMCG_V1 is not set' "$tree/.config"; then
    echo "== The $kernel kernel has no memory cgroups of version 1"
    return
  fi
  run 1 "$1" cgroup swap swapped || failed=1
}

# large_folios SECONDS: on a kernel that is told to make folios of all sizes of anonymous memory.
large_folios() {
  [[ $kernel == *6.12* ]] || return 0
  local tests=(large gauges move pieces edges copied swap swapped race:-t:1 fuzz:-t:60)
  KERNEL_OPTIONS='thp_anon=16K-1M:always;2M:inherit' run 2 "$1" "${tests[@]}" || failed=1
}

programs=()
for source in "$repo"/kernel/tests/[a-z]*.c; do
  name=$(basename "$source" .c)
  [[ $name == *_* || $name =~ ^(race|fuzz|bench|large)$ ]] || programs+=("$name")
done

failed=0
if [[ $kernel == debug* ]]; then
  run 2 10800 "${programs[@]}" race:-t:5 fuzz:-t:120 || failed=1
  version_1 1800
  large_folios 3600
else
  # Only against hanging: on an idle machine all of it takes less than half of that.
  run 2 1200 "${programs[@]}" race:-t:1 conformance shim arrow || failed=1
  version_1 600
  large_folios 900
fi
awk -v machines_failed="$failed" '
  { passed += $1; failed += $2 }
  END {
    if (machines_failed && !failed) failed = 1
    print passed + 0 " passed, " failed + 0 " failed"
  }' "$totals"
[[ $failed == 0 ]] || echo "The consoles are in $logs" >&2
exit "$failed"
