#!/usr/bin/env bash
# In the virtual machine: tests of src/shm, which the host has built: what a backend promises, what a
# hostile reader tries, and the client of the module, which isn't skipped here.
set -euo pipefail
binary=$REPO/build/dev/src/shm/shm_test
output=$(mktemp)

status=0
"$binary" --gtest_filter='*Conformance.*:*Immutability.*:KernelZeroTest.*:MovableMemory.*' >"$output" 2>&1 ||
  status=$?
sed -nE 's/^\[ +OK \] (.*)/ok \1/p; s/^\[ +SKIPPED \] (.*)\(/skipped \1(/p; s/^\[ +FAILED +\] (.*) \((.*)/failed \1 (\2/p' "$output"
if ((status)) || ! grep -q '^\[ *OK \] KernelZeroTest' "$output" ||
  grep '^\[ *SKIPPED \] KernelZeroTest' "$output"; then
  grep -vE '^\[ +(OK|RUN) +\]' "$output"
  echo "FAILED conformance: status $status"
  exit 1
fi
echo "OK conformance"
