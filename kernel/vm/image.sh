#!/usr/bin/env bash
# image.sh debian|debian-VERSION|debug|debug-VERSION|RELEASE: prints three lines: the vmlinuz to boot, the folder of its modules
# ("-" if it has none) and the tree to build modules against. Debian's kernel of linux-headers-amd64
# or of linux-headers-VERSION-amd64, the one of debug_kernel.sh, or another of Debian's whose headers
# are installed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/cache.sh"

release=${1:-debian}
if [[ $release == debug* ]]; then
  version=${release#debug}
  tree=$("$here/debug_kernel.sh" "${version#-}")
  printf '%s\n' "$tree/arch/x86/boot/bzImage" - "$tree"
  exit
fi
if [[ $release == debian* ]]; then
  headers=$(dpkg-query -W -f '${Depends}' "linux-headers${release#debian}-amd64" | grep -o 'linux-headers-[^ ,]*' | head -1)
  release=${headers#linux-headers-}
fi
image=$(unpacked "linux-image-$release")
[[ -e $image/lib/modules/$release/modules.dep ]] || /sbin/depmod -b "$image" "$release"
printf '%s\n' "$image/boot/vmlinuz-$release" "$image/lib/modules/$release" "/lib/modules/$release/build"
