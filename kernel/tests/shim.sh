#!/usr/bin/env bash
# In the virtual machine: the shim's own tests, which the host has built. Kernels differ in what they
# refuse on shared mappings, and the shim has to hide all of it.
set -euo pipefail
folder=$REPO/build/dev/src/shm/shim
output=$(mktemp)

status=0
# run NAME BINARY FILTER: prefixes the tests' names with NAME.
run() {
  "$folder/$2" --gtest_filter="$3" >"$output" 2>&1 || status=$?
  sed -nE "s/^\[ +OK \] (.*)/ok $1 \1/p; s/^\[ +SKIPPED \] (.*)\(/skipped $1 \1(/p
           s/^\[ +FAILED +\] (.*) \((.*)/failed $1 \1 (\2/p" "$output"
  if ((status)) || ! grep -q '^\[ *OK \]' "$output"; then
    grep -vE '^\[ +(OK|RUN) +\]' "$output"
    echo "FAILED shim: $1: status $status"
    exit 1
  fi
}

mappings='*PreloadTwin.*/[01]:*PreloadMmap.*/0:PreloadMmap.*:PreloadMalloc.*:PreloadFork.D*'
run heap shim_test 'HeapTest.*:HeapForkTest.*'
run plain shim_preload_test "$mappings"
LD_PRELOAD=$folder/libzerrow_shim.so run preloaded shim_preload_test "$mappings"
echo "OK shim"
