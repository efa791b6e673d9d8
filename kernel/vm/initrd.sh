#!/usr/bin/env bash
# initrd.sh OUT MODULES: busybox, init, and from the folder MODULES (unless "-") what mounting the
# host's files, swapping and a disk need, numbered in the order of loading.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(realpath "$1")
modules=$2

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,dev,proc,sys,host,tmp,modules}
cp "$(command -v busybox)" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
install -m 755 "$here/init" "$root/init"
if [[ $modules != - ]]; then
  needed=$(/sbin/modprobe -C /dev/null -d "${modules%/lib/modules/*}" -S "$(basename "$modules")" \
             --show-depends -a virtio_pci 9pnet_virtio 9p overlay lzo-rle zram ext4)
  number=100
  while read -r _ file _; do
    number=$((number + 1))
    cp "$file" "$root/modules/$number-$(basename "$file")"
  done < <(awk '$1 == "insmod" && !seen[$2]++' <<<"$needed")
  find "$root/modules" -name '*.xz' -exec xz -d {} +
fi
(cd "$root" && find . | cpio --quiet -o -H newc -R 0:0 | gzip -1) >"$out"
