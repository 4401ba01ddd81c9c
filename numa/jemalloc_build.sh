#!/bin/sh
# jemalloc_build.sh: builds the jemalloc that only tarn sees, once, from the distribution's source.
#
#   jemalloc_build.sh fetch DIR [TARBALL]        puts DIR/jemalloc-5.3.0.tar.bz2 there
#   jemalloc_build.sh build DIR CC [JOBS]        puts DIR/lib/libjemalloc.a and DIR/include there
#
# The release tarball comes from TARBALL, or from the Debian or Ubuntu source package by apt-get,
# which needs no root: it gets its own state folder, and a sources list made of the machine's own
# with `deb` turned into `deb-src`. Its checksum is fixed below, whatever way it came. Nothing
# outside of DIR and a temporary folder is written.
set -eu

version=5.3.0
sha256=2db82d1e7119df3e71b7640219b6dfe84789bc0537983c3b7ac4f7189aecfeaa

here=$(cd "$(dirname "$0")" && pwd)
action=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
tarball=$dir/jemalloc-$version.tar.bz2

fail() {
  echo "jemalloc $version: $1" >&2
  exit 1
}

scratch=$(mktemp -d "${TMPDIR:-/tmp}/tarn-jemalloc.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

# Several build folders may share DIR: one works, the others wait and find it done.
if command -v flock >/dev/null; then
  exec 9>"$dir/.lock"
  flock 9
fi

is_right() {
  test -f "$1" && test "$(sha256sum <"$1" | cut -d ' ' -f 1)" = "$sha256"
}

# The machine's package sources, of either format, as sources of source packages.
write_source_lists() {
  mkdir -p "$scratch/parts" "$scratch/lists/partial" "$scratch/cache/archives/partial"
  : >"$scratch/sources.list"
  for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    test -r "$list" || continue
    sed -n 's/^[[:space:]]*deb\([[:space:]]\)/deb-src\1/p' "$list" >>"$scratch/sources.list"
  done
  for list in /etc/apt/sources.list.d/*.sources; do
    test -r "$list" || continue
    sed 's/^[Tt]ypes:.*/Types: deb-src/' "$list" >"$scratch/parts/$(basename "$list")"
  done
}

private_apt_get() {
  apt-get -q -o Dir::Etc::sourcelist="$scratch/sources.list" \
    -o Dir::Etc::sourceparts="$scratch/parts" -o Dir::State::lists="$scratch/lists" \
    -o Dir::Cache="$scratch/cache" -o Acquire::Languages=none -o Acquire::Retries=3 \
    -o APT::Sandbox::User="$(id -un)" "$@" >>"$scratch/log" 2>&1
}

# A third party's list often has no source packages: only what `source` says counts.
fetch_by_apt() {
  command -v apt-get >/dev/null ||
    fail "no apt-get here to fetch its source with; give -DTARN_JEMALLOC_TARBALL=FILE"
  write_source_lists
  cd "$scratch"
  private_apt_get update || true
  # Newer package versions of the same release bring the same tarball; ask for the release.
  for package in $(apt-cache -o Dir::Etc::sourcelist="$scratch/sources.list" \
    -o Dir::Etc::sourceparts="$scratch/parts" -o Dir::State::lists="$scratch/lists" \
    -o Dir::Cache="$scratch/cache" showsrc jemalloc 2>/dev/null |
    sed -n 's/^Version: //p' | grep "^$version-" | sort -u); do
    private_apt_get source --download-only "jemalloc=$package" || continue
    for file in "$scratch/jemalloc_$version.orig.tar."*; do
      is_right "$file" && cp "$file" "$tarball.new" && return
    done
  done
  fail "apt-get cannot fetch its source ($(grep '^[EW]:' "$scratch/log" | tail -n 1));\
 give -DTARN_JEMALLOC_TARBALL=FILE or -DTARN_JEMALLOC=archive"
}

fetch() {
  if is_right "$tarball"; then return; fi
  if test -n "${1:-}"; then
    test -r "$1" || fail "cannot read $1"
    is_right "$1" || fail "$1 is not the release tarball with the SHA-256 $sha256"
    cp "$1" "$tarball.new"
  else
    fetch_by_apt
  fi
  mv "$tarball.new" "$tarball"
}

build() {
  if test -f "$dir/lib/libjemalloc.a"; then return; fi
  is_right "$tarball" || fail "$tarball is missing or damaged; configure again"
  command -v bzip2 >/dev/null || fail "bzip2 is needed to unpack it"
  tar -xjf "$tarball" -C "$scratch"
  cd "$scratch/jemalloc-$version"
  # By a relative name: its configure script splits flags at spaces, and our path may hold some.
  cp "$here/jemalloc_sealed.h" ../
  # -fPIC without initial-exec TLS, so that dlopen never runs out of static TLS. Nothing of it is
  # exported, and it reads neither environment nor /etc. Large blocks begin on pages.
  if ! { ./configure --disable-shared --disable-cxx --disable-doc --disable-prof --disable-libdl \
    --disable-initial-exec-tls --disable-cache-oblivious --disable-fill --without-export \
    --with-jemalloc-prefix=je_ --with-private-namespace=tarn__ \
    CC="$1" CFLAGS="-O2 -g1 -fPIC" CPPFLAGS="-include ../jemalloc_sealed.h" &&
    make -j "$2" build_lib_static; } >"$dir/build.log" 2>&1; then
    fail "its build failed, see $dir/build.log"
  fi
  mkdir -p "$dir/include/jemalloc" "$dir/lib"
  cp include/jemalloc/jemalloc.h "$dir/include/jemalloc/"
  cp COPYING "$dir/"
  cp lib/libjemalloc.a "$dir/lib/libjemalloc.a.new"
  mv "$dir/lib/libjemalloc.a.new" "$dir/lib/libjemalloc.a"
}

case $action in
  fetch) fetch "${3:-}" ;;
  build) build "$3" "${4:-2}" ;;
  *) fail "unknown action $action" ;;
esac
