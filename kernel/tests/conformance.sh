#!/usr/bin/env bash
# In the virtual machine: tests of src/ which the host has built, and which aren't skipped here: what
# a backend promises, what a hostile reader tries, the client of the module, and tables handed over.
set -euo pipefail
output=$(mktemp)

# run TEST FILTER REQUIRED: those of a test program; the required ones must not be skipped.
run() {
  local binary=$REPO/build/dev/src/$1 status=0
  "$binary" --gtest_filter="$2" >"$output" 2>&1 || status=$?
  sed -nE 's/^\[ +OK \] (.*)/ok \1/p; s/^\[ +SKIPPED \] (.*)\(/skipped \1(/p; s/^\[ +FAILED +\] (.*) \((.*)/failed \1 (\2/p' "$output"
  if ((status)) || ! grep -q "^\[ *OK \] .*$3" "$output" ||
    grep "^\[ *SKIPPED \] .*$3" "$output"; then
    grep -vE '^\[ +(OK|RUN) +\]' "$output"
    echo "FAILED conformance: status $status"
    exit 1
  fi
}

run shm/shm_test '*Conformance.*:*Immutability.*:KernelZeroTest*:MovableMemory.*' KernelZeroTest
run worker/worker_test '*HandoverByMoving.*' HandoverByMoving
echo "OK conformance"
