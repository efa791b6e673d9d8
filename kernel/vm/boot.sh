#!/usr/bin/env bash
# boot.sh VMLINUZ INITRD LOG SECONDS [NAME=VALUE...]: boots a machine without network that sees this
# one's files read-only, until it powers off or SECONDS are over. init gets the NAMEs as its
# environment. The console goes to LOG; what happened is in its last line. KERNEL_OPTIONS: more of the
# kernel's command line. COUNTED=1: one processor
# whose time is the number of instructions, one a nanosecond, whatever else the host does; and it
# copies words where the emulated instruction for strings would be taken byte by byte.
set -euo pipefail
vmlinuz=$1 initrd=$2 log=$3 seconds=$4
shift 4
# A busy host may give no tick while the kernel looks whether the timer works.
append="console=ttyS0 pci=noacpi no_timer_check loglevel=5 log_buf_len=4M nowatchdog oops=panic panic=-1 hung_task_panic=0 ${KERNEL_OPTIONS:-}"
for variable in "$@"; do
  append+=" ${variable%%=*}=\"${variable#*=}\""
done

machine=
trap '[[ -z $machine ]] || kill "$machine" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM
# No KVM: it isn't there in most machines that build this, and emulation takes other races.
processors=(-accel tcg,thread=multi -cpu max -smp 2)
[[ -z ${COUNTED:-} ]] || processors=(-accel tcg,thread=single -icount shift=0,sleep=off -cpu max,-erms -smp 1)
timeout -k 5 "$seconds" qemu-system-x86_64 "${processors[@]}" -m "${MEMORY:-1G}" \
  -nodefaults -no-user-config -display none -no-reboot -serial stdio -nic none \
  -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
  -kernel "$vmlinuz" -initrd "$initrd" -append "$append" </dev/null >"$log" 2>&1 &
machine=$!
status=0
wait "$machine" || status=$?
machine=
[[ $status -ne 124 ]] || echo "ZERROW VM: failed: not done within $seconds s" >>"$log"
