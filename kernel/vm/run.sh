#!/usr/bin/env bash
# run.sh KERNEL SECONDS [TEST[:ARGUMENT...]...]: builds the module and its tests for a kernel (see
# image.sh) and runs them in a virtual machine, or all but bench and large if none is named.
# CGROUP=1, MEMORY and COUNTED=1 are as in init and boot.sh. The console is shown, and kept in
# build/kernel/KERNEL/log.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../.." && pwd)
kernel=$1 seconds=$2
shift 2
build=$repo/build/kernel/$kernel
module=$build/module
export MEMORY=${MEMORY:-2G}
slowness=1
[[ $kernel != debug* ]] || slowness=10

image=$("$here/image.sh" "$kernel")
{ read -r vmlinuz && read -r modules && read -r tree; } <<<"$image"
# Not in the source's folder: the module is built for several kernels.
mkdir -p "$module/src" "$module/include/uapi"
cp -u "$repo/kernel/Kbuild" "$module"
cp -u "$repo"/kernel/src/*.[ch] "$module/src"
cp -u "$repo"/kernel/include/uapi/*.h "$module/include/uapi"
make -s -C "$tree" M="$module" CONFIG_DEBUG_INFO_BTF_MODULES= modules >&2
cp "$module/kernelzero.ko" "$build"
make -s -j "$(nproc)" -C "$repo/kernel/tests" OUT="$build/tests"
"$here/initrd.sh" "$build/initrd" "$modules"

tests=("$@")
if [[ $# -eq 0 ]]; then
  mapfile -t tests < <(cd "$build/tests" && find . -type f -perm -u+x -not -name bench -not -name large -printf '%f\n' | sort)
fi
: >"$build/log"
"$here/boot.sh" "$vmlinuz" "$build/initrd" "$build/log" "$seconds" REPO="$repo" BUILD="$build" \
  TESTS="${tests[*]}" CGROUP="${CGROUP:-2}" SLOWNESS="$slowness" &
machine=$!
trap 'kill "$machine" 2>/dev/null || true' EXIT
tail --pid="$machine" -s 0.3 -n +1 -f "$build/log" | sed -u 's/\r//g'
wait "$machine"
trap - EXIT
grep -q '^ZERROW VM: ok' "$build/log"
