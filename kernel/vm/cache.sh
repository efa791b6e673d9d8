# Sourced by the scripts here: where what Debian's packages hold is kept, outside the repository,
# so that a clean checkout neither downloads nor builds it again.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/zerrow/vm

# unpacked PACKAGE: the folder with the package's files, downloaded if they are missing.
unpacked() {
  local version folder
  version=$(apt-cache show --no-all-versions "$1" | sed -n 's/^Version: //p')
  folder=$cache/$1_${version//:/.}
  if [[ ! -d $folder ]]; then
    echo "Downloading $1 $version" >&2
    mkdir -p "$cache"
    rm -rf "$folder.part" && mkdir "$folder.part"
    (cd "$folder.part" && apt-get download -qq "$1" 2>/dev/null && dpkg-deb -x ./*.deb . && rm ./*.deb) >&2
    mv "$folder.part" "$folder"
  fi
  echo "$folder"
}
