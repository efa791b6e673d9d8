#!/usr/bin/env bash
# bare_metal.sh [--built FOLDER] [CASE...]: measures the tables of docs/decisions/0006 on this machine,
# by time: builds the module and its bench for the running kernel, loads it, runs the bench (its cases
# threshold, sizes and buffers, if none is named), unloads it, and prints a page. For root; ten minutes
# and 1 GiB of memory. --built: the module and tests/bench are there already.
#
# The module acts on nothing but the bench's own memory. A module that is loaded already makes way, if
# nobody uses it, and isn't loaded again.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
built=
if [[ ${1:-} == --built ]]; then
  built=$2
  shift 2
fi
cases=("$@")
[[ $# -gt 0 ]] || cases=(threshold sizes buffers)

fail() {
  echo "bare_metal: $1" >&2
  exit 1
}

[[ $EUID -eq 0 ]] || fail "only root may load modules"
release=$(uname -r)
if [[ -z $built ]]; then
  [[ -d /lib/modules/$release/build ]] || fail "no headers of $release: apt-get install linux-headers-$release"
  built=$(mktemp -d)
  cp -r "$here/Kbuild" "$here/src" "$here/include" "$built"
  make -s -C "/lib/modules/$release/build" M="$built" CONFIG_DEBUG_INFO_BTF_MODULES= modules >&2 ||
    fail "the module doesn't build for $release: see kernel/README.md for which it is"
  make -s -C "$here/tests" OUT="$built/tests" "$built/tests/bench" >&2
fi
[[ ! -e /sys/module/kernelzero ]] || rmmod kernelzero || fail "the module that is loaded is in use"
insmod "$built/kernelzero.ko" ||
  fail "the module can't be loaded; with Secure Boot it has to be signed (DKMS does it), see dmesg"
trap '[[ ! -e /sys/module/kernelzero ]] || rmmod kernelzero' EXIT

# first FILE: its first line, if it can be read.
first() {
  head -n 1 "$1" 2>/dev/null || echo unknown
}

cat <<END
KernelZero on $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) processors
  kernel       $release
  memory       $(awk '/^MemTotal/ { printf "%.1f GiB", $2 / 1048576 }' /proc/meminfo)
  hypervisor   $(grep -qw hypervisor /proc/cpuinfo && echo "yes: a virtual machine" || echo none)
  huge pages   $(first /sys/kernel/mm/transparent_hugepage/enabled)
  governor     $(first /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor)
  clock        $(first /sys/devices/system/clocksource/clocksource0/current_clocksource)
  load         $(cut -d ' ' -f 1-3 /proc/loadavg)
  commit       $(git -C "$here" describe --always --dirty 2>/dev/null || echo unknown)

END
shootdowns() {
  awk '/^ *TLB:/ { for (i = 2; i <= NF; i++) if ($i ~ /^[0-9]+$/) sum += $i } END { print sum + 0 }' /proc/interrupts
}
before=$(shootdowns)
status=0
"$built/tests/bench" "${cases[@]}" || status=$?
echo
echo "TLB shootdowns meanwhile, all processors together: $(($(shootdowns) - before))"
echo "Counters:"
sed 's/^/  /' /sys/module/kernelzero/parameters/counters
rmmod kernelzero
trap - EXIT
echo "What the kernel's log says of the module and of faults:"
dmesg 2>/dev/null | grep -E 'kernelzero|BUG|WARNING|Oops' | tail -n 20 | sed 's/^/  /' || true
[[ $status -eq 0 ]] || fail "the bench has failed"
echo "OK bare_metal"
