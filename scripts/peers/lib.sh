# Shared by the scripts of this folder: each gets one peer for the tests, prints the absolute paths of its programs, one a
# line, and does nothing when they are there already. What cannot be had here is told on standard error, with exit
# code 77. To be sourced.

cache="${REFUSAL_COLLECTOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/refusal-collector}"
# Logs of builds; standard output is for the paths.
exec 3>&1 1>&2

# Where the programs of a peer are kept.
peer_folder() { printf '%s/peers/%s\n' "$cache" "$1"; }

# Prints the programs if all of them are there.
built() {
  local program
  for program; do [ -e "$program" ] || return 1; done
  printf '%s\n' "$@" >&3
}

# Ends with 77: this peer cannot be had. scripts/test collects the reasons, and tells them at its end.
cannot() {
  echo "${0##*/}: $1" | tee -a "${REFUSAL_COLLECTOR_SKIPS:-/dev/null}"
  exit 77
}

# What follows builds or downloads with the program $1.
need() {
  command -v "$1" >/dev/null || cannot "$1 is not here"
  local now; now=$(date +%s)
  [ "$now" -lt "${REFUSAL_COLLECTOR_BUILDS_UNTIL:-$((now + 1))}" ] || cannot "not built yet, and no time is left for it"
  # From here on only the world outside can be at fault.
  set -E
  trap 'cannot "could not be downloaded or built"' ERR
}

# Moves programs into a peer's folder, all or none.
keep() {
  local folder=$1; shift
  mkdir -p "$(dirname "$folder")"
  local whole; whole=$(mktemp -d "$folder.XXXX")
  chmod 755 "$whole"
  mv "$@" "$whole"
  rm -rf "$folder"; mv "$whole" "$folder"
}

# Go builds leave gigabytes behind, which nobody needs once the programs are there; the caches of modules and builds are
# kept below the cache folder, so that peers share them and one removal gets rid of all.
export GOFLAGS="${GOFLAGS:--mod=mod}" GOPATH="$cache/go" GOCACHE="$cache/go-build" GOTOOLCHAIN=local
