# Sourced by the scripts here: where what Debian's packages hold is kept, outside the repository,
# so that a clean checkout neither downloads nor builds it again.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/zerrow/vm

# unpacked PACKAGE: the folder with the package's files, downloaded if they are missing.
unpacked() {
  local version folder
  version=$(apt-cache show --no-all-versions "$1" 2>/dev/null | sed -n 's/^Version: //p') || true
  if [[ -z $version ]]; then
    echo "apt knows no $1: apt-get update, and upgrade the headers" >&2
    return 1
  fi
  folder=$cache/$1_${version//:/.}
  mkdir -p "$cache"
  exec 8>"$cache/lock" && flock 8
  if [[ ! -d $folder ]]; then
    echo "Downloading $1 $version" >&2
    rm -rf "$folder.part" && mkdir "$folder.part"
    (cd "$folder.part" && apt-get download -qq "$1" 2>/dev/null && dpkg-deb -x ./*.deb . && rm ./*.deb) >&2
    mv "$folder.part" "$folder"
  fi
  echo "$folder"
}
