#!/usr/bin/env bash
# Installs what packages.txt lists and this machine lacks. An argument (lint, fuzz) adds the
# packages marked with it. Asks apt only if something is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-}

missing=()
while read -r package targets; do
  [[ -z $package || $package == \#* ]] && continue
  [[ -n $targets && " $targets " != *" $what "* ]] && continue
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $status == installed ]] || missing+=("$package")
done <packages.txt
[[ ${#missing[@]} -eq 0 ]] && exit 0

if ! command -v apt-get >/dev/null; then
  echo "These Debian packages (or their likes) are needed: ${missing[*]}" >&2
  exit 1
fi
root=()
if [[ $(id -u) -ne 0 ]]; then
  command -v sudo >/dev/null || { echo "Run as root: apt-get install ${missing[*]}" >&2; exit 1; }
  root=(sudo)
fi
echo "Installing ${missing[*]}"
"${root[@]}" apt-get update -qq
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -o DPkg::Lock::Timeout=300 -qq -y --no-install-recommends "${missing[@]}"
